"""Each poison is what it is called: refused for its own reason, by the checks that need no model where they can see it."""

import shutil
from pathlib import Path

import pytest

from cluster.bench.faults.poison import POISONS, flip
from common.bundle.admission import admit
from common.errors import LiyouError
from serve_app.state.live import STARTER

SEEN_WITH_A_MODEL = {"another base", "weights of the bare base"}
"""Whether the base fits, and whether the adapter does anything, is seen when they are loaded."""


@pytest.mark.parametrize("name", POISONS)
def test_a_poisoned_starter_is_refused_with_the_code_that_the_matrix_names(name: str, tmp_path: Path) -> None:
    spoil, told = POISONS[name]
    folder = tmp_path / "bundle"
    shutil.copytree(STARTER, folder)
    spoil(folder)
    if name in SEEN_WITH_A_MODEL:
        assert admit(folder)
        return
    with pytest.raises(LiyouError) as caught:
        admit(folder)
    assert told in f"{caught.value.code}: {caught.value}"


def test_a_flipped_bit_flips_back(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(b"weights")
    path.chmod(0o444)
    flip(path)
    assert path.read_bytes() == b"weightr"
    flip(path)
    assert path.read_bytes() == b"weights"
