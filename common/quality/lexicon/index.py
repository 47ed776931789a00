"""Which rules may hit a text: those of whose patterns it holds an anchor, by sound.

Looks at each place of the text, whatever the number of rules.
"""

from collections.abc import Sequence
from operator import add

from common.packs.lexicon import LexiconRule
from common.text.patterns import anchors
from common.text.pinyin import heard

LENGTH = 3
"""Characters of the longest anchor that is kept: three sounds in a row are rare enough."""


class Index:
    def __init__(self, rules: Sequence[LexiconRule]) -> None:
        found: dict[str, set[int]] = {}
        always = set()
        for number, rule in enumerate(rules):
            for pattern in rule.patterns:
                words = anchors(pattern, length=LENGTH)
                if words is None:
                    always.add(number)
                for word in words or ():
                    found.setdefault(heard(word), set()).add(number)
        self._found = {word: frozenset(numbers) for word, numbers in found.items()}
        self._always = frozenset(always)

    def rules(self, text: str) -> frozenset[int]:
        """Their numbers."""
        sounds = heard(text)
        stretches, held = list(sounds), set(sounds)
        for further in range(1, LENGTH):  # of one more character each
            stretches = list(map(add, stretches, sounds[further:]))
            held.update(stretches)
        return self._always.union(*(self._found[word] for word in self._found.keys() & held))
