"""Claims about the user's past (上周看过的耳机, 买过两次): it must have happened, then, so often, and to that thing.

The phrases are a pack's data.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from common.packs.knowledge import Speech
from common.packs.schema import FactPack
from common.quality.claims.dates import Dates, When
from common.quality.claims.known import Known, KnownDealing, KnownMention, folded
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS
from common.text.numerals import parse_number
from common.text.phrases import PhraseSet

_NO_HISTORY = re.compile(r"(好|耐|难|中|爱|想|要|该|得|可以|不|能|会|人|来|值|先|再|去|好好|点|大家|他们|她们|朋友|很多人|不少人)$")
"""好看的, 值得买的 speak of no event."""
_NEVER = re.compile(r"(?:从来?|还|一直|都|尚|并|也)*(?:没|未|没有|未曾|不曾|没能)(?:再|怎么|真正|来得及|正式)?$")
_OTHERS = re.compile(r"(?:的)?(?:人|朋友|顾客|客人|买家|用户|都|同学|姐妹|家庭|妈妈们|网友|小伙伴|家长)")
"""买过的人都说好 speaks of others."""
_GENERIC = re.compile(
    r"(那|这|同)?一?(?:款|件|个|双|台|只|支|本|套|盒|把|条|些|类|样|瓶|罐|袋|包|部|辆|盏|品牌|系列|商品|宝贝|东西|好物|单品)"
)
_DESCRIBED = re.compile(
    r"(?:(?:那|另|这)一?(?:[款件个双台只支本套盒把条瓶罐袋包部辆盏])?)?[^，。！？；：、,!?;]{1,10}?(?P<what>那[款件个双台只支本套盒把条瓶罐袋包部辆盏])?(?=$|[，。！？；：、,!?;的和比是同就还也轻重大小])"
)
_LIGHT = re.compile(r"[那这另同]一?[款件个双台只支本套盒把条瓶罐袋包部辆盏]|的|另外?|其他|别的|同类|同品牌")
_ITSELF = ("这", "同")
_THIS_BEFORE = re.compile(r"(?:它|这(?:款|件|个|双|台|只|支|本|套|盒|把|条|瓶|罐|袋|包|部|辆|盏)?|同款)")
_BARE = re.compile(r"$|[，。！？；、,!?;却但还也就又]")
"""Behind a verb that names nothing."""
YOU = re.compile(r"[你您]|上次|上回|之前|刚刚|刚才|前几天|此前")
_DEALT_WITH = re.compile(r"(?<![超经通透路错不难])过评?价?的?")
"""Any other verb in the past (留意过的耳机, 用过的台灯): it counts only where a thing that the pack can name follows."""
TIMES = re.compile(
    rf"(?:了|过|有|足足|整整|已经|已|不下|至少)*(?P<n>\d+|[{NUMERALS}]+|好几|几|多|无数|不止一)(?:多)?(?P<what>次|回|遍|趟|眼(?!看))"
)
ORDINAL = re.compile(rf"第(?P<n>\d+|[{NUMERALS}]+)(?:次|回|趟|遍)(?:来|了)?$")
_OFTEN = re.compile(r"(?:常常?|经常|时常|反复|多次|屡次|一再|总是?|一直|频频|平时|没少|好几次|数次|每次|隔三差五)(?:都|在|会|爱)?$")
FIRST = re.compile(r"(?:第一次|首次|头一回|头一次|初次)(?:看到|看|见|买|购买|下单|入手|遇见|认识|了解|接触|逛到|浏览)")
_OWNED = re.compile(
    r"[您你](?:现在|目前|正|一直|平时)*(?:家里?|手上|手里|手头|身边|在用|用着|穿着|戴着|用|穿|戴|喝|背)的?(?=那|旧|老(?!人|少|公|婆|师|板))(?:旧|老)?"
)
_OWN = re.compile(r"购物车|收藏夹|浏览记录|浏览历史|心愿单|愿望单")
_JOINS = re.compile(r"^(?:和|跟|与|同|配|比|继|除了|像|如同|相比|搭|对比)?$")
"""看过的X, said to a customer, is of the customer."""
_MORE = re.compile(r"[更还要都大小轻重多少长短高低贵厚薄宽久]|便宜")
_MIN_TITLE_CHARS = 2


@dataclass(frozen=True, slots=True)
class _Told:
    """What a clause says of a dealing beside verb and thing."""

    start: int
    end: int
    whens: tuple[When, ...]
    fits_times: Callable[[int | None], bool] | None


class History:
    def __init__(self, facts: FactPack, *, speech: Speech, dates: Dates) -> None:
        kinds: dict[str, set[str]] = {}
        for phrase in facts.history_phrases:
            kinds.setdefault(folded(phrase.phrase.partition("{thing}")[0]), set()).add(phrase.mention)
        self._own = frozenset(kinds)
        for verb in speech.verbs:
            for word in verb.words:
                kinds.setdefault(folded(word), set()).update(verb.dealings)
        self._kinds = {word: frozenset(found) | ({"clicked"} if "viewed" in found else set()) for word, found in kinds.items()}
        self._starts = PhraseSet(kinds)
        self._names = PhraseSet(folded(name) for category in facts.categories for name in (category.name, *category.aliases))
        self._brands = PhraseSet(folded(brand) for brand in facts.brands)
        self._dates = dates

    def find(self, sight: Sight, known: Known) -> None:
        text = sight.text
        for found in self._starts.find(text):
            if not sight.free(found.start, found.end) or _NO_HISTORY.search(text, 0, found.start):
                continue
            self._read(sight, known, found.start, found.end, self._kinds[found.phrase], own=found.phrase in self._own)
        for match in FIRST.finditer(text):
            if sight.free(*match.span()) and any(one.mention.product_id == known.product_id for one in known.past):
                sight.claim("history", *match.span(), source=None, reason="the user has dealt with it before")
        for match in _OWNED.finditer(text):
            if sight.free(*match.span()):
                self._read(sight, known, match.start() + 1, match.end(), frozenset(["purchased"]), own=True)
        for match in _DEALT_WITH.finditer(text):
            start, end = max(match.start() - 1, 0), match.end()
            named = self._brands.at(text, end) or self._names.at(text, end) or any(text.startswith(noun, end) for noun in known.nouns)
            if named and sight.free(start, end) and not _NO_HISTORY.search(text, 0, start):
                self._read(sight, known, start, end, frozenset(one.kind for one in known.past), own=True)

    def _read(self, sight: Sight, known: Known, start: int, position: int, kinds: frozenset[str], *, own: bool) -> None:
        text = sight.text
        before = sight.clause_before(start)
        if text.startswith("的", position):
            position += 1
        if kinds and _OTHERS.match(text, position):
            return
        told = self._told(sight, known, start, position)
        dealings = sorted((one for one in known.past if one.kind in kinds), key=lambda one: one.kind == "clicked")
        addressed = bool(
            YOU.search(before) or _OWN.match(text, start) or (text[start:position].endswith("过的") and _JOINS.search(before))
        ) or any(when.first is not None for when in told.whens)
        if never := _NEVER.search(before):
            meant = {one.mention.product_id for one in sight.dealings.values()} or {known.product_id}
            _, _, named_ones = self._thing(text, position, dealings, known)
            done = next((one for one in dealings if one.mention.product_id in meant or one in named_ones), None)
            if addressed and done:
                reason = f"{done.kind}: {done.mention.title}"
                sight.claim("history", start - len(never.group()), position, source=None, reason=reason)
            return
        end, named, fitting = self._thing(text, told.end if told.fits_times else position, dealings, known)
        if not named and _THIS_BEFORE.search(before):
            fitting, named = [one for one in dealings if one.mention.product_id == known.product_id], True
        elif (
            not named
            and dealings
            and addressed
            and (told.whens or told.fits_times or _BARE.match(text, position) or ("比" in before and _MORE.match(text, position)))
        ):
            fitting = dealings
        true = [one for one in fitting if _when(one, told.whens) and (told.fits_times is None or told.fits_times(one.times))]
        if told.fits_times and not true and len(fitting) > 1:  # so often in all: 看过三次跑鞋
            total = sum(one.times or 0 for one in fitting)
            true = fitting if told.fits_times(total) and all(_when(one, told.whens) for one in fitting) else []
        first, last = min(start, told.start), max(end, told.end)
        if true:
            sight.dealings[first, last] = true[0]
            sight.claim("history", first, last, source=true[0].source)
        elif named or addressed:
            verb = "/".join(sorted(kinds)) or "no log tells of that"
            what = "; ".join(f"{one.kind}: {one.mention.title}" for one in fitting or dealings) or f"nothing the user has {verb} is known"
            sight.claim("history", first, last, source=None, reason=what)

    def _told(self, sight: Sight, known: Known, start: int, position: int) -> _Told:
        text = sight.text
        left = start - len(sight.clause_before(start))
        right = next((i for i in range(position, len(text)) if text[i] in "，。！？；：,!?;:\n"), len(text))
        fits: Callable[[int | None], bool] | None = None
        first, last = start, position
        if match := TIMES.match(text, position):
            fits, last = counted(match["n"]), match.end()
            if text.startswith("的", last):
                last += 1
        elif match := ORDINAL.search(text, left, start):
            number = int(parse_number(match["n"]) or 0)
            fits, first = partial(nth, number), match.start()
        elif match := _OFTEN.search(text, left, start):
            fits, first = partial(at_least, 2), match.start()
        whens: list[When] = []
        if known.on is not None:
            whens = [
                When(when.start + left, when.end + left, when.first, when.last) for when in self._dates.whens(text[left:right], known.on)
            ]
        whens = [when for when in whens if when.end <= start and sight.free(when.start, when.end)]
        if whens and any(when.first is not None for when in whens):
            first = min(first, *(when.start for when in whens))
        return _Told(first, last, tuple(whens), fits)

    def _thing(self, text: str, position: int, dealings: Sequence[KnownDealing], known: Known) -> tuple[int, bool, list[KnownDealing]]:
        """Where the thing after a verb ends, whether one is named, and to which dealings that fits."""
        generic = _GENERIC.match(text, position)
        if generic and not generic[1] and self._names.at(text, position):
            generic = None  # 台灯
        after = generic.end() if generic else position
        fits = []
        end = position
        for one in dealings:
            length = self._named(text, position, one.mention) or (generic and self._named(text, after, one.mention) and after - position)
            if length:
                fits.append(one)
                end = max(end, position + length)
        if fits and not (generic and generic[1] in _ITSELF):
            return end, True, fits
        if (fits_later := self._described(text, position, dealings)) is not None:
            return fits_later
        brand = self._brands.at(text, position)
        name = self._names.at(text, position + len(brand or "")) or next((n for n in known.nouns if text.startswith(n, position)), None)
        if (brand or name) and not generic:
            return position + len(brand or "") + len(name or ""), True, []
        if generic:
            return after, True, [one for one in dealings if self._meant(text, generic, one.mention, known)]
        if text.startswith("它", position):
            return position + 1, True, [one for one in dealings if one.mention.product_id == known.product_id]
        return position, False, []

    def _described(self, text: str, position: int, dealings: Sequence[KnownDealing]) -> tuple[int, bool, list[KnownDealing]] | None:
        """A thing with words before its name (那双踏川跑鞋, 350毫升那款): its title has some of them."""
        match = _DESCRIBED.match(text, position)
        if match is None:
            return None
        fits, end = [], match.end()
        for one in dealings:
            names = [place + len(name) for name in one.mention.names if (place := text.find(name, position, position + 14)) >= 0]
            stop = max(names, default=match.end() if match["what"] else 0)
            words = _LIGHT.sub(
                "", text[position : min([stop, *(text.find(name, position) for name in one.mention.names if name in text[position:stop])])]
            )
            pairs = [words[i : i + 2] for i in range(len(words) - 1)] or [words]
            if stop and (not words or any(pair in one.mention.title for pair in pairs)):
                fits.append(one)
                end = max(end, stop)
            elif stop:
                end = max(end, stop)
        return (end, True, fits) if fits or match["what"] or end > match.end() else None

    def _meant(self, text: str, generic: re.Match[str], mention: KnownMention, known: Known) -> bool:
        """这款 and 同款 are the product itself; a kind of goods that follows (那款耳机) is the mention's."""
        if generic[1] in _ITSELF and mention.product_id != known.product_id:
            return False
        brand = self._brands.at(text, generic.end())
        if brand is not None and brand != mention.brand:
            return False
        kind = self._names.at(text, generic.end() + len(brand or ""))
        return kind is None or kind in mention.names or kind in mention.title

    def _named(self, text: str, position: int, mention: KnownMention) -> int:
        """How many characters from `position` name the mention; 0 when they name something else."""
        start = position
        if mention.brand and text.startswith(mention.brand, position):
            position += len(mention.brand)
            if text.startswith("的", position):
                position += 1
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


def _when(one: KnownDealing, whens: Sequence[When]) -> bool:
    """Whether it happened then; of a vague time anything did."""
    exact = [when for when in whens if when.first is not None and when.last is not None]
    days = one.days or ()
    return all(any(when.first <= day <= when.last for day in days) for when in exact)  # type: ignore[operator]


def counted(written: str) -> Callable[[int | None], bool]:
    if written in ("好几", "几", "多", "无数", "不止一"):
        return partial(at_least, 2)
    number = int(parse_number(written) or 0)
    return lambda times: times == number


def at_least(number: int, times: int | None) -> bool:
    return (times or 0) >= number


def nth(number: int, times: int | None) -> bool:
    """第二次 is the second, or the one that follows the first."""
    return times in (number, number - 1)


def _common_piece(text: str, position: int, title: str) -> int:
    """Length of the longest run from `position` that stands in the title, if long enough to name anything."""
    length = 0
    while position + length < len(text) and text[position : position + length + 1] in title:
        length += 1
    return length if length >= _MIN_TITLE_CHARS else 0
