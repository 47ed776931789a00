"""What the files of a pack may hold. Knows the shape and what must agree inside one file, not how a text is matched against it."""

import re
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.domain.channel import Channel
from common.domain.context import Dealing
from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.packs.knowledge import Knowledge
from common.packs.lexicon import Lexicon
from common.packs.parts import Name, Part, Word
from common.text.normalise import normalise

MentionKind = Literal["viewed", "clicked", "carted", "purchased", "reviewed"]


class MeasuredValue(Frozen):
    name: Name
    word: str = Field(min_length=1, max_length=12, description="how the prompt says it")
    cues: tuple[Word, ...] = Field((), description="words that give the value away; measured_by cues only")
    chars: tuple[int, int] | None = Field(None, description="fewest and most characters of a text; measured_by length only")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.chars and not 0 < self.chars[0] <= self.chars[1]:
            raise ValueError(f"chars: got {list(self.chars)}; expected [fewest, most] with 0 < fewest <= most")
        return self


class MeasuredControl(Frozen):
    name: Name
    word: str = Field(min_length=1, max_length=12)
    default: str | None = Field(None, description="value used when neither request nor user says anything; null leaves it free")
    measured_by: Literal["cues", "length"]
    values: tuple[MeasuredValue, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _measurable(self) -> Self:
        names = [value.name for value in self.values]
        if len(set(names)) != len(names):
            raise ValueError(f"values: got {', '.join(names)}; expected each name once")
        if self.default is not None and self.default not in names:
            raise ValueError(f"default: got {self.default!r}; expected null or one of {', '.join(names)}")
        for value in self.values:
            if self.measured_by == "length" and value.chars is None:
                raise ValueError(f"value {value.name}: measured_by is length, so chars: [fewest, most] is needed")
            if self.measured_by == "cues" and not value.cues:
                raise ValueError(f"value {value.name}: measured_by is cues, so at least one cue is needed")
        owner: dict[str, str] = {}
        for value in self.values:
            for cue in value.cues:
                if owner.setdefault(cue, value.name) != value.name:
                    raise ValueError(f"cue {cue!r} stands in {owner[cue]} and {value.name}; a cue gives one value away")
        return self


class TextForm(Frozen):
    """What every text of the pack must look like, whatever its codes."""

    min_chars: int = Field(8, ge=1, description="characters, punctuation included")
    max_chars: int = Field(220, ge=1)
    min_han_share: float = Field(
        0.5, ge=0, le=1, description="Chinese characters among letters and ideographs; 0 for a pack in another language"
    )
    end_marks: str = Field(
        "。！？…～!?~", description="what a finished text ends with, closing quotes and brackets aside; empty allows any end"
    )


class ControlPack(Part):
    controls: tuple[MeasuredControl, ...]
    form: TextForm = TextForm()

    @cached_property
    def vocabulary(self) -> ControlVocabulary:
        return ControlVocabulary(
            controls=tuple(
                Control(
                    name=control.name,
                    word=control.word,
                    default=control.default,
                    values=tuple(ControlValue(name=value.name, word=value.word) for value in control.values),
                )
                for control in self.controls
            )
        )

    @cached_property
    def least_chars(self) -> dict[tuple[str, str], int]:
        """(control, value) -> fewest characters of a text that shows it, of controls that are measured by length."""
        return {(c.name, value.name): value.chars[0] for c in self.controls for value in c.values if value.chars}

    def too_long(self, max_chars: int | None) -> frozenset[tuple[str, str]]:
        """(control, value) that no text of so many characters can show."""
        return frozenset(code for code, least in self.least_chars.items() if max_chars is not None and least > max_chars)


class ChannelPack(Part):
    """Where reasons are shown. Policy: it travels in no bundle, and a code that a bundle does not have is passed over."""

    channels: dict[Name, Channel] = Field(default_factory=dict)


class AttributeFacts(Frozen):
    key: Word
    kind: Literal["choice", "quantity"]
    values: tuple[Word, ...] = Field((), description="of a choice")
    unit: str | None = Field(None, description="of a quantity; a key of `units`")
    range: tuple[float, float] | None = Field(None, description="of a quantity: what occurs in this category, in the unit")

    @model_validator(mode="after")
    def _by_kind(self) -> Self:
        if self.kind == "choice" and (not self.values or self.unit or self.range):
            raise ValueError(f"{self.key}: a choice has values, and neither unit nor range")
        if self.kind == "quantity" and (self.values or not self.unit):
            raise ValueError(f"{self.key}: a quantity has a unit and no values")
        if self.range and self.range[0] > self.range[1]:
            raise ValueError(f"{self.key}: range: got {list(self.range)}; expected [lowest, highest]")
        return self


class CategoryFacts(Frozen):
    name: Word = Field(description="leaf category, a noun that stands in a sentence")
    parent: Word
    aliases: tuple[Word, ...] = ()
    attributes: tuple[AttributeFacts, ...] = ()


def _with_one(slot: str, phrase: str) -> str:
    if phrase.count(slot) != 1 or phrase == slot or re.search(r"[{}]", phrase.replace(slot, "")):
        raise ValueError(f"expected words around exactly one {slot}")
    return phrase


AmountPhrase = Annotated[str, AfterValidator(lambda phrase: _with_one("{n}", phrase))]
ThingPhrase = Annotated[str, AfterValidator(lambda phrase: _with_one("{thing}", phrase))]


class PricePhrase(Frozen):
    """True of a price p in the currency's unit when low * n + offset <= p <= high * n + offset."""

    phrase: AmountPhrase
    low: float = Field(ge=0)
    high: float = Field(ge=0)
    offset: float = 0.0


class RatingPhrase(Frozen):
    phrase: AmountPhrase
    kind: Literal["rating", "rating_count"]


class HistoryPhrase(Frozen):
    phrase: ThingPhrase
    mention: Dealing


class FactPack(Part):
    categories: tuple[CategoryFacts, ...]
    brands: tuple[Word, ...] = ()
    units: dict[str, tuple[Word, ...]] = Field(default_factory=dict, description="canonical unit -> how it is written, itself included")
    conversions: dict[str, dict[str, float]] = Field(default_factory=dict, description="unit -> other unit -> how many of those it is")
    price_phrases: tuple[PricePhrase, ...] = ()
    rating_phrases: tuple[RatingPhrase, ...] = ()
    history_phrases: tuple[HistoryPhrase, ...] = ()
    synonyms: dict[str, tuple[Word, ...]] = Field(default_factory=dict, description="value of a choice -> other words for it")

    def category(self, name: str) -> CategoryFacts | None:
        """By name or alias; None when the pack does not know it."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, CategoryFacts]:
        names = {alias: category for category in self.categories for alias in category.aliases}
        return names | {category.name: category for category in self.categories}


SLOTS = (
    "title",
    "category",
    "brand",
    "spec",
    "spec2",
    "spec3",
    "price",
    "rating",
    "rating_count",
    "viewed",
    "purchased",
    "carted",
    "reviewed",
)
"""What a template piece may ask for: of the product, and the thing that the user viewed, bought, put in the cart, reviewed."""


def _slots(text: str) -> str:
    unknown = set(re.findall(r"\{(.*?)\}", text)) - set(SLOTS)
    if unknown:
        raise ValueError(f"unknown slot {', '.join(sorted(unknown))}; there are {', '.join(SLOTS)}")
    return text


class Piece(Frozen):
    """A clause that is true of every product that can fill its slots. Which codes it serves is measured, not declared."""

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{2,47}$")
    text: Annotated[str, Field(min_length=2, max_length=120), AfterValidator(_slots)]
    scope: tuple[Word, ...] = Field(("all",), min_length=1, description="all, or parents of categories")
    follows: bool = Field(False, description="of a fact: only after one that names the product")

    @cached_property
    def slots(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(re.findall(r"\{(.*?)\}", self.text)))


class Templates(Part):
    """[history，][topic，]fact，…[，closing]。"""

    version: str
    history: tuple[Piece, ...] = ()
    topics: tuple[Piece, ...] = ()
    facts: tuple[Piece, ...] = Field(min_length=1)
    closings: tuple[Piece, ...] = ()
    last_resort: tuple[Piece, ...] = Field(min_length=1, description="whole sentences without slots: they hold for any product")

    @model_validator(mode="after")
    def _last_resort_needs_nothing(self) -> Self:
        for piece in self.last_resort:
            if piece.slots:
                raise ValueError(
                    f"last_resort {piece.id}: got slots {', '.join(piece.slots)}; expected none, for it must hold for any product"
                )
        return self


class Traits(Part):
    """What a reason should not hang on. Asked by training and reports, never by a verdict: no part of the pack's digest."""

    traits: dict[Name, dict[Name, tuple[Word, ...]]] = Field(
        default_factory=dict, description="trait -> value -> words that say it of a user, the plainest first"
    )
    neutral: tuple[Word, ...] = Field((), description="two words that say nothing of a user: what any word changes")

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if "neutral" in self.traits:
            raise ValueError("traits.neutral: is the name of what says nothing of a user; give the trait another")
        for trait, values in self.traits.items():
            if len(values) < 2 or not all(values.values()):
                raise ValueError(f"traits.{trait}: got {len(values)} values; expected two or more, each with a word")
            words = [word for own in values.values() for word in own]
            if twice := sorted({word for word in words if words.count(word) > 1}):
                raise ValueError(f"traits.{trait}: {twice[0]!r} stands under two values; which of them does it say?")
        if self.neutral and len(set(self.neutral)) != 2:
            raise ValueError(f"neutral: got {len(set(self.neutral))} words; expected two, or none")
        return self


class Pack(Frozen):
    """A business domain. Controls and facts travel in a bundle; lexicon, knowledge, templates and channels are policy: they change without
    one."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    controls: ControlPack
    facts: FactPack
    lexicon: Lexicon
    knowledge: Knowledge
    templates: Templates
    channels: ChannelPack = ChannelPack()
    traits: Traits = Traits()

    @property
    def vocabulary(self) -> ControlVocabulary:
        return self.controls.vocabulary

    @cached_property
    def digest(self) -> str:
        """sha256 over the parts that texts and verdicts hang on."""
        return sha256_bytes(canonical_json([self.controls.digest, self.facts.digest, self.policy_version]))

    @cached_property
    def policy_version(self) -> str:
        """Twelve hex digits over lexicon, knowledge, templates and, where there are any, channels; stands in every verdict."""
        digests = [self.lexicon.digest, self.knowledge.digest, self.templates.digest]
        digests += [self.channels.digest] if self.channels.channels else []
        return sha256_bytes(canonical_json(digests))[:12]

    def parents(self, category: str) -> tuple[str, ...]:
        """What a category belongs to: as the facts say, else every parent of which the taxonomy finds a name in it, else none.

        鱼油软胶囊 is 鱼油, and 零食大礼包 may be food as well as a bag: the law of all of them applies. A name inside a longer one does not
        count (the 咖啡 of 咖啡杯).
        """
        known = self.facts.category(category)
        if known is not None:
            return (known.parent,)
        parents, leaves = self.knowledge.leaves
        return tuple(sorted({parents[leaf] for leaf in leaves.findall(normalise(category)) if leaf}))
