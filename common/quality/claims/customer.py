"""Claims about the customer beside single dealings: tastes and habits, another purchase, what a review said."""

import re

from common.packs.schema import FactPack
from common.quality.claims.history import FIRST, ORDINAL, TIMES, YOU, counted, nth
from common.quality.claims.known import Known, folded
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS
from common.text.numerals import parse_number
from common.text.phrases import PhraseSet

_TASTE = re.compile(
    r"(?:[你您](?:一直|最|平时|向来|平日|总|经常|常常?|近来|最近|一向|很|挺|那么)*)(?P<what>常看|常买|常逛|常用|爱看|爱买|爱用|爱喝|爱穿|偏爱|钟爱|喜欢|喜爱|中意|青睐|偏好|钟情于?|惯用|信赖|关注)(?:的)?(?:品牌)?"
)
_AGAIN = re.compile(
    r"回购|复购|再次(?:下单|购买|入手|购入)|又(?:一次)?(?:下单|入手|买)(?:了|这)?|老(?:顾客|客户|朋友|买家|主顾|粉丝?|会员|用户|读者)(?=了|的|[您你]|，|。|$|专|回|福)|熟客|回头客(?=的[您你])|续上|再囤|再来一[单份盒]"
)
_STARS = re.compile(
    rf"(?:给|打|评)(?:它|过|了|出|的|下|到|上|这款|那款|满)*(?P<n>[一二两三四五1-5](?:[.点][\d{NUMERALS}])?)(?:颗)?(?:星|分)"
)
_FELT = re.compile(
    r"(?P<good>(?:给|留)(?:过|了|出|下)?(?:它)?(?:高度|真心|一条)?好评|好评过|赞不绝口)|(?P<bad>(?:给|留)(?:过|了|出|下)?(?:它)?差评|差评过|吐槽过|抱怨过)"
)
_QUOTE = re.compile(
    r"(?:评价|评论|点评|反馈|评语|留言)(?:里|中|时)?(?:也|就|还|曾|都)?(?:说|写|提|讲|夸|称赞|强调|吐槽|抱怨)(?:过|到|道|了|的是)*|(?:曾|也|就|还|亲口|亲手)(?:说|写|提|夸|称赞|吐槽)(?:过|到|道|了|它|的)+|(?:提到|吐槽|反映)(?:过|了)(?:它|的)?(?=[^，。！？；]{2})"
)
_HABIT = re.compile(
    r"(?<![让陪给帮为若果是论合])[你您](?:家)?(?:(?:一直|一向|向来|平时|平日|总是|总|经常|时常|常常|常)(?:都|在|就|最)?(?:喝|买|看|用|穿|吃|选|逛|关注|喜欢|爱|惦记|想要|找|囤|囤货|光顾)|偏爱|钟爱|最爱|惯用|独爱|(?:喜欢|爱)(?:喝|买|看|用|穿|吃|逛))的?(?P<what>[^，。！？；、]{0,8})"
)
_LONG = re.compile(
    rf"[您你](?:已经?|都|也)*(?:用|穿|戴|背|喝|吃|养|骑|睡|开|住)(?:了|着)(?:[\d{NUMERALS}几半]+(?:多|来)?(?:年|个月|天|周)|很久|好久|多年|许久)"
)
_WELCOME = re.compile(r"欢迎(?:您)?(?:再次)?(?:回来|光临)|再次(?:光临|选择我们|相遇|见面)|又见面了|老朋友")
_DONE = re.compile(
    r"[你您](?:自己|已经?|曾经?|之前|上次|上周|去年|前几天|也|都|亲手|亲自|一直|最近|刚|还|家里?)*(?P<verb>[\u4e00-\u9fff]?(?![提说夸])[\u4e00-\u9fff]过)(?![于程度硬瘾年冬夏敏来去滤得分头目])(?!就|才|便|后|之后|一次就|吗|没|都会|再|的人|那种|这种)"
)
"""Any verb in the past of who is spoken to."""
_ANY = re.compile(
    r"(?:[你您]|上次|上回|前几天)(?:上次|上回|之前|刚刚?|曾经?|前几天|最近|此前)?(?:就)?(看过|看的|浏览|买过|买的|买了|入手|加购|收藏|评价过|点评过|点开过|下单|回购)"
)
_QUOTED_SHARE = 0.4


