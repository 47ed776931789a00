"""The studies of real data: what is scored was fixed, what is told is what the seeds say, nobody is quoted."""

import json
from functools import partial

import pytest

from cluster.bench import real_study
from cluster.bench.real_study import STUDIES, configured, run
from cluster.bench.real_study_report import TITLES, RealResults, StudyPart, markdown, part_of
from common.config import parse
from common.domain.decoding import DecodingParams
from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from train_app.data.public_datasets.advertisegen import import_advertisegen
from train_app.runtime.setting_up import read_splits
from train_app.study.config import StudyConfig
from train_app.study.figures import DECODED, SAMPLED, ArmResult, Bits, SeedResult, Texts

N = 40
CONFIG = parse(
    {
        "name": "tiny",
        "train": {"data": {"snapshot": "unused"}, "out": "unused"},
        "seeds": [1],
        "baselines": ["A'"],
        "control": None,
        "verifier": None,
        "rounds": 200,
        "decodings": [{"max_new_tokens": 16}],
        "arms": {"A'": {"title": "more of it"}, "F": {"title": "the method"}},
    },
    StudyConfig,
    source="test",
)


def texts(wrong: int, bleu: float, coverage: float) -> Texts:
    outcomes = {"success": [True] * N, "checks": [True] * N, "hallucinated": [row < wrong for row in range(N)]}
    figures = {"text.sentence_bleu4": bleu, "text.bleu4": bleu, "text.rouge_l": 25.5, "text.coverage": coverage, "text.chars": 90.0}
    return Texts(outcomes={name: Bits.of(rows) for name, rows in outcomes.items()}, figures=figures)


def arm(wrong: int, bleu: float) -> ArmResult:
    taken = {DECODED: texts(wrong, bleu, 0.8), SAMPLED: texts(2 * wrong, bleu - 2, 0.7)}
    return ArmResult(
        run="r", selected="sft", policy="filtering 1", varied=True, validation={}, search=[],
        core_seconds={"filtering 1": 30.0, "discriminator 1": 12.0}, measuring_core_seconds=138.0,
        decoding=DecodingParams(max_new_tokens=16, temperature=0.5, top_p=0.95), texts=taken,
    )  # fmt: skip


def part(*seeds: tuple[int, int, float]) -> StudyPart:
    """Of seeds with that many wrong texts of A' and F, and that BLEU-4 of F."""
    made = [
        SeedResult(
            study="s", data="d", base="b", start="t", seed=at, commit="c", machine="m", seconds=600, start_core_seconds={},
            prompts=[f"row-{row}" for row in range(N)], reference=texts(1, 100.0, 0.86),
            arms={"A'": arm(theirs, 7.0), "F": arm(ours, bleu)},
        )
        for at, (theirs, ours, bleu) in enumerate(seeds, 1)
    ]  # fmt: skip
    return part_of(CONFIG, made)


def test_figures_are_means_over_seeds_under_the_arms_own_decoding() -> None:
    made = part((8, 4, 8.0), (8, 2, 9.0))
    assert made.means["F"]["text.bleu4"] == pytest.approx(8.5)
    assert made.by_seed["F"]["hallucinated"] == [0.1, 0.05]
    assert made.means["F"]["core_seconds"] == pytest.approx(42)
    assert made.human["text.coverage"] == pytest.approx(0.86)
    assert "text.bleu4" not in made.human
    assert made.core_minutes == [6.0, 6.0]
    assert made.decodings["F"] == ["T 0.5, top-p 0.95"] * 2


@pytest.mark.parametrize(
    ("seeds", "kept"),
    [
        (((8, 4, 8.1),), [True, True, True, True]),
        (((8, 5, 8.05),), [False, True, True, False]),
        (((0, 0, 9.0),), [True, True, True, False]),
    ],
)
def test_a_goal_that_was_missed_is_said_to_be(seeds, kept) -> None:
    results = RealResults(command="c", commit="c", machine="m", studies={"real": part(*seeds)})
    assert [goal.kept for goal in results.goals] == kept
    assert markdown(results).count("**missed**") == kept.count(False)


def test_the_page_has_a_section_for_each_study_and_quotes_no_row() -> None:
    page = markdown(RealResults(command="c", commit="c", machine="m", studies={name: part((8, 4, 8.1)) for name in STUDIES}))
    assert [title for title in TITLES.values() if f"## {title}\n" in page] == list(TITLES.values())
    assert "| hallucinated or contradicted (facts check fails) | 0.200 | 0.100 | 0.025 |" in page
    assert "| over A' | +0.000 [+0.000, +0.000] | -0.100 [-0." in page
    assert "row-1" not in page


def test_studies_of_real_data_quote_nobody_and_start_where_their_data_is_made() -> None:
    for name in STUDIES:
        assert configured(name).shown == 0
    assert configured("nothing").train.base.source != configured("real").train.base.source
    assert set(configured("nothing").arms) == set(configured("real").arms)
    assert len(configured("real").seeds) == 3


def test_rows_that_were_not_announced_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_study, "announced", lambda: {"real": {"scored": ["a", "b"]}})
    file = tmp_path / "ids.json"
    with pytest.raises(BadInput, match="commit it first"):
        run(ids_file=file, out=tmp_path)
    file.write_text(json.dumps({"real": {"scored": ["a"]}}), encoding="utf-8")
    with pytest.raises(BadInput, match="commit it first"):
        run(ids_file=file, out=tmp_path)
    with pytest.raises(BadInput, match="reel"):
        run(only=["reel"], ids_file=file, out=tmp_path)


def test_the_committed_rows_are_what_the_data_gives_and_training_reads_none_of_them(shared_data, tmp_path) -> None:
    importer = partial(import_advertisegen, shared_data / "advertisegen", cut_placeholders=True)
    importer(tmp_path / "raw")
    build_snapshot(tmp_path / "raw", tmp_path / "snapshot")
    config = configured("real").train
    config = config.model_copy(update={"data": config.data.model_copy(update={"snapshot": str(tmp_path / "snapshot")})})
    splits = read_splits(config, vocabulary=load_pack("advertisegen").vocabulary)
    committed = json.loads((real_study.RESULTS / "real_ids.json").read_text(encoding="utf-8"))["real"]
    assert committed["snapshot"] == Snapshot.open(tmp_path / "snapshot").digest
    assert committed["scored"] == [one.example_id for one in splits.test]
    assert len(committed["scored"]) >= 500
    read = [*splits.train, *splits.discriminator, *splits.validation, *splits.calibration, *splits.evaluator]
    tested = {(one.product_id, one.text) for one in splits.test}
    assert not {one.product_id for one in read} & {product for product, _ in tested}
    assert not {one.text for one in read} & {text for _, text in tested}
