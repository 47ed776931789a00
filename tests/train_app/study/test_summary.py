"""Summaries and reports from seeds whose outcomes are known."""

import numpy as np
import pytest

from common.domain.decoding import DecodingParams
from train_app.study.figures import CHOSEN, DECODED, SAMPLED, ArmResult, Bits, Searched, SeedResult, Shown, Texts
from train_app.study.report import render
from train_app.study.summary import summarise

N = 400


def texts(rng, success: float, wrong: float) -> Texts:
    outcome = rng.random(N) < success
    clean = outcome | (rng.random(N) < 0.5)
    outcomes = {"success": outcome, "checks": outcome, "judge_clean": clean, "hallucinated": rng.random(N) < wrong}
    return Texts(
        outcomes={name: Bits.of(rows) for name, rows in outcomes.items()},
        figures={"text.distinct2": 0.2, "text.bleu4": 30.0},
        by_code={"style=concise": success},
    )


def arm(rng, success: float, wrong: float = 0.1) -> ArmResult:
    decoding = DecodingParams(max_new_tokens=16)
    return ArmResult(
        run="r",
        selected="filtering 1",
        policy="filtering 1",
        varied=success > 0.5,
        core_seconds={"filtering 1": 10.0},
        validation={"sft": {"joint": 0.4}, "filtering 1": {"joint": success}},
        discriminator={"discriminator: auc_fake": [0.5, 0.7]},
        search=[Searched(decoding=decoding, joint=success, distinct_2=1.0)],
        decoding=decoding,
        texts={taken: texts(rng, success, wrong) for taken in (SAMPLED, DECODED, CHOSEN)},
        auc=0.9,
        likelihood_auc=0.8,
        reliability=[(0.2, 0.3, 10), (0.8, 0.7, 10)],
        shown=[Shown(product="<b>咖啡</b>", controls={"style": "concise"}, text="很好。", success=True)],
    )


def seeds(f: float, a: float = 0.5, *, count: int = 3) -> list[SeedResult]:
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        made.append(
            SeedResult(
                study="s", data="d", base="b", start="t", seed=seed, commit="c", machine="m", seconds=60, start_core_seconds={},
                prompts=[str(n) for n in range(N)], reference=texts(rng, 0.9, 0.02),
                arms={"A": arm(rng, a), "V": arm(rng, 0.55), "F": arm(rng, f, 0.05)},
            )
        )  # fmt: skip
    return made


def test_a_plain_gain_is_found_and_its_interval_excludes_zero(tiny) -> None:
    summary = summarise(tiny(), seeds(0.7))
    assert summary.best_baseline == "A"
    assert summary.s_gain == pytest.approx(0.2, abs=0.04)
    assert 0.1 < summary.s_gain_low < summary.s_gain < summary.s_gain_high
    assert summary.hallucination_ratio == pytest.approx(0.5, abs=0.15)
    assert summary.over_control is None
    assert summary.judge_gain is not None
    assert max(summary.p_values.values()) < 0.05


def test_no_gain_is_called_no_gain(tiny) -> None:
    summary = summarise(tiny(), seeds(0.5))
    assert summary.s_gain_low < 0 < summary.s_gain_high


def test_a_baseline_does_not_differ_from_itself_unless_its_seeds_do_and_few_seeds_say_nothing(tiny) -> None:
    same = summarise(tiny(), seeds(0.7, count=5)).a_a
    assert same is not None
    assert len(same.by_seed) == 2
    assert same.low < 0 < same.high
    one, other = seeds(0.7, a=0.5, count=4), seeds(0.7, a=0.8, count=4)
    drifted = summarise(tiny(), [one[0], other[1], one[2], other[3]]).a_a
    assert drifted is not None
    assert drifted.high < 0
    assert summarise(tiny(), seeds(0.7, count=3)).a_a is None


def test_bars_say_whether_they_were_kept(tiny) -> None:
    kept = {(bar.arm, bar.figure): bar.kept for bar in summarise(tiny(), seeds(0.7, a=0.8)).bars}
    assert kept == {("reference", "success"): True, ("A", "sampled.success"): False}


def test_outcomes_come_back_as_they_were_kept() -> None:
    rows = [True, False, True] * 7
    assert Bits.of(rows).array.tolist() == rows


def test_the_report_draws_and_escapes(tiny) -> None:
    results = seeds(0.7)
    page = render(tiny(), results, summarise(tiny(), results))
    assert page.count("<svg") == 5
    assert "&lt;b&gt;咖啡" in page
    assert "F - A, at temperature 1" in page
    assert page == render(tiny(), results, summarise(tiny(), results))
