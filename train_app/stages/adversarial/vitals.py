"""What a round remembers of its steps: moving averages that guard and throttle read, kept with the state. Decides nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from pydantic import JsonValue

SMOOTHING = 0.9
"""Of all moving averages here: one step's few samples prove nothing."""
AT_FIRST = 0.65
"""Of the discriminator's accuracy and of its order of pairs, before anything is known of them."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """`accuracy` and `auc` are the discriminator's and go on through rounds; the generator's are measured against its first step."""

    accuracy: float = AT_FIRST
    auc: float = AT_FIRST
    """share of pairs in which the real text stands above a sample, or above a wrong text, whichever is more"""
    distinct: float | None = None
    first_distinct: float | None = None
    first_entropy: float | None = None
    certain: int = 0
    """steps in a row after which the accuracy was above `throttle_certain`"""
    confused: int = 0
    """steps in a row after which `auc` was below `min_auc`"""

    @classmethod
    def kept(cls, values: Mapping[str, JsonValue]) -> "Vitals":
        """From a state's values, as `values` gave them."""
        found = values.get("vitals")
        return cls(**{name: _number(value) for name, value in found.items()}) if isinstance(found, Mapping) else cls()  # type: ignore[arg-type]

    def values(self) -> dict[str, JsonValue]:
        return {"vitals": asdict(self)}

    def at_round_start(self) -> "Vitals":
        return Vitals(accuracy=self.accuracy, auc=self.auc)

    def after(self, metrics: Mapping[str, float], *, certain_above: float, confused_below: float) -> "Vitals":
        """One step on."""
        accuracy = _averaged(self.accuracy, metrics["accuracy"])
        auc = _averaged(self.auc, max(metrics["ordered_samples"], metrics["ordered_wrong"]))
        distinct = metrics["distinct_2"]
        return replace(
            self,
            accuracy=accuracy,
            auc=auc,
            distinct=distinct if self.distinct is None else _averaged(self.distinct, distinct),
            first_distinct=distinct if self.first_distinct is None else self.first_distinct,
            first_entropy=metrics["entropy"] if self.first_entropy is None else self.first_entropy,
            certain=self.certain + 1 if accuracy > certain_above else 0,
            confused=self.confused + 1 if auc < confused_below else 0,
        )

    def metrics(self) -> dict[str, float]:
        named = {"accuracy": self.accuracy, "auc": self.auc, "distinct": self.distinct}
        return {f"{name}_average": value for name, value in named.items() if value is not None}


def _averaged(before: float, now: float) -> float:
    return SMOOTHING * before + (1 - SMOOTHING) * now


def _number(value: JsonValue) -> int | float | None:
    assert value is None or isinstance(value, int | float)
    return value
