"""The caller's deadline: parsed from `X-Deadline-Ms`, kept as a moment on the server's monotonic clock. Reads no clock itself."""

from dataclasses import dataclass

from pydantic import Field, model_validator

from common.config import Frozen
from common.errors import BadInput

HEADER = "X-Deadline-Ms"


class DeadlineLimits(Frozen):
    default_ms: int = Field(10_000, ge=1, description="milliseconds a request may take when it names no deadline")
    min_ms: int = Field(50, ge=1, description="a shorter deadline is refused: not even a template would be in time")
    max_ms: int = Field(60_000, ge=1, description="a longer deadline is refused: connections in between give up earlier")

    @model_validator(mode="after")
    def _ordered(self) -> "DeadlineLimits":
        if not self.min_ms <= self.default_ms <= self.max_ms:
            raise ValueError(f"expected min_ms <= default_ms <= max_ms, got {self.min_ms}, {self.default_ms}, {self.max_ms}")
        return self


def parse_deadline_ms(header: str | None, *, limits: DeadlineLimits) -> int:
    """Milliseconds from now; the default where the header is absent. Raises BadInput: a deadline is refused rather than bent."""
    if header is None:
        return limits.default_ms
    text = header.strip()
    expected = f"expected whole milliseconds from {limits.min_ms} to {limits.max_ms}, for example {limits.default_ms}"
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise BadInput(f"{HEADER}: got {text!r:.40}; {expected}")
    milliseconds = int(text)
    if not limits.min_ms <= milliseconds <= limits.max_ms:
        raise BadInput(f"{HEADER}: got {milliseconds}; {expected}")
    return milliseconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on one process's monotonic clock. Another process gets the seconds that are left, never the moment."""

    at_s: float

    @classmethod
    def after(cls, milliseconds: int, *, now_s: float) -> "Deadline":
        return cls(now_s + milliseconds / 1000)

    def left_s(self, *, now_s: float) -> float:
        """Seconds left; 0 once it has passed."""
        return max(0.0, self.at_s - now_s)
