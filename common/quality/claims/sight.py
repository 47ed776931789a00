"""A text as the claim finders see it: folded, with the places that a claim already took. Spans of claims are those of the text as shown."""

from dataclasses import dataclass, field

from common.domain.reason import Claim, ClaimKind, Span
from common.text.normalise import fold


@dataclass(slots=True)
class Sight:
    """Mutable while one text is read: each finder takes what it recognised, so that no later one reads it as something else."""

    shown: str
    text: str = ""
    origin: tuple[int, ...] = ()
    taken: list[Span] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text, self.origin = fold(self.shown)

    def free(self, start: int, end: int) -> bool:
        return all(end <= left or right <= start for left, right in self.taken)

    def take(self, start: int, end: int) -> None:
        self.taken.append((start, end))

    def claim(self, kind: ClaimKind, start: int, end: int, *, source: str | None, reason: str | None = None) -> None:
        """Record a claim over folded [start, end); it is supported when `reason` is None."""
        self.take(start, end)
        span = (self.origin[start], self.origin[end - 1] + 1)
        shown = self.shown[span[0] : span[1]]
        self.claims.append(Claim(kind=kind, text=shown, span=span, supported=reason is None, source=source, reason=reason))

    def clause_before(self, start: int) -> str:
        """What stands between the last punctuation mark and `start`."""
        left = max(self.text.rfind(mark, 0, start) for mark in "，。！？；：,!?;:、 \n")
        return self.text[left + 1 : start]
