"""What the discriminator is worth is the difference of two studies on the seeds that both have."""

import numpy as np
import pytest

from cluster.bench.null_study import compared
from common.domain.decoding import DecodingParams
from common.errors import BadInput
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, ArmResult, Bits, SeedResult, Texts


def results(success: float, *seeds: int) -> dict[int, SeedResult]:
    made = {}
    for seed in seeds:
        outcome = Bits.of(list(np.random.default_rng(seed).random(400) < success))
        texts = {taken: Texts(outcomes={"success": outcome, "judge_clean": outcome}, figures={}) for taken in (SAMPLED, DECODED, CHOSEN)}
        arm = ArmResult(
            run="r", selected="sft", policy="filtering 1", varied=True, core_seconds={}, validation={}, search=[],
            decoding=DecodingParams(max_new_tokens=8), texts=texts,
        )  # fmt: skip
        made[seed] = SeedResult(
            study="s", data="d", base="b", start="t", seed=seed, commit="c", machine="m", seconds=1, start_core_seconds={}, prompts=[],
            reference=texts[DECODED], arms={"F": arm},
        )  # fmt: skip
    return made


def test_only_seeds_of_both_are_paired() -> None:
    found = compared(results(0.8, 1, 2, 3), results(0.7, 2, 3, 4), method="F")
    assert found["seeds"] == [2, 3]
    difference = found["seeing_minus_blind"][DECODED]["success"]
    assert 0.05 < difference["value"] < 0.15
    assert difference["low"] > 0
    with pytest.raises(BadInput, match="no seed is in both studies"):
        compared(results(0.8, 1), results(0.7, 2), method="F")
