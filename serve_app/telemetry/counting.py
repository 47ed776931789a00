"""What an answer and a round of verdicts count as. Labels come from our code alone, so that there are few of them."""

from collections import Counter
from collections.abc import Iterable

from common.contract.wire import ItemReason, ReasonsResponse
from common.domain.reason import QualityVerdict
from serve_app.telemetry.metrics import CANDIDATES, GUARD_BLOCKS, ITEMS, Record

ACCEPTED, REFUSED = "accepted", "refused"
DISCRIMINATOR = "discriminator"


def sources(answer: ReasonsResponse) -> dict[str, int]:
    """How many items of the page are from where; `none`: they show nothing."""
    return dict(Counter(item.source or "none" for item in answer.items))


def count_answer(record: Record, answer: ReasonsResponse) -> None:
    for (source, verdict), number in Counter((item.source or "none", _verdict(item)) for item in answer.items).items():
        record(ITEMS, number, {"source": source, "verdict": verdict})


def _verdict(item: ItemReason) -> str:
    return item.error.code if item.error else item.degraded or ACCEPTED


def count_verdicts(record: Record, verdicts: Iterable[QualityVerdict]) -> None:
    counted: Counter[str] = Counter()
    blocked: Counter[str] = Counter()
    for verdict in verdicts:
        counted[ACCEPTED if verdict.accepted else REFUSED] += 1
        blocked.update(name for name, check in verdict.checks.items() if not check.passed)
        blocked.update([DISCRIMINATOR] if verdict.checks_passed and not verdict.accepted else [])
    for name, number in counted.items():
        record(CANDIDATES, number, {"verdict": name})
    for name, number in blocked.items():
        record(GUARD_BLOCKS, number, {"rule_group": name})
