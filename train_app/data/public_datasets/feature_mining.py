"""Which nouns reviewers talk about, by counting: for FMR and FCR, and for choosing the sentence of a review that says something."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
BEFORE_NOUN = frozenset(WORD.findall("the a an this that these those my your its his their our great good nice excellent better best of"))
NO_FEATURE = frozenset(
    WORD.findall(
        "the a an this that these those i it you he she they we me my your its his their our one ones thing things something "
        "anything lot lots bit way time times day days week weeks month months year years first second last next same other "
        "only most best better great good nice couple few kind sort part rest use job deal review reviews product item amazon "
        "people guy guys person hand hands problem problems issue reason fact point course end side all so very too more much "
        "many any some new old little big small long short own right left top bottom back front set case is are was were be "
        "been have has had do does did can could will would and or but if for with from money world stars star music place "
        "purchase buy cheap high low clean bad extra full real inexpensive sounding decent large soft quick smaller larger "
        "higher lower regular classic included original professional basic wide whole must needs helps acoustic electric stuff "
        "past les favorite single idea opinion choice amount difference name experience"
    )
)


def mine_features(texts: Iterable[str], *, fewest: int, most: int, noun_share: float = 0.3) -> list[str]:
    """The `most` frequent words of `fewest` texts or more that follow an article, possessive or praise in `noun_share` of their uses."""
    uses: Counter[str] = Counter()
    as_noun: Counter[str] = Counter()
    in_texts: Counter[str] = Counter()
    for text in texts:
        words = WORD.findall(text.lower())
        uses.update(words)
        as_noun.update(word for before, word in pairwise(words) if before in BEFORE_NOUN)
        in_texts.update(set(words))
    nouns = [
        word
        for word, number in in_texts.items()
        if number >= fewest and len(word) > 2 and word not in NO_FEATURE and as_noun[word] >= noun_share * uses[word]
    ]
    return sorted(nouns, key=lambda word: (-in_texts[word], word))[:most]


def features_in(text: str, features: Iterable[str]) -> list[str]:
    """Those that occur as words, in the order of `features`."""
    words = set(WORD.findall(text.lower()))
    return [feature for feature in features if feature in words]


def feature_sentence(text: str, features: Sequence[str], *, chars: tuple[int, int]) -> tuple[str, str] | None:
    """The first sentence of a fitting length that names a feature, and the most frequent feature in it."""
    for match in SENTENCE.finditer(text):
        sentence = match.group().strip()
        if chars[0] <= len(sentence) <= chars[1] and (named := features_in(sentence, features)):
            return sentence, named[0]
    return None
