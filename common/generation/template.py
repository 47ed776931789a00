"""A true, lawful sentence from what is known, when no candidate was accepted. Puts a pack's pieces together; knows no model.

Deterministic: the same context gets the same text. The text passes the same verdict as a candidate, or `Refused` is raised.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product
from operator import itemgetter

from common.artifacts.digest import sha256_bytes
from common.domain.context import Context
from common.domain.money import Money
from common.domain.product import BRAND, Attribute
from common.domain.reason import QualityVerdict
from common.errors import Refused
from common.packs.schema import Piece, Templates
from common.quality.claims.known import folded
from common.quality.constraints import NAMES, said
from common.quality.verdict import Checker
from common.text.normalise import plain

MAX_NOUN_CHARS = 12
MAX_TITLE_CHARS = 30
MAX_VALUE_CHARS = 12
MAX_FOLLOWING = 4
"""Fact pieces after the one that names the product."""
KEPT_PER_PART = 3
"""Leads and closings that are tried; the product's id decides which, so that a page does not repeat one."""
TRIED = 12
"""Best-ranked sentences that are judged before the last resort."""
_UNFREE = 60
"""Longest text, in characters, when no style is asked."""


@dataclass(frozen=True, slots=True)
class _Filled:
    text: str
    num_facts: int
    hits: int
    """Controls whose asked value it shows, a bit each."""
    asked: int = 0
    """Of the words that must be mentioned and the facts that are wished for, those that it has, a bit each."""


_NOTHING = _Filled("", 0, 0)
_Like = tuple[int, int, int, int]
"""Characters of a body (a comma between its pieces), facts, hits and what it has of what was asked for."""
_Head = tuple[_Filled, _Filled, _Filled]
_Body = tuple[_Filled, ...]


def fill_template(context: Context, *, checker: Checker) -> tuple[str, QualityVerdict]:
    """The best-filled sentence of the checker's pack for this context, and its verdict: what must be mentioned and what is wished for
    first, then codes, then facts, then the user's past.

    Raises Refused when no template of the pack passes.
    """
    text, verdict = fill_if_lawful(context, checker=checker)
    if not text:
        raise Refused(
            f"no template of pack {checker.pack.name} passes its own checks for product {context.product.product_id} with codes "
            f"{dict(context.controls)}; add a last_resort to templates.yaml that does"
        )
    return text, verdict


def fill_if_lawful(context: Context, *, checker: Checker) -> tuple[str, QualityVerdict]:
    """As `fill_template`; where no template passes an empty text, with the verdict on the one that failed the fewest checks: its item then
    says so, and its neighbours are shown."""
    must, refused = frozenset(context.constraints.must_mention), []
    for text in _sentences(context, checker.pack.templates, checker):
        if must and said(text, must) != must:
            continue
        verdict = checker.judge(text, context=context)
        if verdict.accepted:
            return text, verdict
        refused.append(verdict)
    if not refused:  # none has all that must be mentioned
        refused = [checker.judge(next(_sentences(context, checker.pack.templates, checker)), context=context)]
    return "", min(refused, key=_faults)


def _faults(verdict: QualityVerdict) -> tuple[int, int]:
    """Failed checks, those that count for every text first."""
    failed = [name for name, check in verdict.checks.items() if not check.passed]
    return sum(name not in NAMES for name in failed), len(failed)


