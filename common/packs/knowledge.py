"""knowledge.yaml: what is true of goods whatever the catalogue says, and how Chinese texts state it.

Policy: it travels in no bundle and applies to all of them at once.
"""

import re
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from common.config import Frozen
from common.domain.context import Dealing
from common.packs.parts import Part, Word

RuleId = Field(pattern=r"^[a-z][a-z0-9-]{2,47}$")


class Breach(Frozen):
    """Goods, and a sentence about them that a rule refuses: the example that its test runs."""

    category: Word = "商品"
    title: Word = "一件商品"
    attributes: dict[Word, Word] = Field(default_factory=dict)
    text: Word


class Contradiction(Frozen):
    """A product that is `known` to be one thing is not another, whatever its other attributes say."""

    id: str = RuleId
    known: tuple[Word, ...] = Field(min_length=1, description="words in the product's attribute values or title")
    refuted: tuple[Word, ...] = Field(min_length=1, description="words that a text may then not say")
    unless: tuple[Word, ...] = Field((), description="longer words around a refuted one that are no claim (无线充)")
    why: str = Field(min_length=2)
    breaks: Breach | None = None


class Implication(Frozen):
    """What is `known` to be one thing is another too: a text may say so, and may not deny it."""

    id: str = RuleId
    known: tuple[Word, ...] = Field(min_length=1)
    implied: tuple[Word, ...] = Field(min_length=1)
    why: str = Field(min_length=2)
    breaks: Breach | None = None


class RequiredWarning(Frozen):
    """A sentence that the law wants beside any claim about such goods."""

    id: str = RuleId
    scope: tuple[Word, ...] = Field(min_length=1, description="parents of categories")
    text: Word = Field(description="what must stand in the text")
    basis: str = Field(min_length=4)
    breaks: Breach | None = None


class CheckableWords(Frozen):
    """Words of one kind that state something of a product wherever they stand: a text may say those that its facts hold or imply."""

    id: str = RuleId
    words: tuple[Word, ...] = Field(min_length=1)
    unless: tuple[Word, ...] = Field((), description="longer words around one that are no claim")
    exclusive: bool = Field(False, description="goods with one of these words in a fact do not have the others: 不是塑料 is true of glass")
    breaks: Breach | None = None


class Manner(Frozen):
    """Words that say how exact an amount n is meant: true of what lies from low * n to high * n."""

    before: tuple[Word, ...] = ()
    after: tuple[Word, ...] = ()
    low: float = Field(ge=0)
    high: float = Field(ge=0)
    open: bool = Field(False, description="n itself is left out (不到, 超过)")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high or not (self.before or self.after):
            raise ValueError(f"got low {self.low}, high {self.high}; expected low <= high, and a word before or after the amount")
        return self


class Comparative(Frozen):
    words: tuple[Word, ...] = Field(min_length=1)
    sign: Literal[-1, 1] = Field(description="1: more of it")
    scales: tuple[Word, ...] = Field(description="what is compared: keys of scales")


class PastVerb(Frozen):
    words: tuple[Word, ...] = Field(min_length=1)
    dealings: tuple[Dealing, ...] = Field((), description="any of them makes it true; none: no log tells of it")


class PastTime(Frozen):
    words: tuple[Word, ...] = Field(min_length=1)
    days: tuple[int, int] | None = Field(None, description="fewest and most days before the one on which it is said; null: any past")


class Speech(Frozen):
    """How amounts, times and dealings are said. Adds to what a pack's facts say, and never replaces it."""

    units: dict[str, tuple[Word, ...]] = Field(default_factory=dict, description="canonical unit -> how it is written")
    scales: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="what is measured -> unit -> how much of the smallest it is"
    )
    conversion: float = Field(0.0, ge=0, le=0.2, description="share by which an amount may be off in another unit than its fact's")
    soft: tuple[Word, ...] = Field((), description="units of daily talk: a few of them in Chinese numerals are no claim (五分钟上手)")
    measured: tuple[Word, ...] = Field((), description="what makes a few of a soft unit a claim (保修两年)")
    manners: tuple[Manner, ...] = ()
    prices: tuple[Word, ...] = Field((), description="words before a bare number that is a price (只要)")
    counters: tuple[Word, ...] = Field((), description="measure words of parts of a product: a number of them is a claim (六层)")
    comparatives: tuple[Comparative, ...] = ()
    rhetorical: tuple[Word, ...] = Field((), description="what may be compared with freely (想象)")
    comparands: tuple[Word, ...] = Field((), description="what is compared with whatever word stands before it (上一代)")
    verbs: tuple[PastVerb, ...] = ()
    times: tuple[PastTime, ...] = ()
    festivals: dict[str, tuple[tuple[int, int], tuple[int, int]]] = Field(
        default_factory=dict, description="first and last (month, day), where they are the same each year"
    )
    absent: tuple[Word, ...] = Field((), description="what goods are said to be free of: 无糖, 零添加")
    latin: tuple[Word, ...] = Field((), description="Latin words that state nothing (ok, app)")


class Knowledge(Part):
    version: str
    taxonomy: dict[str, tuple[Word, ...]] = Field(description="parent -> leaf categories, those outside facts.yaml included")
    contradictions: tuple[Contradiction, ...] = ()
    implications: tuple[Implication, ...] = ()
    warnings: tuple[RequiredWarning, ...] = ()
    checkable: tuple[CheckableWords, ...] = ()
    open_keys: tuple[Word, ...] = Field((), description="attributes of which a product may have more values than are listed (成分)")
    brands: dict[str, tuple[Word, ...]] = Field(default_factory=dict, description="brand -> its other writings, Latin or Chinese")
    speech: Speech = Speech()

    @cached_property
    def leaves(self) -> tuple[dict[str, str], re.Pattern[str]]:
        """Leaf -> its parent, and what finds leaves in the name of a category, the longest first."""
        parents = {leaf: parent for parent, leaves in self.taxonomy.items() for leaf in leaves}
        return parents, re.compile("|".join(re.escape(leaf) for leaf in sorted(parents, key=len, reverse=True)))
