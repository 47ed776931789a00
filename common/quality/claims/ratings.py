"""Claims about what customers said: the rating, how many gave one, and shares and sales that no fact tells."""

import re
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal

from common.packs.schema import FactPack
from common.quality.claims.amounts import pattern_of
from common.quality.claims.known import Known
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS, Amount, Units, bounds, place

_WHO = "(?:人次|人|买家|用户|顾客|网友|消费者|客人|朋友|小伙伴|家长|宝妈|读者|食客|买主|位)"
_SAID = "(?:评价|评论|评分|打分|点评|评过|打过分|打了分|晒单|反馈|留评|好评|口碑|评)"
_COUNT = re.compile(
    rf"[个位名条份次则篇]?(?:{_WHO}|真实|用过的|买过的|已购)*(?:的|已经|已|都|给出了?|给了?|给过|留下了?|来|参与了?|真实|写下了?|写了|写过|打出了?|一起|共同|做出|为它|对它|为其|过|了|购买|购物|使用|口碑|在线){{0,3}}{_SAID}"
)
_COUNT_HEAD = re.compile(
    r"(?:评价|评论|评分|打分|点评|好评|晒单)(?:人数|数量|总数|条数|数|量|的人|区)?(?:已经|已|也|都|就|足足|只有?|才|仅有?|有了?|达到?|高达|多达|累计|累积|来到|共|合计|达成|一共|积累了?){0,3}$"
)
_TAIL = re.compile(r"[个位名条份次则]?(?:人次|人)?")
_SCORE_HEAD = re.compile(
    r"(?:评分|综合分|得分|打分|口碑分|用户分|均分|平均分|评价|星级|总评|打出|拿到|拿下|给到|给出)(?:已|也|都|就|稳定在|稳居|保持在?|维持在?|为|是|有|达到?了?|高达|来到|拿到|打到|给到|的|平均|一直|在|了)*$"
)
_SCORE_TAIL = re.compile(r" ?(?:分(?![钟之裤袖饱熟期类区割钱享别开布层体秒明外辨])|颗星|(?:/|／)5|星(?!期|空|座|光|级酒店))")
_STARS_END = re.compile(r"星(?:$|[，。！？；、,!?; ]|好评|评|级|推荐|的|满|口碑|高分)")
_FULL = re.compile(r"满分(?!之)|五星好评|五星满分|全五星|零差评|0差评|无差评|没有差评|清一色好评")
_SPEAKS = re.compile("[评分星销售卖率货客购款单家户信名抢差好留反]")
_OTHER = re.compile(
    rf"(?:好评率|复购率|回购率|满意度|推荐率)(?:高达|达到?|为|是|超过|超|近|稳定在)?(?:百分之)?[\d{NUMERALS}.几]*%?"
    rf"|(?:(?:累计)?销量|月销|年销|日销|热销|热卖|卖出了?|售出了?|已售|已卖|狂销|销售)(?:量|额|已经|已|也|就|都|突破|超过|超|破|过|达到?|近|逾|高达|了){{0,3}}(?:\d[\d,.]*|[{NUMERALS}上数几]+)(?:[多余几])?[万千百+]*[件单台份只支瓶盒套双本笔]?"
    rf"|(?:[\d{NUMERALS}上数几]+[多余+]?[万千百]*)(?:人|位|名|户)?(?:已经|已|都|在)?(?:付款|回购|复购|下单|入手|在用|种草|收藏|拼单|抢购|购买)(?!的?[您你])"
    rf"|[\d{NUMERALS}上数几]+[多余]?[万亿千百]*(?:个|户)?(?:家庭|用户|妈妈|宝妈|人家|车主|铲屎官|顾客|粉丝)(?:的|都|共同|一致)?(?:选择|之选|信赖|认可|在用|都爱|都在|推荐)"
    r"|(?:累计)?销量(?:过万|破万|上万|领先|第一|前[一二三十\d]+|可观|惊人|很高)|断货|卖断货|卖爆|爆卖|一抢而空|回头客(?:超过|占|过|达|有)\S{0,2}[半成\d%万千百]\S{0,2}"
)