def _sentences(context: Context, templates: Templates, checker: Checker) -> Iterator[str]:
    filler = _Filler(context, checker)
    tail = "".join(f"{warning}。" for warning in checker.warnings(context.product.category))
    low, high = _bounds(context, checker)
    must = filler.bits(context.constraints.must_mention)
    heads = product(
        [*filler.fill(templates.history), _NOTHING],
        [*filler.fill(templates.topics, wanted=True), _NOTHING],
        [*(filler.fill(templates.closings, wanted=True) or filler.fill(templates.closings)), _NOTHING],
    )
    alike: dict[tuple[int, int, int], list[tuple[int, int, _Body]]] = {}
    for at, ((size, facts, hits, asked), pieces) in enumerate(_bodies(filler, templates.facts).items()):
        alike.setdefault((facts, hits, asked), []).append((at, size + 1 + len(tail), pieces))
    around: dict[tuple[int, int, int, int], list[tuple[int, int, _Head]]] = {}
    for number, head in enumerate(heads):
        history, topic, closing = head
        length = sum(len(piece.text) + 1 for piece in head if piece.text)
        hits, told = history.hits | topic.hits | closing.hits, history.asked | topic.asked | closing.asked
        num_pieces = sum(bool(piece.text) for piece in head)
        around.setdefault((hits, told, history.num_facts, num_pieces), []).append((number, length, head))
    ranked: dict[tuple[int, int, int, int, int], list[tuple[int, int, _Head, list[tuple[int, int, _Body]]]]] = {}
    for (hits, told, past, num_pieces), likely in around.items():  # what is alike ranks alike behind or around whatever is alike
        for (facts, own_hits, own_asked), bodies in alike.items():
            asked = told | own_asked
            rank = 2 * (hits | own_hits).bit_count() + 2 * min(facts, 2) + past
            order = ((asked & must).bit_count(), asked.bit_count(), rank, facts, -num_pieces)
            ranked.setdefault(order, []).extend((number, length, head, bodies) for number, length, head in likely)
    tried = 0
    for best in sorted(ranked, reverse=True):
        fitting = (
            (number, at, history, pieces, topic, closing)
            for number, length, (history, topic, closing), bodies in ranked[best]
            for at, size, pieces in islice((one for one in bodies if low <= length + one[1] <= high), TRIED - tried)
        )
        for _, _, history, pieces, topic, closing in sorted(fitting, key=itemgetter(0, 1))[: TRIED - tried]:
            tried += 1
            yield "，".join(piece.text for piece in (history, topic, *pieces, closing) if piece.text) + "。" + tail
        if tried == TRIED:
            break
    yield from (piece.text + tail for piece in templates.last_resort)


def _bounds(context: Context, checker: Checker) -> tuple[int, int]:
    """Fewest and most characters that the asked style, or else any text, may have, and no more than the item asks for."""
    form = checker.pack.controls.form
    low, high = form.min_chars, min(form.max_chars, max(form.min_chars, _UNFREE))
    for control in checker.pack.controls.controls:
        asked = context.controls.get(control.name)
        low, high = next((value.chars for value in control.values if value.name == asked and value.chars), (low, high))
    return low, min(high, context.constraints.max_chars or high)


def _bodies(filler: "_Filler", pieces: tuple[Piece, ...]) -> dict[_Like, _Body]:
    """One piece that names the product, and up to MAX_FOLLOWING others in their order; of those that fit the same places, the first."""
    bodies: dict[_Like, _Body] = {}
    first = filler.fill(piece for piece in pieces if not piece.follows)
    following = filler.fill(piece for piece in pieces if piece.follows)
    for head in first:
        others = [(len(piece.text) + 1, piece) for piece in following if piece.text not in head.text]
        # Of two beginnings that are alike up to the same place, whatever follows the second also follows the first.
        grown: dict[tuple[_Like, int], _Body] = {((len(head.text), head.num_facts, head.hits, head.asked), 0): (head,)}
        for count in range(MAX_FOLLOWING + 1):
            shorter, grown = grown, {}
            for (like, start), own in shorter.items():
                bodies.setdefault(like, own)
                if count == MAX_FOLLOWING:
                    continue
                size, facts, hits, asked = like
                for at, (more, piece) in enumerate(others[start:], start + 1):
                    longer = (size + more, facts + piece.num_facts, hits | piece.hits, asked | piece.asked)
                    grown.setdefault((longer, at), (*own, piece))
    return bodies


