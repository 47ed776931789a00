"""Claims that set the product beside something else (比上一代轻, 比300元便宜, 同价位): known, a matter of arithmetic, or not to be said."""

import re
from collections.abc import Sequence
from decimal import Decimal

from common.packs.knowledge import Comparative, Speech
from common.quality.claims.amounts import CNY
from common.quality.claims.known import Fact, Known, amounts_of, folded
from common.quality.claims.sight import Sight
from common.quality.claims.units import NUMERALS, YUAN, Amount, Units, bounds
from common.text.phrases import PhraseSet

_THAN = re.compile(
    r"(?<![价性对相占好百正反同环可攀无评力配横噪效类排压比])(?<!百分)比(?![较如例赛拼价试值率热划方喻肩邻基得不起目了着过比心基翼特萨])"
    r"|相比(?:于|较|起|之下)?|相较(?:于)?|(?<=[重长大小高低多少款身积量价格时续航])较(?=[^为好大小高低多少长强真量劲快轻深])"
    r"|优于|胜过|超越|好过|强过|不输|不亚于|媲美|赶超|碾压|吊打|秒杀|完胜"
)
_TIMES_AS_MUCH = re.compile(rf"的?(?:(?P<n>\d+|[{NUMERALS}]+)倍|(?P<half>一半))")
_FILLER = re.compile(r"[\d.%了的更还要也都上一前代款老旧版同类级档位价提升多少倍成\s]")
_PUNCTUATION = "，。！？；：,!?;:\n"
_HERE = re.compile(r"(?:你|您|我们?|自己|大家)?(?:的)?")


class Comparisons:
    def __init__(self, speech: Speech, *, units: Units) -> None:
        self._units = units
        self._adjectives = {folded(word): one for one in speech.comparatives for word in one.words}
        self._adjective = re.compile("|".join(sorted(map(re.escape, self._adjectives), key=len, reverse=True)) or "(?!)")
        self._rhetorical = PhraseSet(map(folded, speech.rhetorical))
        self._comparands = PhraseSet(map(folded, speech.comparands))

    def find(self, sight: Sight, known: Known, amounts: Sequence[Amount]) -> None:
        """After history: what the user saw or bought may be what is compared with."""
        text = sight.text
        for than in _THAN.finditer(text):
            if not sight.free(*than.span()):
                continue
            end = next((i for i in range(than.end(), len(text)) if text[i] in _PUNCTUATION), len(text))
            here = _HERE.match(text, than.end())
            if end - than.end() < 2 or self._rhetorical.at(text, here.end() if here else than.end()):
                continue
            self._judge(sight, known, than, end, [amount for amount in amounts if than.end() <= amount.start and amount.end <= end])
        for match in _TIMES_AS_MUCH.finditer(text):
            amount = next((one for one in amounts if one.end == match.start() and one.unit), None)
            factor = Decimal("0.5") if match["half"] else (bounds(match["n"]) or (Decimal(0),))[0]
            if amount is None or not sight.free(amount.start, match.end()):
                continue
            goal = amount.low * factor
            source = next((fact.source for fact in known.amounts if fact.scale == amount.scale and abs(fact.low - goal) <= goal / 20), None)
            sight.claim("number", amount.start, match.end(), source=source, reason=None if source else "no fact is so many times that")
        for hit in self._comparands.find(text):
            if sight.free(hit.start, hit.end):
                source = known.affirms(hit.phrase)
                sight.claim(
                    "attribute",
                    hit.start,
                    hit.end,
                    source=source,
                    reason=None if source else "nothing is known of what it is compared with",
                )

    def _judge(self, sight: Sight, known: Known, than: re.Match[str], end: int, amounts: Sequence[Amount]) -> None:
        text, position = sight.text, than.end()
        first = next((amount for amount in amounts if amount.start <= position + 1 and amount.unit), None)
        dealing = next((one for (start, stop), one in sight.dealings.items() if position - 2 <= start < end), None)
        after = first.end if first else max((stop for (start, stop) in sight.dealings if position - 2 <= start < end), default=position)
        found = self._adjective.search(text, after, end)
        adjective = self._adjectives[found.group()] if found else None
        stop = found.end() if found else end
        difference = next((amount for amount in amounts if found and amount.start >= found.end()), None)
        if difference:
            stop = difference.end
        source, reason = None, "nothing is known of what it is compared with"
        score = next((amount for amount in amounts if amount.start <= position + 1 and amount.unit is None and amount.high <= 5), None)
        if score and adjective and known.rating is not None and re.search("评分|分数|得分", sight.clause_before(than.start())):
            true = known.rating < score.low if adjective.sign < 0 else known.rating > score.high
            source, reason = ("product.rating", "") if true else (None, f"the rating is {known.rating}")
        elif first and adjective:
            source, reason = self._beside_amount(sight, known, first, adjective, than.start())
        elif dealing and adjective:
            source, reason = self._beside_thing(known, amounts_of(dealing.mention.title, self._units, "", ""), adjective, difference)
        elif not dealing:
            source, reason = self._as_told(known, text[position:stop], amounts, adjective)
        sight.claim("attribute", than.start(), stop, source=source, reason=None if source else reason)

    def _beside_amount(self, sight: Sight, known: Known, amount: Amount, adjective: Comparative, start: int) -> tuple[str | None, str]:
        """比一斤还轻: against the fact of the same scale, the one that is named before it where one is."""
        if amount.unit == YUAN:
            if known.price is None or known.currency != CNY:
                return None, "the product has no price in yuan"
            true = known.price < amount.low if adjective.sign < 0 else known.price > amount.high
            return ("product.price", "") if true else (None, f"the price is {known.price}")
        alike = [fact for fact in known.amounts if fact.scale == amount.scale]
        alike = [fact for fact in alike if fact.key and fact.key in sight.text[max(0, start - 12) : start]] or alike
        for fact in alike:
            if fact.high < amount.low if adjective.sign < 0 else fact.low > amount.high:
                return fact.source, ""
        return None, f"the product has {', '.join(fact.shown for fact in alike) or 'no such fact'}"

    def _beside_thing(
        self, known: Known, theirs: Sequence[Fact], adjective: Comparative, difference: Amount | None
    ) -> tuple[str | None, str]:
        for own in known.amounts:
            for other in theirs:
                if own.scale != other.scale or own.scale not in adjective.scales:
                    continue
                gap = (own.low - other.low) * adjective.sign
                if gap <= 0:
                    return None, f"the product has {own.shown}, and that one {other.shown}"
                if difference and difference.scale == own.scale and not difference.true_of(gap, gap, slack=Decimal("0.02")):
                    return None, f"the difference is that of {own.shown} and {other.shown}"
                return own.source, ""
        return None, "of what it is compared with no such fact is known"

    def _as_told(self, known: Known, said: str, amounts: Sequence[Amount], adjective: Comparative | None) -> tuple[str | None, str]:
        """A fact that makes the same comparison itself: 较上一代: 轻20克."""
        for source, text in known.texts:
            if not any(said[:length] in text for length in range(min(6, len(said)), 1, -1)):
                continue
            measured = [amount for amount in amounts if amount.unit]
            if adjective and not measured and not any(word in text for word, one in self._adjectives.items() if one.sign == adjective.sign):
                continue
            if not any(character in text for character in _FILLER.sub("", said[2:])):
                continue
            own = [fact for fact in known.amounts if fact.source == source]
            if all(
                any(a.scale == fact.scale and a.true_of(fact.low, fact.high, slack=self._units.slack) for fact in own) for a in measured
            ):
                return source, ""
        return None, "nothing is known of what it is compared with"
