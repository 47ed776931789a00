"""What one page shows so far, and what it must not: a text too much like another, or one that somebody took down. Knows no Ray."""

from collections.abc import Callable
from dataclasses import dataclass

from common.contract.takedown import Standing
from common.domain.context import Context
from common.generation.acceptance import Bar
from common.quality.variety import Shown


@dataclass(frozen=True, slots=True)
class Showing:
    standing: Callable[[], Standing]
    """the orders as they stand when they are asked for: one may come while the page is written"""
    content_of: Callable[[Context, str], str]
    """content number of a text that a model wrote for a context"""
    shown: Shown | None
    """None: two reasons of the page may read alike"""

    def bars(self, context: Context, text: str) -> Bar | None:
        standing = self.standing()
        if standing.of_text(text) is not None:
            return "taken_down"
        if standing.has("content") and standing.of_content(self.content_of(context, text)) is not None:
            return "taken_down"
        return "too_alike" if self.shown is not None and self.shown.has_like(text) else None

    def add(self, text: str) -> None:
        if self.shown is not None:
            self.shown.add(text)