class _Filler:
    """What of a context may stand in a sentence, and which pieces it fills."""

    def __init__(self, context: Context, checker: Checker) -> None:
        self._context = context
        self._checker = checker
        self._asked = context.constraints
        self._category = context.product.category
        self._parents = checker.pack.parents(self._category)
        self._slots = {name: value for name, value in _slots(context).items() if checker.lawful(value, category=self._category)}
        self._numbers: dict[str, int] = {}
        self._turn = int(sha256_bytes(context.product.product_id.encode(errors="replace"))[:8], 16)

    def bits(self, names: Iterable[str]) -> int:
        return sum(1 << self._numbers.setdefault(name, len(self._numbers)) for name in set(names))

    def fill(self, pieces: Iterable[Piece], *, wanted: bool = False) -> list[_Filled]:
        """Pieces whose slots are known and whose cues do not contradict a code; `wanted`: only those that show an asked value.

        Closings and leads are turned by the product's id and cut to KEPT_PER_PART; facts (pieces of a generator) keep their order.
        """
        filled = []
        for piece in pieces:
            if any(slot not in self._slots for slot in piece.slots) or not self._fits(piece):
                continue
            text = piece.text.format_map(self._slots)
            if said(text, self._asked.must_avoid):
                continue
            shown = self._checker.measured(text)
            asked = {name: shown[name] == value for name, value in self._context.controls.items() if name in shown and self._by_cues(name)}
            hits = self.bits(name for name, hit in asked.items() if hit)
            if all(asked.values()) and (hits or not wanted):
                free = shown.keys() - asked.keys() - self._lengths()
                if free and not wanted and not piece.slots:
                    continue  # a cue that nobody asked for
                facts = sum(slot != "category" for slot in piece.slots)
                has = said(text, self._asked.must_mention).union(self._checker.met(text, context=self._context))
                filled.append(_Filled(text, facts, hits, self.bits(has)))
        if isinstance(pieces, tuple) and filled:
            turn = self._turn % len(filled)
            return sorted(filled[turn:] + filled[:turn], key=lambda one: -one.asked.bit_count())[:KEPT_PER_PART]
        return filled

    def _fits(self, piece: Piece) -> bool:
        """Whether it holds for whatever the goods may be."""
        return "all" in piece.scope or (bool(self._parents) and set(self._parents) <= set(piece.scope))

    def _by_cues(self, control: str) -> bool:
        return control not in self._lengths()

    def _lengths(self) -> frozenset[str]:
        return frozenset(c.name for c in self._checker.pack.controls.controls if c.measured_by == "length")


def _slots(context: Context) -> Mapping[str, str]:
    item = context.product
    slots = {"title": plain(item.title), "category": plain(item.category), "brand": plain(item.brand or "")}
    limits = {"title": MAX_TITLE_CHARS, "category": MAX_NOUN_CHARS, "brand": MAX_NOUN_CHARS}
    slots = {name: text for name, text in slots.items() if 0 < len(text) <= limits[name]}
    slots |= zip(("spec", "spec2", "spec3"), _specs(context), strict=False)
    if item.price is not None and (price := _price(item.price)):
        slots["price"] = price
    if item.rating:
        slots["rating"] = f"{item.rating:.1f}分"
    if item.rating_count and item.rating_count >= 100:
        slots["rating_count"] = f"{item.rating_count // 100 * 100}多"
    for kind, mention in context.behavior.mentions().items():
        noun = plain(mention.category)
        if kind != "clicked" and 0 < len(noun) <= MAX_NOUN_CHARS:
            slots[kind] = noun
    return slots


def _specs(context: Context) -> list[str]:
    """面料为真丝, 用的是主动降噪, 续航30小时: short attributes, those that must be mentioned or are wished for first, else in catalogue
    order; without the brand, and what must not be said."""
    specs: dict[str, Attribute] = {}
    for attribute in context.product.attributes:
        key, value = plain(attribute.key), plain(attribute.value)
        if attribute.key == BRAND or not key or not value or len(key) > MAX_NOUN_CHARS or len(value) > MAX_VALUE_CHARS:
            continue
        named = key in value  # 降噪: 主动降噪
        specs.setdefault(f"{key}{value}" if value[0].isdigit() else f"用的是{value}" if named else f"{key}为{value}", attribute)

    def order(spec: str) -> tuple[int, bool]:
        place = f"product.attributes.{specs[spec].key}"
        return -len(said(spec, asked.must_mention)), not {place, f"{place}={folded(specs[spec].value)}"}.intersection(context.wished)

    asked = context.constraints
    return sorted((spec for spec in specs if not said(spec, asked.must_avoid)), key=order)


def _price(price: Money) -> str | None:
    return f"{price.amount().normalize():f}元" if price.currency == "CNY" and price.minor else None
