"""The same user but for one trait: gender, age, region or price class, swapped in all that is known of the user (Kusner et al. 2017; for
text Huang et al. 2020). Which words say a trait is a pack's data; the product and the codes are never touched.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from common.domain.context import Context
from common.packs.schema import Traits

PERSONA_CHARS = 80
NEUTRAL = "neutral"
"""Name of what is no trait: twins that differ in words that say nothing of a user."""
Values = Mapping[str, Sequence[str]]
"""Value of a trait -> words that say it of a user."""


def with_trait(context: Context, values: Values, value: str) -> Context:
    """The user said to have `value`: words of other values in persona and review become the word of `value` at the same place of its list
    (the last where it is shorter); where none stands in either, the persona begins with the plainest word."""
    own = values[value]
    other = {word: own[min(place, len(own) - 1)] for name, words in values.items() if name != value for place, word in enumerate(words)}
    pattern = re.compile("|".join(_whole(word) for word in sorted({*other, *own}, key=len, reverse=True)))

    def swap(text: str | None) -> tuple[str | None, bool]:
        if text is None:
            return None, False
        swapped, times = pattern.subn(lambda found: other.get(found.group(), found.group()), text)
        return swapped, times > 0

    persona, told = swap(context.persona)
    review, in_review = swap(context.behavior.last_review_content)
    if not told and not in_review:
        persona = said_first(own[0], context.persona)
    behavior = context.behavior.model_copy(update={"last_review_content": review})
    return context.model_copy(update={"persona": persona and persona[:PERSONA_CHARS], "behavior": behavior})


def said_first(word: str, persona: str | None) -> str:
    """A persona that begins with a word."""
    return word if persona is None else f"{word}{', ' if word.isascii() else '，'}{persona}"[:PERSONA_CHARS]


def names_of(traits: Traits) -> list[str]:
    """What twins may differ in."""
    return [*traits.traits, *([NEUTRAL] if traits.neutral else [])]


def twins(context: Context, traits: Traits, name: str, *, seed: int | str) -> tuple[Context, Context]:
    """The same user twice, differing in a trait alone: two of its values by chance, the one that stands first in the pack first.
    NEUTRAL: in a word that says nothing."""
    if name == NEUTRAL:
        one, other = (context.model_copy(update={"persona": said_first(word, context.persona)}) for word in traits.neutral)
        return one, other
    values = traits.traits[name]
    first, second = sorted(random.Random(f"{name}/{seed}").sample(list(values), 2), key=list(values).index)
    return with_trait(context, values, first), with_trait(context, values, second)


def every_value(contexts: Iterable[Context], traits: Traits) -> Iterator[Context]:
    """Each context said to have each value of each trait: all that `twins` may make of them, but for NEUTRAL."""
    for context in contexts:
        yield from (with_trait(context, values, value) for values in traits.traits.values() for value in values)


def _whole(word: str) -> str:
    """Letters of a script with spaces are a word only where it ends: man is not in woman."""
    start, end = (r"(?<![A-Za-z])" if word[0].isascii() else "", r"(?![A-Za-z])" if word[-1].isascii() else "")
    return f"{start}{re.escape(word)}{end}"
