import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.errors import BadRow
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from train_app.data.examples import Example, RowProblem, examples

STYLE = Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细")))
VOCABULARY = ControlVocabulary(controls=(STYLE,))
EVENTS = [
    {"event_id": f"e{day}", "user_id": "u1", "product_id": product, "kind": "view", "at": datetime(2026, 1, day, tzinfo=UTC).isoformat()}
    for day, product in ((1, "p1"), (3, "p2"))
]


@pytest.fixture
def snapshot(tmp_path: Path, request: pytest.FixtureRequest) -> Snapshot:
    raw = tmp_path / "raw"
    raw.mkdir()
    tables = {
        "products": [{"product_id": f"p{n}", "title": f"{n}号耳机", "category": "耳机"} for n in (1, 2)],
        "events": EVENTS,
        "users": [{"user_id": "u1", "persona": "数码达人"}],
        "reasons": request.param,
    }
    for name, rows in tables.items():
        (raw / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_snapshot(raw, tmp_path / "snapshot")
    return Snapshot.open(tmp_path / "snapshot")


def reason(**more: object) -> dict[str, object]:
    return {"product_id": "p1", "text": "这句话说得通", "user_id": "u1", **more}


def only(snapshot: Snapshot) -> Example:
    (example,) = examples(snapshot, vocabulary=VOCABULARY)
    return example


@pytest.mark.parametrize("snapshot", [[reason(at="2026-01-02T00:00:00Z", labels={"style": "concise"})]], indirect=True)
def test_the_context_knows_what_was_known_when_the_reason_was_written(snapshot: Snapshot) -> None:
    example = only(snapshot)
    assert example.context.behavior.last_viewed.product_id == "p1"
    assert example.context.behavior.num_events == 1
    assert example.context.controls == example.labels == {"style": "concise"}
    assert example.context.persona == "数码达人"


@pytest.mark.parametrize("snapshot", [[reason()]], indirect=True)
def test_a_reason_without_a_time_comes_after_all_events(snapshot: Snapshot) -> None:
    assert only(snapshot).context.behavior.last_viewed.product_id == "p2"


@pytest.mark.parametrize("snapshot", [[reason(user_id=None)], [reason(user_id="nobody")]], indirect=True)
def test_no_user_and_an_unknown_user_are_a_new_user(snapshot: Snapshot) -> None:
    context = only(snapshot).context
    assert context.behavior.num_events == 0
    assert context.persona is None


@pytest.mark.parametrize("snapshot", [[reason(text="音质\u200b很嗨，\n低音很沈，再说说降躁")]], indirect=True)
def test_form_is_normalised_and_typos_stay(snapshot: Snapshot) -> None:
    assert only(snapshot).text == "音质很嗨， 低音很沈，再说说降躁"


BAD = [reason(), reason(product_id="gone"), reason(labels={"style": "loud"}), reason(labels={"mood": "warm"}), reason(text="\u200b\u200d")]


@pytest.mark.parametrize("snapshot", [BAD], indirect=True)
def test_rows_that_cannot_be_learnt_from_are_reported_one_by_one(snapshot: Snapshot) -> None:
    problems: list[RowProblem] = []
    assert len(examples(snapshot, vocabulary=VOCABULARY, problems=problems)) == 1
    said = "\n".join(sorted(problem.problem for problem in problems))
    assert len(problems) == 4
    for part in (
        "got 'gone'; expected one of the products table",
        "got 'loud'; expected one of concise",
        "mood: unknown control",
        "nothing is left",
    ):
        assert part in said


@pytest.mark.parametrize("snapshot", [BAD], indirect=True)
def test_without_a_place_for_problems_the_first_one_is_an_error(snapshot: Snapshot) -> None:
    with pytest.raises(BadRow, match="reason for product"):
        examples(snapshot, vocabulary=VOCABULARY)


@pytest.mark.parametrize("snapshot", [[reason(), reason(provenance={"group": "g1"}, text="另一句话")]], indirect=True)
def test_a_group_is_the_given_one_or_the_product(snapshot: Snapshot) -> None:
    assert {example.group for example in examples(snapshot, vocabulary=VOCABULARY)} == {"g1", "p1"}
