"""What a gain of a few rows is called, and whose leavings a bench finds again."""

from pathlib import Path

import pytest

from cluster.bench.first_run import folder_of
from cluster.bench.poisoning import BAR, verdicts


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.02, BAR, "kept"), (-0.02, 0.12, "open"), (0.02, 0.12, "open"), (0.06, 0.12, "broken")]
)
def test_a_gain_is_judged_by_its_interval(low: float, high: float, verdict: str) -> None:
    gain = {"value": (low + high) / 2, "low": low, "high": high}
    assert verdicts({"seller own": {"served": gain}}) == {"seller own, served": verdict}


def test_other_settings_find_another_folder(tmp_path: Path) -> None:
    assert folder_of(tmp_path, 1, ["a=1"]) == folder_of(tmp_path, 1, ["a=1"])
    assert folder_of(tmp_path, 1, ["a=2"]) != folder_of(tmp_path, 1, ["a=1"])
    assert folder_of(tmp_path, 1).parent == tmp_path
