import json
from pathlib import Path

import pytest

from cluster.bench.labels import PACK, Run, Settings, drawn, few_labels, over_seeds, ratio, read_runs, results
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.metrics.intervals import share
from train_app.data.examples import examples
from train_app.data.split import split
from train_app.sample_shop.generate import generate_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("shop")
    generate_shop(folder / "raw", users=20, products=100, reasons=400)
    build_snapshot(folder / "raw", folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def run(seed: int, kept: float, right: int, *, pseudo: bool = False) -> Run:
    read = {control.name: share(right, 100) for control in PACK.controls.controls}
    return Run(
        seed=seed,
        share=kept,
        pseudo=pseudo,
        labelled=10,
        read=read,
        all_read=share(right, 100),
        check=share(right, 100),
        validation_loss=1.0,
        report=None,
        right={},
        seconds=1.0,
        commit="c",
    )


def test_a_smaller_share_of_labels_lies_within_a_larger_and_the_test_keeps_all(shop: Snapshot) -> None:
    test = {one.example_id for one in split(examples(shop, vocabulary=PACK.vocabulary)).test}
    kept = {}
    for part in (0.1, 0.3, 1.0):
        rows, labelled = few_labels(shop, kept=part, seed=0)
        all_rows = list(zip(rows, examples(shop, vocabulary=PACK.vocabulary), strict=True))
        assert all(row.labels for row, one in all_rows if one.example_id in test)
        kept[part] = {one.example_id for row, one in all_rows if row.labels and one.example_id not in test}
        assert 0 < labelled <= len(kept[part])
    assert kept[0.1] < kept[0.3] < kept[1.0]
    assert len(kept[0.3]) / len(kept[1.0]) == pytest.approx(0.3, abs=0.08)


def test_a_seed_is_compared_with_itself_and_the_interval_is_students() -> None:
    runs = [run(0, 1.0, 80), run(1, 1.0, 60), run(0, 0.1, 76, pseudo=True), run(1, 0.1, 51, pseudo=True), run(2, 0.1, 10, pseudo=True)]
    found = ratio(runs)
    assert (found.value, found.n) == (pytest.approx((0.95 + 0.85) / 2), 2)
    assert found.high - found.value == pytest.approx(12.706 * 0.05, rel=1e-3)
    assert over_seeds([0.5]).low is None


def test_what_was_measured_is_read_again_and_under_other_settings_begins_anew(tmp_path: Path) -> None:
    runs, settings = [run(0, 1.0, 80), run(0, 0.1, 76, pseudo=True)], Settings()
    told = json.loads(results(settings, {"topic": share(99, 100)}, runs))
    assert told["summary"]["10% and pseudo-labels"]["of_all_labels"]["value"] == pytest.approx(0.95)
    (tmp_path / "runs.json").write_text(json.dumps(told), encoding="utf-8")
    assert read_runs(tmp_path / "runs.json", settings) == runs
    assert read_runs(tmp_path / "runs.json", Settings(steps=7)) == []
    assert "with pseudo-labels" in drawn(runs, {"topic": share(99, 100)})
