from pathlib import Path

import pytest

from common.bundle.admission import read_manifest
from common.bundle.manifest import BundleManifest, Metric
from common.bundle.promotion import PromotionRules, Rail, reasons_against, worse_beyond_noise


@pytest.fixture
def live(written: Path) -> BundleManifest:
    return read_manifest(written)[0]


def candidate(live: BundleManifest, **metrics: Metric) -> BundleManifest:
    return live.model_copy(update={"bundle_id": "lb-" + "f" * 32, "metrics": metrics or live.metrics})


def test_an_equal_bundle_may_go_live(live: BundleManifest) -> None:
    assert reasons_against(candidate(live), live) == []
    assert reasons_against(live, None) == []


def test_a_loss_within_noise_is_no_reason_and_one_beyond_is(live: BundleManifest) -> None:
    assert reasons_against(candidate(live, joint=Metric(value=0.76, low=0.71, high=0.81, num=300)), live) == []
    (reason,) = reasons_against(candidate(live, joint=Metric(value=0.6, low=0.55, high=0.65, num=300)), live)
    assert reason == "joint is 0.6 [0.55, 0.65]; the live bundle has 0.8 [0.75, 0.85]: worse beyond noise"


@pytest.mark.parametrize(("better", "worse"), [("higher", False), ("lower", True), ("neither", False)])
def test_direction_decides_what_worse_means(better: str, worse: bool) -> None:
    old = Metric(value=1.0, low=0.9, high=1.1, num=10, better="higher")
    assert worse_beyond_noise(Metric(value=2.0, low=1.9, high=2.1, num=10, better=better), old) is worse


def test_without_intervals_nobody_can_say_that_it_is_worse(live: BundleManifest) -> None:
    assert not worse_beyond_noise(Metric(value=1.0, num=10), Metric(value=2.0, num=10))
    assert not worse_beyond_noise(Metric(value=1.0, low=0.9, high=1.1, num=10), Metric(value=2.0, num=10))


def test_what_live_measured_must_be_measured_again(live: BundleManifest) -> None:
    assert "was measured for the live bundle" in reasons_against(candidate(live, other=Metric(value=1, num=1)), live)[0]


def test_a_bundle_that_was_never_evaluated_stays_out(live: BundleManifest) -> None:
    bare = live.model_copy(update={"metrics": {}})
    assert "never evaluated" in reasons_against(bare, None)[0]


def test_metrics_of_other_test_rows_are_not_compared(live: BundleManifest) -> None:
    data = live.origin.data.model_copy(update={"test_digest": "1" * 64})
    other = candidate(live).model_copy(update={"origin": live.origin.model_copy(update={"data": data})})
    (reason,) = reasons_against(other, live)
    assert "other test rows" in reason


def test_what_is_live_is_not_promoted_again(live: BundleManifest) -> None:
    assert reasons_against(live, live) == [f"{live.bundle_id} is live already"]


def test_rails_required_metrics_signature_and_canaries_each_speak_for_themselves(live: BundleManifest) -> None:
    rules = PromotionRules(
        required_metrics=("joint", "judge_clean"),
        rails={"joint": Rail(least=0.9), "latency": Rail(most=1)},
        require_signature=True,
        least_rows=500,
    )
    reasons = reasons_against(live, None, rules=rules, canary_failure="differs by 1 nat")
    assert [reason.split(";")[0] for reason in reasons] == [
        "its canaries failed: differs by 1 nat",
        "it is not signed by a trusted key, and signing is demanded",
        "joint was measured on 300 rows with an interval",
        "judge_clean was not measured",
        "latency was not measured",
        "joint is 0.8",
    ]
    assert reasons_against(live, None, rules=PromotionRules(require_signature=True), signed_by="ab" * 8) == []
