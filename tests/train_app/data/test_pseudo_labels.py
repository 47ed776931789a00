"""On a shop whose texts give a topic away by words, and a style by their length alone."""

import json
import random
from pathlib import Path

import pytest

from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot, with_reasons
from common.packs.load import load_pack
from train_app.data.examples import PSEUDO_LABELS, Example, examples
from train_app.data.pseudo_labels import LabelReport, pseudo_label, pseudo_labelled
from train_app.data.split import Splits, split

VOCABULARY = load_pack("shop").vocabulary
WORDS = {
    "quality": ("做工扎实", "用料考究", "质感很好"),
    "value": ("价格划算", "实在不贵", "买着超值"),
    "look": ("颜色耐看", "样子养眼", "外观吸睛"),
    "use": ("通勤应景", "出门正好", "居家合适"),
}
CONTROLS = ("topic", "style")
PADDING = "从早到晚都用得上，搬家换季也不必另外再添置一件。"


def text_of(topic: str | None, style: str, rng: random.Random) -> str:
    told = rng.choice(WORDS[topic]) if topic else "到货了"
    said = f"{rng.choice('甲乙丙丁戊己庚辛')}家这款{told}，{rng.choice(('放心', '喜欢', '开心'))}就好。"
    return said if style == "concise" else said + PADDING