class Ratings:
    def __init__(self, facts: FactPack, *, units: Units) -> None:
        self._units = units
        self._phrases = [(pattern_of(phrase.phrase), phrase) for phrase in facts.rating_phrases]

    def find(self, sight: Sight, known: Known, amounts: Sequence[Amount]) -> None:
        text = sight.text
        if not _SPEAKS.search(text):
            return
        for amount in amounts:
            if (amount.unit and amount.unit not in ("个",)) or not sight.free(amount.start, amount.end):
                continue
            head = _COUNT_HEAD.search(text, max(0, amount.start - 14), amount.start)
            tail = _COUNT.match(text, amount.end)
            score_tail = _SCORE_TAIL.match(text, amount.end)
            if tail and amount.unit is None and "." in text[amount.at : amount.end]:
                tail = None  # 评分4.6口碑不错
            if tail or (head and amount.high > 10 and not score_tail):
                start = head.start() if head else amount.start
                self._count(sight, known, start, tail.end() if tail else _end(text, amount), amount)
            elif amount.high <= 10:
                self._score(sight, known, amount, score_tail)
        for pattern, phrase in self._phrases:
            for match in pattern.finditer(text):
                span = bounds(match["n"])
                if span is None or phrase.kind != "rating_count" or not sight.free(*match.span()):
                    continue
                approximate = any(word in phrase.phrase for word in ("多", "余", "超", "+"))
                high = span[0] + place(span[0]) - 1 if approximate else span[1]
                _judge(sight, known.rating_count, span[0] <= (known.rating_count or 0) <= high, "rating_count", *match.span())
        for match in _FULL.finditer(text):
            if sight.free(*match.span()):
                _judge(sight, known.rating, known.rating == 5, "rating", *match.span())
        for match in _OTHER.finditer(text):
            if sight.free(*match.span()):
                source = known.affirms(match.group())
                sight.claim("rating", *match.span(), source=source, reason=None if source else "no fact tells of it")

    def _count(self, sight: Sight, known: Known, start: int, end: int, amount: Amount) -> None:
        fact, low, high, opened = known.rating_count, amount.low.to_integral_value(ROUND_FLOOR), amount.high, amount.open
        if amount.exact and sight.text[amount.start - 1 : amount.start] == "过":
            high, opened = low * Decimal("1.3"), True
        true = fact is not None and (low < fact < high if opened else low <= fact <= high)
        _judge(sight, fact, true, "rating_count", start, end)

    def _score(self, sight: Sight, known: Known, amount: Amount, tail: re.Match[str] | None) -> None:
        text, written = sight.text, sight.text[amount.at : amount.end]
        head = _SCORE_HEAD.search(text, max(0, amount.start - 12), amount.start)
        if not head and (tail is None or not (written[0].isdigit() or "点" in written)):
            return
        if tail and tail.group().strip() == "星" and not head and not (_STARS_END.match(text, amount.end) and amount.high <= 5):
            return
        if not head and not tail:
            return
        if (
            tail is None
            and (after := text[amount.end : amount.end + 1])
            and (after in "个人条位次万千百元块种折" or self._units.at(text, amount.end))
        ):
            return
        margin = Decimal(0)
        if amount.exact:
            digits = re.search(rf"[.点]([\d{NUMERALS}]+)", written)
            margin = Decimal("0.5").scaleb(-max(len(digits[1]) if digits else 0, 1))
        fact = None if known.rating is None else Decimal(str(known.rating))
        low, high = amount.low, amount.high
        if not amount.exact:
            low, high = max(low, Decimal("0")), min(high, Decimal(5))
            if amount.open and high > low:  # 超过4.7, 接近4.9: of a scale so short a tenth matters
                nearly = sight.text[amount.start : amount.at]
                low, high = (low, Decimal(5)) if nearly.startswith(("超", "高于", "大于", "多于", "逾", "突破", "破")) else (low, high)
        true = fact is not None and (low - margin <= fact <= high + margin) and not (amount.open and fact in (amount.low, amount.high))
        start = head.start() if head and text[head.start()] in "评得均" else amount.start
        _judge(sight, known.rating, true, "rating", start, tail.end() if tail else amount.end)


def _end(text: str, amount: Amount) -> int:
    tail = _TAIL.match(text, amount.end)
    return tail.end() if tail else amount.end


def _judge(sight: Sight, fact: float | int | None, true: bool, kind: str, start: int, end: int) -> None:
    word = "rating" if kind == "rating" else "number of ratings"
    reason = None if true else f"the product has no {word}" if fact is None else f"the {word} is {fact}"
    sight.claim("rating", start, end, source=None if reason else f"product.{kind}", reason=reason)
