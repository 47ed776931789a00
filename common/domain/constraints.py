"""What a caller asks of one text beside its codes: words that stand in it, words that do not, its length. Knows no pack and no product."""

from collections.abc import Iterator

from pydantic import Field

from common.config import Frozen
from common.text.normalise import squeezed


class Constraints(Frozen):
    """Words are compared as `squeezed` has them."""

    must_mention: tuple[str, ...] = ()
    must_avoid: tuple[str, ...] = ()
    max_chars: int | None = Field(None, description="punctuation included")

    def contradictions(self) -> Iterator[tuple[str, int, str]]:
        """Field, place in it, and why no text can be so."""
        avoided = [(word, squeezed(word)) for word in self.must_avoid]
        for at, word in enumerate(self.must_mention):
            folded = squeezed(word)
            if self.max_chars is not None and len(folded) > self.max_chars:
                yield "must_mention", at, f"“{word}” has {len(folded)} characters, and max_chars leaves {self.max_chars}"
            for other, bad in avoided:
                if bad in folded:
                    yield "must_mention", at, f"“{word}” holds “{other}” of must_avoid"
