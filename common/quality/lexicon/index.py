"""Which patterns of which rules may hit a text: those of which it holds an anchor, by sound.

Looks at each place of the text, whatever the number of rules.
"""

from collections.abc import Mapping, Sequence
from operator import add

from common.packs.lexicon import LexiconRule
from common.text.patterns import anchors
from common.text.pinyin import heard

Place = tuple[int, int]
"""Numbers of a rule and of one of its patterns."""
LENGTH = 3
"""Characters of the longest anchor that is kept: three sounds in a row are rare enough."""


class Index:
    def __init__(self, rules: Sequence[LexiconRule]) -> None:
        found: dict[str, set[Place]] = {}
        always = set()
        for number, rule in enumerate(rules):
            for which, pattern in enumerate(rule.patterns):
                words = anchors(pattern, length=LENGTH)
                if words is None:
                    always.add((number, which))
                for word in words or ():
                    found.setdefault(heard(word), set()).add((number, which))
        self._found = {word: frozenset(places) for word, places in found.items()}
        self._always = frozenset(always)

    def rules(self, text: str) -> Mapping[int, list[int]]:
        """Rule -> its patterns, in their order."""
        sounds = heard(text)
        stretches, held = list(sounds), set(sounds)
        for further in range(1, LENGTH):  # of one more character each
            stretches = list(map(add, stretches, sounds[further:]))
            held.update(stretches)
        places = self._always.union(*(self._found[word] for word in self._found.keys() & held))
        grouped: dict[int, list[int]] = {}
        for number, which in sorted(places):
            grouped.setdefault(number, []).append(which)
        return grouped
