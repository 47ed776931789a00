import pytest

from common.domain.reason import CheckResult, QualityVerdict
from common.generation.acceptance import Accept, Regenerate, Template, decide


def verdict(accepted: bool, score: float | None = None, met: tuple[str, ...] = ()) -> QualityVerdict:
    return QualityVerdict(accepted=accepted, score=score, checks={"facts": CheckResult(name="facts", passed=accepted)}, met=met)


YES, NO = verdict(True, 0.6), verdict(False, 0.99)


@pytest.mark.parametrize(
    ("verdicts", "attempts", "time_left_s", "decision"),
    [
        ([], 0, 10.0, Regenerate()),
        ([], 0, 0.4, Template("deadline")),
        ([NO, YES], 1, 10.0, Accept(1)),
        ([NO, YES], 1, -1.0, Accept(1)),
        ([NO, YES], 2, 10.0, Accept(1)),
        ([YES, verdict(True, 0.9), verdict(True, 0.9)], 1, 10.0, Accept(1)),
        ([verdict(True), YES, verdict(True)], 1, 10.0, Accept(1)),
        ([NO, verdict(True), verdict(True)], 1, 10.0, Accept(1)),
        ([YES, verdict(True, 0.5, ("product.price",)), verdict(True, 0.9), verdict(False, 0.9, ("a", "b"))], 1, 10.0, Accept(1)),
        ([verdict(True, 0.5, ("a",)), verdict(True, 0.7, ("b",)), verdict(True, None, ("a",))], 1, 10.0, Accept(1)),
        ([NO, NO], 1, 10.0, Regenerate()),
        ([NO, NO], 1, 0.5, Regenerate()),
        ([NO, NO], 1, 0.49, Template("deadline")),
        ([NO, NO], 2, 10.0, Template("no_candidate_accepted")),
        ([NO, NO], 2, 0.0, Template("no_candidate_accepted")),
        ([], 1, float("inf"), Regenerate()),
    ],
)
def test_decide(verdicts, attempts, time_left_s, decision):
    assert decide(verdicts, attempts=attempts, max_attempts=2, time_left_s=time_left_s, expected_s=0.5) == decision
