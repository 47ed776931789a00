"""A text as the claim finders see it: folded, with the places that a claim already took. Spans of claims are those of the text as shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.domain.reason import Claim, ClaimKind, Span
from common.quality.claims.known import KnownDealing, Rest
from common.text.normalise import fold


@dataclass(slots=True)
class Sight:
    """Mutable while one text is read: each finder takes what it recognised, so that no later one reads it as something else."""

    shown: str
    rests: Mapping[str, Rest]
    """Source -> what a claim that names it rests on."""
    text: str = ""
    origin: tuple[int, ...] = ()
    taken: list[Span] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    dealings: dict[Span, KnownDealing] = field(default_factory=dict)
    """Where something of the user's past is named, truly."""

    def __post_init__(self) -> None:
        self.text, self.origin = fold(self.shown)

    def free(self, start: int, end: int) -> bool:
        return all(end <= left or right <= start for left, right in self.taken)

    def take(self, start: int, end: int) -> None:
        self.taken.append((start, end))

    def claim(self, kind: ClaimKind, start: int, end: int, *, source: str | None, reason: str | None = None) -> None:
        """Record a claim over folded [start, end); it is supported when `reason` is None, and then rests on a fact that the context has."""
        self.take(start, end)
        span = (self.origin[start], self.origin[end - 1] + 1)
        rest = self.rests.get(source) if source else None
        if reason is None and rest is None:
            reason = "it rests on no fact that is known"
        self.claims.append(
            Claim(
                kind=kind,
                text=self.shown[span[0] : span[1]],
                span=span,
                supported=reason is None,
                source=source,
                value=rest.value if rest and reason is None else None,
                product_id=rest.product_id if rest and reason is None else None,
                reason=reason,
            )
        )

    def clause_before(self, start: int) -> str:
        """What stands between the last punctuation mark and `start`."""
        left = max(self.text.rfind(mark, 0, start) for mark in "，。！？；：,!?;:、 \n")
        return self.text[left + 1 : start]
