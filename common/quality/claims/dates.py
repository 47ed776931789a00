"""Days and years in a text: when something came out or keeps until, and how long ago a user did something."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from common.packs.knowledge import Speech
from common.quality.claims.known import Known, folded
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS
from common.text.numerals import parse_number

_N = rf"(?:\d{{1,3}}|[{NUMERALS}半]+)"
_AGO = re.compile(
    rf"(?P<n>{_N}|几|好几|数)(?:来|多|几)?个?(?P<half>半)?(?P<unit>天|日|周|星期|礼拜|月|年)(?P<half2>半)?(?:多|来)?(?:以|之)?前"
)
_YEAR = (
    r"(?:(?P<bare>(?<!\d)20[12]\d)(?=新款|款|版|型号|春|夏|秋|冬|新品)"
    r"|(?P<year>(?:19|20)\d\d|(?<!\d)[12]\d|二[零〇][零〇一二三四五六七八九]{2}|今|去|前|明|本|大前)年)"
)
_MONTH = r"(?P<month>1[0-2]|0?[1-9]|十[一二]?|[一二三四五六七八九])月(?!光|亮|子|饼|销|球)"
_DAY = r"(?P<day>[12]\d|3[01]|0?[1-9]|[一二三]?十[一二三四五六七八九]?|[一二三四五六七八九])[日号]"
_OF_YEAR = "度?(?:新款|款|版|型|产|上市|生产|推出|发布|发售|出品|出厂|新品|新茶|新米|春|夏|秋|冬|初|底|末|中|份)?"
_DATE = re.compile(f"{_YEAR}(?P<tail>{_OF_YEAR})?的?(?:{_MONTH}份?(?:{_DAY})?)?")
_MONTH_DAY = re.compile(
    rf"(?<![\d.个{NUMERALS}年])(?:(?P<which>上个?|这个?|本|下个?)月|{_MONTH})(?:{_DAY}|(?P<part>初|底|中旬|上旬|下旬|末))?"
)
_NEW = re.compile(
    r"新品|新款|上新|新上市|刚上市|刚刚上市|刚发布|新鲜出炉|首发|全新(?:上市|一代|升级)|最新(?:款|一代)|当季新|(?:近日|近期|最近|刚刚?|不久前)(?:才)?(?:上市|发布|推出|生产|出厂)"
)
_NEW_DAYS = 200
_MOST_DAYS = 20_000
_SHORT_YEAR = re.compile(r"\d\d|[今去前明本]|大前")
"""20年 and 今年 are dates where something is said to have come out then."""
_SEASONS = {"春": (3, 5), "夏": (6, 8), "秋": (9, 11), "冬": (12, 12), "初": (1, 3), "底": (11, 12), "末": (11, 12), "中": (5, 8)}
_EVENT = re.compile(
    r"上市|推出|发布|发售|生产|出厂|采摘|采收|出品|面世|开售|灌装|烘焙|到期|过期|制造|产的|出版|印刷|投产|上架|亮相|首发|问世|装瓶|新款|款|新茶|新米|头采|新鲜|到货|批次|版"
)
_MADE = re.compile(
    r"(?:才|刚|就|新|新鲜|现|的时候|刚刚)*(?:上市|推出|发布|发售|生产|出厂|采摘|采收|出品|灌装|烘焙|制造|印刷|上架|首发|现做|现烤|出炉|挤|采|摘|捕捞|装瓶|包装)"
)
_LOOSE_DAYS = {"天": 1, "日": 1, "周": 4, "星期": 4, "礼拜": 4, "月": 16, "年": 100}
_LENGTH = {"天": 1, "日": 1, "周": 7, "星期": 7, "礼拜": 7, "月": 30, "年": 365}


@dataclass(frozen=True, slots=True)
class When:
    start: int
    end: int
    first: date | None
    last: date | None
    """None: any day in the past."""


class Dates:
    def __init__(self, speech: Speech) -> None:
        self._days = {folded(word): time.days for time in speech.times for word in time.words}
        self._festivals = {folded(word): bounds for word, bounds in speech.festivals.items()}
        words = sorted((*self._days, *self._festivals), key=len, reverse=True)
        self._words = re.compile("|".join(map(re.escape, words)) or "(?!)")

    def whens(self, text: str, on: date) -> Iterator[When]:
        """Times of the past that a text names, seen from a day."""
        for match in _AGO.finditer(text):
            yield _ago(match, on)
        for match in self._words.finditer(text):
            word = match.group()
            if word in self._festivals:
                year = next(
                    (
                        y
                        for sign, y in (("去年", on.year - 1), ("今年", on.year), ("前年", on.year - 2))
                        if text[: match.start()].endswith(sign)
                    ),
                    None,
                )
                begins, ends = self._festivals[word]
                if year is None:
                    year = on.year if date(on.year, *begins) <= on else on.year - 1
                yield When(
                    match.start() - (2 if text[: match.start()].endswith(("去年", "今年", "前年")) else 0),
                    match.end(),
                    date(year, *begins),
                    date(year, *ends),
                )
                continue
            days = self._days[word]
            if days is None:
                yield When(match.start(), match.end(), None, None)
            else:
                yield When(match.start(), match.end(), on - timedelta(days[1]), on - timedelta(days[0]))
        for match in _DATE.finditer(text):
            year, month, day = _parts(match, on)
            first, last = date(year, month or 1, day or 1), _last(year, month, day)
            yield When(match.start(), match.end(), first, last)
        for match in _MONTH_DAY.finditer(text):
            yield _month(match, on)

    def find(self, sight: Sight, known: Known) -> None:
        """After history: what is said of when a product came out."""
        text = sight.text
        for match in _DATE.finditer(text):
            if not sight.free(*match.span()) or (
                _SHORT_YEAR.fullmatch(match["year"] or "") and not (match["tail"] or match["month"] or _EVENT.match(text, match.end()))
            ):
                continue
            if known.on is None and (match["year"] or "0")[-1] in "今去前明本":
                sight.claim("number", *match.span(), source=None, reason="the day on which it is said is not known")
                continue
            year, month, day = _parts(match, known.on or date(2000, 1, 1))
            seasons = next((_SEASONS[sign] for sign in (match["tail"] or "") if sign in _SEASONS), None)
            self._judge(sight, known, match.start(), match.end(), year, month, day, seasons)
        for match in _MONTH_DAY.finditer(text):
            if not sight.free(*match.span()) or not (match["day"] or _EVENT.search(text, match.end(), match.end() + 6)):
                continue
            if match["which"]:
                if known.on is None:
                    continue
                when = _month(match, known.on)
                assert when.first
                self._judge(sight, known, match.start(), match.end(), when.first.year, when.first.month, None, None)
            else:
                self._judge(sight, known, match.start(), match.end(), None, _number(match["month"]), _number(match["day"]), None)
        for match in (*_AGO.finditer(text), *self._words.finditer(text)):
            if not sight.free(*match.span()) or not _MADE.match(text, match.end()):
                continue
            seen = next((one for one in self.whens(match.group(), known.on) if one.first), None) if known.on else None
            source = next((one[0] for one in known.dates if seen and _overlaps(one, seen)), None)
            sight.claim("number", *match.span(), source=source, reason=None if source else "no fact tells that it came out then")
        for match in _NEW.finditer(text):
            if not sight.free(*match.span()):
                continue
            source = known.affirms(match.group()) or known.affirms("新款") or known.affirms("新品")
            if source is None and known.on:
                for where, _, year, month, _ in known.dates:
                    if year == known.on.year or (month and abs((known.on - date(year, month, 15)).days) <= _NEW_DAYS):
                        source = where
            sight.claim("number", *match.span(), source=source, reason=None if source else "no fact tells that it is new")

    def _judge(
        self,
        sight: Sight,
        known: Known,
        start: int,
        end: int,
        year: int | None,
        month: int | None,
        day: int | None,
        months: tuple[int, int] | None,
    ) -> None:
        named = [one for one in known.dates if one[1] and one[1] in sight.text[max(0, start - 8) : end + 8]]
        for source, _, known_year, known_month, known_day in named or known.dates:
            same = (year is None or year == known_year) and (month is None or month == known_month) and (day is None or day == known_day)
            if same and (months is None or (known_month is not None and months[0] <= known_month <= months[1])):
                sight.claim("number", start, end, source=source)
                return
        there = ", ".join("-".join(str(part) for part in one[2:] if part) for one in known.dates)
        sight.claim("number", start, end, source=None, reason=f"the product's dates are {there}" if there else "no fact has a date")


def _overlaps(known: tuple[str, str, int, int | None, int | None], when: When) -> bool:
    _, _, year, month, day = known
    assert when.first is not None
    assert when.last is not None
    return (
        month is not None
        and date(year, month, min(day or 1, 28)) <= when.last
        and _last(year, month, min(day, 28) if day else None) >= when.first
    )


def _number(text: str | None) -> int | None:
    value = parse_number(text) if text else None
    return None if value is None else int(value)


def _parts(match: re.Match[str], on: date) -> tuple[int, int | None, int | None]:
    word = match["year"] or match["bare"]
    relative = {"今": 0, "本": 0, "去": -1, "前": -2, "大前": -3, "明": 1}
    year = on.year + relative[word] if word in relative else int(parse_number(word) or 0)
    month = _number(match["month"])
    day = _number(match["day"])
    if month and day and day > _last(year, month, None).day:
        day = None
    return (year if year > 100 else 2000 + year), month, day


def _last(year: int, month: int | None, day: int | None) -> date:
    if month is None:
        return date(year, 12, 31)
    if day is not None:
        return date(year, month, day)
    return (date(year + month // 12, month % 12 + 1, 1)) - timedelta(1)


def _ago(match: re.Match[str], on: date) -> When:
    unit, written = match["unit"], match["n"]
    if written in ("几", "好几", "数"):
        low, high = 2.0, 10.0
    else:
        value = 0.5 if written == "半" else float(parse_number(written.removesuffix("半")) or 0)
        low = high = value + (0.5 if match["half"] or match["half2"] else 0.0)
    loose = _LOOSE_DAYS[unit] if low == high and unit not in ("天", "日") else 0
    if low == high and low > 2 and unit in ("天", "日"):
        loose = 3 if low > 10 else 1  # a night makes a day more or less
    most, fewest = (min(int(number * _LENGTH[unit]), _MOST_DAYS) for number in (high, low))
    first, last = on - timedelta(most + loose), on - timedelta(max(0, fewest - loose))
    return When(match.start(), match.end(), first, last)


def _month(match: re.Match[str], on: date) -> When:
    which = match["which"]
    if which:
        shift = -1 if which.startswith("上") else 1 if which.startswith("下") else 0
        number = on.year * 12 + on.month - 1 + shift
        year, month = number // 12, number % 12 + 1
    else:
        month = _number(match["month"]) or 1
        year = on.year if month <= on.month else on.year - 1
    day = _number(match["day"])
    if day is not None and day > _last(year, month, None).day:
        day = None
    first, last = date(year, month, day or 1), _last(year, month, day)
    part = match["part"]
    if part in ("初", "上旬"):
        last = date(year, month, 10)
    elif part == "中旬":
        first, last = date(year, month, 10), date(year, month, 20)
    elif part in ("底", "末", "下旬"):
        first = date(year, month, 20)
    return When(match.start(), match.end(), first, last)
