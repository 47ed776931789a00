"""What lexicon.yaml may hold: rules with their legal basis, contexts in which a match is harmless, and how words are disguised."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from common.config import Frozen
from common.packs.parts import Name, Part, Regex, Word
from common.text.patterns import longest, ways
from common.text.pinyin import sound

LONGEST_MATCH = 80
"""Characters. With it, the work on a text grows as the text does, whatever the text."""
MOST_WAYS = 100_000
"""Of matching from one place. The shipped lexicon's most are 41,000; one with millions would hold up every page that is judged with it."""
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{2,47}$")]
Level = Literal["block", "review"]


def _bounded(pattern: str) -> str:
    if longest(pattern) > LONGEST_MATCH:
        raise ValueError(f"may match more than {LONGEST_MATCH} characters; write {{1,20}} instead of + and {{0,20}} instead of *")
    if (found := ways(pattern)) > MOST_WAYS:
        raise ValueError(
            f"may match in {found:,} ways from one place; expected at most {MOST_WAYS:,}: repeat nothing that is repeated inside"
        )
    return pattern


BoundedRegex = Annotated[Regex, AfterValidator(_bounded)]


def _heard(character: str) -> str:
    if sound(character) is None:
        raise ValueError(f"got {character!r}; expected one Chinese character")
    return character


Character = Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_heard)]


class Context(Frozen):
    """A place in which a match is harmless: what stands right before it, right after it, or both."""

    id: Name
    before: BoundedRegex | None = None
    after: BoundedRegex | None = None
    why: str = Field(min_length=2)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.before is None and self.after is None:
            raise ValueError(f"{self.id}: expected before, after, or both")
        return self


class LexiconRule(Frozen):
    id: Id
    level: Level = Field(description="block: never; review: not before a person has agreed")
    scope: tuple[Word, ...] = Field(("all",), min_length=1, description="all, or parents of categories (食品)")
    exempt: tuple[Word, ...] = Field((), description="parents whose goods the rule leaves alone (药品, of words that only drugs may use)")
    basis: str = Field(min_length=4, description="law and article")
    why: str = Field(min_length=2, description="for the person who reads the finding")
    patterns: tuple[BoundedRegex, ...] = Field(min_length=1)
    allow: tuple[BoundedRegex, ...] = Field((), description="longer words around a match that make it harmless")
    contexts: tuple[Name, ...] = Field((), description="ids of the lexicon's contexts in which a match is harmless")
    refused: tuple[str, ...] = Field(min_length=1, description="examples that the rule must catch")
    allowed: tuple[str, ...] = Field((), description="examples that no rule may catch")


class Disguises(Frozen):
    """How a word is hidden from a list and still read by a person. Spelling in letters needs no list: every character's sound is known."""

    symbols: dict[str, str] = Field(default_factory=dict, description="sign -> what it is read as (➕: +)")
    lookalikes: dict[Character, str] = Field(
        default_factory=dict,
        description="character -> everyday characters that are put in its place; they count only beside one that stands as written",
    )
    splits: dict[Character, tuple[Word, ...]] = Field(default_factory=dict, description="character -> the parts it is taken apart into")

    @model_validator(mode="after")
    def _read_one_way(self) -> Self:
        owner: dict[str, str] = {}
        for field, pairs in (("lookalikes", self.lookalikes), ("splits", self.splits)):
            for character, others in pairs.items():
                for other in others:
                    if owner.setdefault(other, character) != character:
                        raise ValueError(f"{field}: {other!r} stands for {owner[other]} and {character}; expected one of them")
        return self


class Lexicon(Part):
    version: str
    contexts: tuple[Context, ...] = ()
    disguises: Disguises = Disguises()
    rules: tuple[LexiconRule, ...]

    @model_validator(mode="after")
    def _contexts_exist(self) -> Self:
        known = {context.id for context in self.contexts}
        if len(known) < len(self.contexts):
            raise ValueError("contexts: an id stands twice; expected an id of its own for each")
        for rule in self.rules:
            if unknown := sorted(set(rule.contexts) - known):
                raise ValueError(f"{rule.id}: contexts: got {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
        return self