def shop(folder: Path, *, labelled: float, rows: int = 400, only: tuple[str, ...] = tuple(WORDS)) -> Snapshot:
    """Rows keep their labels with this probability; `provenance.truth` says what all of them are. A tenth are mute of their topic."""
    rng = random.Random(7)
    products, reasons = [], []
    for row in range(rows):
        topic, style = rng.choice(only), rng.choice(("concise", "detailed"))
        labels = {"topic": topic, "style": style}
        products.append({"product_id": f"p{row}", "title": f"{row}号耳机", "category": "耳机"})
        mute = row % 10 == 0
        text, kept = text_of(None if mute else topic, style, rng), labels if rng.random() < labelled and not mute else {}
        reasons.append({"product_id": f"p{row}", "text": text, "labels": kept, "provenance": {"truth": labels, "mute": mute}})
    raw = folder / "raw"
    raw.mkdir()
    for name, table in (("products", products), ("reasons", reasons)):
        (raw / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in table), encoding="utf-8")
    build_snapshot(raw, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def labelled_shop(snapshot: Snapshot, folder: Path, **settings: object) -> tuple[Snapshot, LabelReport]:
    rows, report = pseudo_label(snapshot, vocabulary=VOCABULARY, controls=CONTROLS, **settings)
    with_reasons(snapshot, folder / "labelled", reasons=rows, notes={PSEUDO_LABELS: report.model_dump(mode="json")})
    return Snapshot.open(folder / "labelled"), report


def splits_of(snapshot: Snapshot) -> Splits:
    return split(examples(snapshot, vocabulary=VOCABULARY))


def by_text(rows: list[Example]) -> dict[str, Example]:
    return {f"{one.product_id} {one.text}": one for one in rows}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    return shop(tmp_path_factory.mktemp("few"), labelled=0.4)


@pytest.fixture(scope="module")
def told(few: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, LabelReport]:
    return labelled_shop(few, tmp_path_factory.mktemp("told"))


def test_rows_without_labels_get_the_labels_that_they_deserve(few: Snapshot, told: tuple[Snapshot, LabelReport]) -> None:
    labelled, report = told
    pairs = [
        (one.labels[control], one.provenance["truth"][control])
        for one in splits_of(labelled).train
        for control in one.provenance.get(PSEUDO_LABELS, {})
    ]
    assert len(pairs) > 150
    assert sum(label == truth for label, truth in pairs) / len(pairs) > 0.97
    assert report.controls["topic"].rounds["1"].accuracy.value > 0.95
    before = split(examples(few, vocabulary=VOCABULARY), held_out=0).train
    assert report.controls["style"].labelled == sum("style" in one.labels for one in before)
    after = split(examples(labelled, vocabulary=VOCABULARY), held_out=0).train
    assert sum("style" in one.labels for one in after) > 1.8 * sum("style" in one.labels for one in before)


def test_labels_of_people_and_the_rows_of_other_purposes_stay_as_they_are(few: Snapshot, told: tuple[Snapshot, LabelReport]) -> None:
    before, after = by_text(examples(few, vocabulary=VOCABULARY)), by_text(examples(told[0], vocabulary=VOCABULARY))
    assert before.keys() == after.keys()
    assert all(after[key].given == one.labels for key, one in before.items())
    for purpose in ("validation", "calibration", "test", "evaluator"):
        rows = getattr(splits_of(few), purpose)
        assert rows
        assert all(after[key].labels == one.labels and PSEUDO_LABELS not in after[key].provenance for key, one in by_text(rows).items())


def test_labelling_moves_no_row_to_another_purpose_and_holds_back_the_same_combinations(
    few: Snapshot, told: tuple[Snapshot, LabelReport]
) -> None:
    before, after = splits_of(few), splits_of(told[0])
    assert before.held_out
    assert before.held_out == after.held_out
    for purpose in ("discriminator", "validation", "calibration", "test", "evaluator", "train"):
        assert by_text(getattr(after, purpose)).keys() <= by_text(getattr(before, purpose)).keys()


def test_every_pseudo_label_can_be_audited_and_the_least_sure_comes_first(told: tuple[Snapshot, LabelReport]) -> None:
    table = pseudo_labelled(told[0])
    assert len(table) == sum(sum(one.pseudo_labelled.values()) for one in told[1].controls.values())
    assert [one.confidence for one in table] == sorted(one.confidence for one in table)
    assert table[0].confidence >= 0.9
    assert {one.round for one in table} <= {1, 2, 3}
    ids = {one.example_id: one for one in examples(told[0], vocabulary=VOCABULARY)}
    for one in table:
        assert ids[one.example_id].labels[one.control] == one.value
        weights = [weight for _, weight in one.ngrams]
        assert weights == sorted(weights, reverse=True)
        assert weights[0] > 0
        assert all(ngram in one.text for ngram, _ in one.ngrams if ngram != "(length)")
    assert all("(length)" in dict(one.ngrams) for one in table if one.value == "concise")
    topics = [one for one in table if one.control == "topic"]
    assert all(any(ngram in word for ngram, _ in one.ngrams for word in WORDS[one.value]) for one in topics)


def test_a_text_that_says_nothing_of_a_topic_stays_without_one_and_is_counted(told: tuple[Snapshot, LabelReport]) -> None:
    labelled, report = told
    splits = splits_of(labelled)
    mute = [one for one in splits.train + splits.discriminator if one.provenance["mute"]]
    assert len(mute) > 20
    assert not [one.text for one in mute if "topic" in one.labels]
    assert [one.context.controls for one in mute if "style" in one.labels], "it is as short as others are"
    assert report.controls["topic"].unlabelled >= len(mute)


def test_labelling_twice_learns_from_people_alone(told: tuple[Snapshot, LabelReport], tmp_path: Path) -> None:
    again, report = labelled_shop(told[0], tmp_path)
    assert report == told[1]
    assert again.digest == told[0].digest


@pytest.mark.parametrize(("only", "few_values"), [(("quality",), "value, look, use"), (("quality", "value", "look"), "use")])
def test_a_value_without_labelled_rows_is_named(tmp_path: Path, only: tuple[str, ...], few_values: str) -> None:
    snapshot = shop(tmp_path, labelled=1.0, rows=80, only=only)
    with pytest.raises(BadInput, match=rf"controls\.topic: .*use 0; .* at least 5 .* Label more rows of {few_values} by hand"):
        pseudo_label(snapshot, vocabulary=VOCABULARY, controls=["topic"])
    with pytest.raises(BadInput, match=r"control: got 'mood'; expected one of topic, emotion, style"):
        pseudo_label(snapshot, vocabulary=VOCABULARY, controls=["mood"])


def test_a_shop_without_any_label_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"controls\.topic: too few products"):
        pseudo_label(shop(tmp_path, labelled=0.0, rows=60), vocabulary=VOCABULARY)
