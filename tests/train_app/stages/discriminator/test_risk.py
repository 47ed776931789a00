"""The served threshold: who labels, what a run says when it cannot keep a risk, and that it never keeps silent."""

import numpy as np
import orjson
import pytest

from common.bundle.manifest import Risk
from common.errors import BadRow, ConfigError
from train_app.config import CalibrationConfig
from train_app.stages.discriminator import risk
from train_app.stages.discriminator.labels import Asked
from train_app.stages.discriminator.risk import STAGE, control_risk, requests, stage_name
from train_app.stages.discriminator.training import GROUP, weights_of
from train_app.stages.state import State

QUANTILE = 0.05


def start(bench) -> State:
    state = State(bench.run).with_values({"calibration": {"threshold": QUANTILE}, "threshold": QUANTILE})
    return state.with_group("policy", bench.policy.adapter()).with_group(GROUP, weights_of(bench.new_discriminator()))


def asked_of(bench, num: int, *, useful: bool = True) -> list[Asked]:
    """Texts whose last sign says whether they are bad; where `useful`, low scores are."""
    rows = [*bench.splits.train, *bench.splits.discriminator, *bench.splits.validation, *bench.splits.calibration]
    rng, examples = np.random.default_rng(1), requests(rows, vocabulary=bench.vocabulary, num=num, seed="a")
    found = []
    for number, example in enumerate(examples):
        score = float(rng.random())
        bad = rng.random() < (0.5 * (score < 0.4) if useful else 0.3)
        found.append(Asked(example, (score,), (f"第{number}条{'坏' if bad else '好'}",)))
    return found


def run(bench, config: CalibrationConfig, state: State | None = None) -> tuple[State, Risk, list[str]]:
    notes: list[str] = []
    state = state or start(bench)
    done = control_risk(state, config, lambda one: notes.append(one.note), stage=STAGE, k=2, max_attempts=1, bench=bench)
    return done, Risk.model_validate(done.values["risk"]), notes


def people(tmp_path, **others) -> CalibrationConfig:
    return CalibrationConfig(labels="people", labels_file=str(tmp_path / "labels.jsonl"), **others)


def fill_in(tmp_path) -> None:
    rows = [orjson.loads(line) for line in (tmp_path / "labels.jsonl").read_bytes().splitlines()]
    (tmp_path / "labels.jsonl").write_bytes(b"\n".join(orjson.dumps(row | {"bad": row["text"].endswith("坏")}) for row in rows))


def test_requests_ask_about_every_product_before_one_comes_again_and_under_every_code(bench) -> None:
    rows = bench.splits.calibration
    asked = requests(rows, vocabulary=bench.vocabulary, num=100, seed="a")
    keys = [(one.product_id, str(sorted(one.context.controls.items()))) for one in asked]
    assert len(set(keys)) == len(asked) == 100
    assert len({one.product_id for one in asked[: len(rows)]}) == len(rows)
    values = {(name, value) for one in asked for name, value in one.context.controls.items()}
    assert values >= {(control.name, value.name) for control in bench.vocabulary.controls for value in control.values}
    assert requests(rows, vocabulary=bench.vocabulary, num=100, seed="a") == asked
    assert len(requests(rows, vocabulary=bench.vocabulary, num=10**6, seed="a")) < 10**6


def test_without_labels_the_quantile_stays_and_is_told(bench) -> None:
    done, told, notes = run(bench, CalibrationConfig())
    assert done.values["threshold"] == QUANTILE
    assert (told.rule, told.controlled) == ("quantile", False)
    assert "labels: none" in (told.why or "")
    assert "not controlled" in notes[-1]


