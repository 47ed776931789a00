"""Claims about the user's past (看过的耳机): the verb must have happened, and to that thing. The phrases are a pack's data."""

import re
from dataclasses import dataclass

from common.packs.schema import FactPack
from common.quality.claims.known import Known, KnownMention, folded
from common.quality.claims.sight import Sight
from common.text.phrases import PhraseSet

_NO_HISTORY = re.compile(r"(好|耐|难|中|爱|想|要|该|得|以|没|未|不|能|会|都|人|常|来)$")
"""好看的, 值得买的, 没看过的 speak of no event."""

_OTHERS = re.compile(r"(的)?(人|朋友|顾客|客人|买家|用户|都|同学|姐妹|家庭|妈妈们)")
"""买过的人都说好 speaks of others."""

_GENERIC = re.compile(r"(那|这|同)?(款|件|个|双|台|只|支|本|套|盒|把|条|些|类|样|品牌|系列|商品|宝贝|东西|好物|单品)")
_ITSELF = ("这", "同")
_YOU = re.compile(r"[你您]|上次|上回|之前|刚刚|刚才|前几天|此前")
_ANY = re.compile(
    r"(?:[你您]|上次|上回|前几天)(?:上次|上回|之前|刚刚?|曾经?|前几天|最近|此前)?(?:就)?(看过|看的|浏览|买过|买的|买了|入手|加购|收藏|评价过|点评过|点开过|下单|回购)"
)
_DEALT_WITH = re.compile(r"(?<![超经通透路错不难])过评?价?的?")
"""Any other verb in the past (留意过的耳机, 用过的台灯): it counts only where a thing that the pack can name follows."""
_MIN_TITLE_CHARS = 2


@dataclass(frozen=True, slots=True)
class _Phrase:
    before: str
    after: str
    mention: str


class History:
    def __init__(self, facts: FactPack) -> None:
        parts = [
            (folded(p.phrase.partition("{thing}")[0]), folded(p.phrase.partition("{thing}")[2]), p.mention) for p in facts.history_phrases
        ]
        self._phrases = [_Phrase(*part) for part in sorted(parts, key=lambda part: -len(part[0]))]
        self._starts = PhraseSet(phrase.before for phrase in self._phrases)
        self._names = PhraseSet(folded(name) for category in facts.categories for name in (category.name, *category.aliases))
        self._brands = PhraseSet(folded(brand) for brand in facts.brands)

    def find(self, sight: Sight, known: Known) -> None:
        for found in self._starts.find(sight.text):
            if not sight.free(found.start, found.end) or _NO_HISTORY.search(sight.text, 0, found.start):
                continue
            mentions = {phrase.mention for phrase in self._phrases if phrase.before == found.phrase}
            self._read(sight, known, found.start, found.end, sorted(mentions))
        for match in _DEALT_WITH.finditer(sight.text):
            start, end = max(match.start() - 1, 0), match.end()
            named = self._brands.at(sight.text, end) or self._names.at(sight.text, end)
            if named and sight.free(start, end) and not _NO_HISTORY.search(sight.text, 0, start):
                self._read(sight, known, start, end, sorted(known.mentions))
        for match in _ANY.finditer(sight.text):
            if sight.free(*match.span()) and not known.mentions and not known.num_events:
                sight.claim("history", *match.span(), source=None, reason="nothing is known of this user's past")

    def _read(self, sight: Sight, known: Known, start: int, position: int, kinds: list[str]) -> None:
        text = sight.text
        if text.startswith("的", position):
            position += 1
        if _OTHERS.match(text, position):
            return
        mentions = [(kind, known.mentions[kind]) for kind in kinds if kind in known.mentions]
        end, named = position, False
        for kind, mention in mentions:
            length = self._named(text, position, mention)
            if length:
                sight.claim("history", start, position + length, source=f"user.last_{kind}")
                return
        brand = self._brands.at(text, position)
        name = self._names.at(text, position + len(brand or ""))
        if brand or name:
            end, named = position + len(brand or "") + len(name or ""), True
        elif generic := _GENERIC.match(text, position):
            fitting = next((kind for kind, mention in mentions if self._meant(text, generic, mention, known)), None)
            if fitting:
                sight.claim("history", start, generic.end(), source=f"user.last_{fitting}")
                return
            end, named = generic.end(), True
        if named or _YOU.search(sight.clause_before(start)):
            verb = "/".join(kinds) or "dealt with"
            what = "; ".join(f"{kind}: {mention.title}" for kind, mention in mentions) or f"nothing the user has {verb} is known"
            sight.claim("history", start, end, source=None, reason=what)

    def _meant(self, text: str, generic: re.Match[str], mention: KnownMention, known: Known) -> bool:
        """这款 and 同款 are the product itself; a kind of goods that follows (那款耳机) is the mention's."""
        if generic[1] in _ITSELF and mention.product_id != known.product_id:
            return False
        kind = self._names.at(text, generic.end())
        return kind is None or kind in mention.names or kind in mention.title

    def _named(self, text: str, position: int, mention: KnownMention) -> int:
        """How many characters from `position` name the mention; 0 when they name something else."""
        start = position
        if mention.brand and text.startswith(mention.brand, position):
            position += len(mention.brand)
            rest = self._names.at(text, position)
            own = max((name for name in mention.names if text.startswith(name, position)), key=len, default="")
            if own or rest is None:
                return position + len(own) - start
            if rest not in mention.title:
                return 0
            return position + len(rest) - start
        own = max((name for name in mention.names if text.startswith(name, position)), key=len, default="")
        piece = _common_piece(text, position, mention.title)
        other = self._names.at(text, position)
        brand = self._brands.at(text, position)
        if brand is not None and brand not in mention.title:
            return 0
        if other is not None and other not in mention.names and other not in mention.title:
            return 0
        return max(len(own), piece)


def _common_piece(text: str, position: int, title: str) -> int:
    """Length of the longest run from `position` that stands in the title, if long enough to name anything."""
    length = 0
    while position + length < len(text) and text[position : position + length + 1] in title:
        length += 1
    return length if length >= _MIN_TITLE_CHARS else 0
