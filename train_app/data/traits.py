"""The same user but for one trait: gender, age, region or price class, swapped in all that is known of the user (Kusner et al. 2017; for
text Huang et al. 2020). Which words say a trait is data; the product and the codes are never touched.
"""

import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import RootModel, model_validator

from common.config import parse, read_yaml
from common.domain.context import Context

PERSONA_CHARS = 80


class Traits(RootModel[dict[str, dict[str, tuple[str, ...]]]]):
    """Trait -> value -> words."""

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        for trait, values in self.root.items():
            if len(values) < 2 or not all(values.values()):
                raise ValueError(f"{trait}: got {len(values)} values; expected two or more, each with a word")
            words = [word for own in values.values() for word in own]
            if twice := sorted({word for word in words if words.count(word) > 1}):
                raise ValueError(f"{trait}: {twice[0]!r} stands under two values; which of them does it say?")
        return self


@cache
def known_traits(path: str | None = None) -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Of a file, the shop's where none is named. Raises ConfigError."""
    source = path or str(Path(__file__).with_name("traits.yaml"))
    return parse(read_yaml(source), Traits, source=source).root


def with_trait(context: Context, values: Mapping[str, Sequence[str]], value: str) -> Context:
    """The user said to have `value`: words of other values in persona and review become the word of `value` at the same place of its list
    (the last where it is shorter); where none stands in either, the persona begins with the plainest word."""
    own = values[value]
    other = {word: own[min(place, len(own) - 1)] for name, words in values.items() if name != value for place, word in enumerate(words)}
    pattern = re.compile("|".join(map(re.escape, sorted({*other, *own}, key=len, reverse=True))))

    def swap(text: str | None) -> tuple[str | None, bool]:
        if text is None:
            return None, False
        swapped, times = pattern.subn(lambda found: other.get(found.group(), found.group()), text)
        return swapped, times > 0

    persona, told = swap(context.persona)
    review, in_review = swap(context.behavior.last_review_content)
    if not told and not in_review:
        persona = own[0] if context.persona is None else f"{own[0]}，{context.persona}"
    behavior = context.behavior.model_copy(update={"last_review_content": review})
    return context.model_copy(update={"persona": persona and persona[:PERSONA_CHARS], "behavior": behavior})


def counterfactuals(context: Context, trait: str, *, seed: int | str, traits: str | None = None) -> tuple[Context, Context]:
    """Twins that differ in `trait` alone: two of its values by chance, the one that stands first in the file first."""
    values = known_traits(traits)[trait]
    first, second = sorted(random.Random(f"{trait}/{seed}").sample(list(values), 2), key=list(values).index)
    return with_trait(context, values, first), with_trait(context, values, second)