def test_people_label_what_the_run_wrote_and_the_same_run_goes_on_from_there(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(risk, "_shown", lambda *args, **kwargs: asked_of(bench, 1000))
    config = people(tmp_path)
    before, told, notes = run(bench, config)
    assert not told.controlled
    assert "fill in `bad` and start the same run again" in notes[-1]
    assert str(tmp_path) not in (told.why or ""), "the manifest holds no path"
    assert stage_name(config) == STAGE, "an empty form is no news"
    fill_in(tmp_path)
    assert stage_name(config) != STAGE
    done, told, notes = run(bench, config, before)
    assert (told.rule, told.controlled, told.num_requests) == ("learn_then_test", True, 1000)
    assert done.values["threshold"] == told.threshold
    assert told.bound is not None
    assert told.bound <= config.alpha
    assert told.num_accepted >= 300
    assert "P(bad | accepted) <= 0.1 with confidence 0.9" in notes[-1]


def test_labels_that_are_few_or_of_other_texts_control_nothing(bench, tmp_path, monkeypatch) -> None:
    config = people(tmp_path)
    monkeypatch.setattr(risk, "_shown", lambda *args, **kwargs: asked_of(bench, 200))
    run(bench, config)
    fill_in(tmp_path)
    done, told, _ = run(bench, config)
    assert "too few calibration requests: 200" in (told.why or "")
    assert done.values["threshold"] == QUANTILE
    monkeypatch.setattr(
        risk, "_shown", lambda *args, **kwargs: [Asked(one.example, one.scores, ("别的话",)) for one in asked_of(bench, 200)]
    )
    _, told, _ = run(bench, config)
    assert "another run's" in (told.why or "")


def test_a_useless_score_is_said_to_control_nothing(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(risk, "_shown", lambda *args, **kwargs: asked_of(bench, 1000, useful=False))
    config = people(tmp_path)
    run(bench, config)
    fill_in(tmp_path)
    done, told, notes = run(bench, config)
    assert (told.rule, done.values["threshold"]) == ("quantile", QUANTILE)
    assert "risk is up to" in (told.why or "")
    assert told.bound is not None
    assert told.bound > config.alpha
    assert "not controlled" in notes[-1]


def test_texts_that_mostly_fail_the_checks_are_said_to_be_too_few(bench, tmp_path, monkeypatch) -> None:
    failing = [Asked(one.example, (-np.inf,), ("",)) if number % 5 else one for number, one in enumerate(asked_of(bench, 1000))]
    monkeypatch.setattr(risk, "_shown", lambda *args, **kwargs: failing)
    monkeypatch.setattr(risk, "FEWEST_REQUESTS", 100)
    run(bench, people(tmp_path))
    fill_in(tmp_path)
    _, told, _ = run(bench, people(tmp_path))
    assert not told.controlled
    assert told.num_requests > 900, "a request without a text is one that was not accepted"
    assert "20% of the requests have a text that passes" in (told.why or "")


def test_what_would_be_shown_is_the_best_of_those_that_pass(bench, monkeypatch) -> None:
    class Verdict:
        def __init__(self, passed: bool) -> None:
            self.checks_passed = passed

    monkeypatch.setattr(bench.checker, "judge", lambda text, *, context, score: Verdict(len(text) % 2 == 0))
    state, rows = start(bench), bench.splits.calibration[:6]
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator().eval()
    shown = risk._shown(rows, discriminator, lambda one: None, stage=STAGE, k=4, max_attempts=2, bench=bench)
    assert [one.example for one in shown] == rows
    for attempt in range(2):
        groups = bench.write([one.context for one in rows], k=4, stage="risk requests", step=attempt, decoding=bench.served)
        for one, group in zip(shown, groups, strict=True):
            passing = [candidate for candidate in group if len(candidate.text) % 2 == 0]
            scores = discriminator.score([c.features for c in passing], [one.example.context.controls] * len(passing)) if passing else []
            assert one.scores[attempt] == pytest.approx(max(scores, default=-np.inf))
            assert one.texts[attempt] == (passing[int(np.argmax(scores))].text if passing else "")


def test_the_evaluator_knows_the_sample_shop_alone(bench, monkeypatch) -> None:
    monkeypatch.setattr(risk, "_shown", lambda *args, **kwargs: asked_of(bench, 10))
    bench.splits.evaluator.extend(bench.splits.train[:2])
    _, told, notes = run(bench, CalibrationConfig(labels="evaluator"))
    assert "sample shop alone" in (told.why or "")
    assert "not controlled" in notes[-1]


def test_a_labels_file_that_is_none_names_its_line(tmp_path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"example_id": "a", "controls": {}, "text": "x", "bad": "perhaps"}\n')
    with pytest.raises(BadRow, match="line 1"):
        stage_name(people(tmp_path))


@pytest.mark.parametrize("fields", [{"labels": "people"}, {"labels_file": "x.jsonl"}])
def test_a_file_and_people_go_together(fields) -> None:
    with pytest.raises((ValueError, ConfigError), match="labels_file"):
        CalibrationConfig(**fields)