class Customer:
    def __init__(self, facts: FactPack) -> None:
        self._names = PhraseSet(folded(name) for category in facts.categories for name in (category.name, *category.aliases))
        self._brands = PhraseSet(folded(brand) for brand in facts.brands)

    def find(self, sight: Sight, known: Known) -> None:
        """Before history, which would read 常买 as 买."""
        text = sight.text
        if YOU.search(text):
            for match in _TASTE.finditer(text):
                self._taste(sight, known, match)
            self._reviewed(sight, known)
        for match in _AGAIN.finditer(text):
            self._again(sight, known, match)

    def find_unknown(self, sight: Sight, known: Known) -> None:
        """After history: what else is said to have been done, and no log tells."""
        text = sight.text
        if not YOU.search(text):
            return
        for match in _LONG.finditer(text):
            if sight.free(*match.span()):
                sight.claim("history", *match.span(), source=None, reason="no log tells how long it was used")
        for match in _HABIT.finditer(text):
            words = match["what"]
            told_of = [*known.favourites, *(one.mention.title + one.mention.category for one in known.past)]
            like = any(words[i : i + 2] in text_of for text_of in told_of for i in range(len(words) - 1))
            if sight.free(*match.span()) and not like:
                sight.claim("history", *match.span(), source=None, reason="nothing of the kind is known of the user")
        for match in _WELCOME.finditer(text):
            if sight.free(*match.span()) and not known.past:
                sight.claim("history", *match.span(), source=None, reason="nothing is known of this user's past")
        for match in _DONE.finditer(text):
            if sight.free(match.start("verb"), match.end()) and not FIRST.search(match.group()):
                sight.claim("history", *match.span(), source=None, reason="no log tells of that")
        for match in _ANY.finditer(text):
            if sight.free(*match.span()) and not known.past and not known.num_events:
                sight.claim("history", *match.span(), source=None, reason="nothing is known of this user's past")

    def _taste(self, sight: Sight, known: Known, match: re.Match[str]) -> None:
        text, position = sight.text, match.end()
        known_names = {name for one in known.past for name in (*one.mention.names, one.mention.brand or "") if name}
        names = sorted({*known.favourites, *known_names, known.category, *known.brands}, key=len, reverse=True)
        name = (
            next((name for name in names if text.startswith(name, position)), None)
            or self._brands.at(text, position)
            or self._names.at(text, position)
        )
        if name is None or not sight.free(*match.span()):
            return
        often = [one for one in known.past if name in one.mention.names or name == one.mention.brand]
        verb = match["what"]
        kinds = ("purchased",) if "买" in verb else ("viewed", "clicked") if verb in ("常看", "常逛", "爱看") else None
        times = sum(one.times or 0 for one in often if kinds is None or one.kind in kinds)
        true = times >= 2 or (kinds is None and name in known.favourites)
        reason = None if true else "the user has not dealt with it often"
        sight.claim("history", match.start(), position + len(name), source="user.favourites" if true else None, reason=reason)

    def _again(self, sight: Sight, known: Known, match: re.Match[str]) -> None:
        before = sight.clause_before(match.start())
        addressed = (
            YOU.search(before)
            or re.search(r"第[\d一二两三四五六七八九十]+次$", before)
            or re.match(r"老|熟|回头", match.group())
            or re.search(r"[你您]", sight.text[match.end() : match.end() + 3])
        )
        if (
            not addressed
            or not sight.free(*match.span())
            or re.search(r"(?:值得|想|放心|可以|不妨|愿意|会|忍不住|率|人|一再|无限|反复|还会|适合)$", before)
        ):
            return
        bought = [one for one in known.past if one.kind == "purchased"]
        if not re.match(r"老|熟|回头", match.group()):
            bought = [one for one in bought if one.mention.product_id == known.product_id or one.mention.category == known.category]
        start, fits = match.start(), True
        if ordinal := ORDINAL.search(sight.text, 0, match.start()):
            number, start = int(parse_number(ordinal["n"]) or 0), ordinal.start()
            fits = any(nth(number, one.times) for one in bought)
        elif times := TIMES.match(sight.text, match.end()):
            so_many = counted(times["n"])
            fits = any(so_many(one.times) or so_many((one.times or 0) - 1) for one in bought)
        true = bool(bought) and fits
        sight.claim(
            "history", start, match.end(), source=bought[0].source if true else None, reason=None if true else "no such purchase is known"
        )

    def _reviewed(self, sight: Sight, known: Known) -> None:
        text = sight.text
        reviews = [one for one in known.past if one.kind == "reviewed"]
        for match in _STARS.finditer(text):
            if YOU.search(sight.clause_before(match.start())) and sight.free(*match.span()):
                stars = parse_number(match["n"])
                one = next((one for one in reviews if one.rating is not None and stars is not None and one.rating == float(stars)), None)
                sight.claim(
                    "history",
                    *match.span(),
                    source=one.source if one else None,
                    reason=None if one else "no review of the user's has so many",
                )
        for match in _FELT.finditer(text):
            if YOU.search(sight.clause_before(match.start())) and sight.free(*match.span()):
                true = bool(reviews) and known.emotion == ("positive" if match["good"] else "negative")
                reason = None if true else f"the user's last review is {known.emotion or 'not known'}"
                sight.claim("history", *match.span(), source=reviews[0].source if true else None, reason=reason)
        for match in _QUOTE.finditer(text):
            if not YOU.search(sight.clause_before(match.start())) or not sight.free(*match.span()):
                continue
            said = re.match(r"[:：“\"「]*[^，。！？；”\"」]*", text[match.end() :])
            words = said.group().strip(':：“"「 ') if said else ""
            pairs = [words[i : i + 2] for i in range(len(words) - 1)]
            share = sum(pair in known.review for pair in pairs) / len(pairs) if pairs else 0.0
            true = bool(reviews) and share >= _QUOTED_SHARE
            end = match.end() + (len(said.group()) if said else 0)
            reason = None if true else "no review of the user's says so"
            sight.claim("history", match.start(), end, source=reviews[0].source if true else None, reason=reason)
