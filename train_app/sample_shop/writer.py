"""Writes reasons by a probabilistic grammar: draws clauses and words that fit the request, and counts the bits of every choice.

The tables are in grammar/; what is wrong with a text, judge.py says.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.domain.context import Context
from train_app.sample_shop.grammar.clauses import (
    FIRST_WORDS,
    HIDDEN,
    RELATION_SLOTS,
    SECOND_HALVES,
    SLOT,
    SLOT_AGREEMENT,
    effect_keys,
    load_grammar,
    look_family,
    nouns,
    slots_of,
)
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.grammar.prices import fitting_amounts
from train_app.sample_shop.grammar.reading import Reading, quantity_key, read
from train_app.sample_shop.grammar.relations import load_relations, weights
from train_app.sample_shop.people import EMOTIONS, STYLES, TOPICS

CHARS = {"concise": (18, 30), "detailed": (45, 80)}
FEWEST_AGREEMENTS = {"concise": 6, "detailed": 12}
HISTORY_SHARE = {"concise": 0.95, "detailed": 0.85}
"""How often a draw names a history that can be named; in concise reasons the bounds on length reject more of those."""
FREE_DECAY, WORDING_DECAY = 0.95, 0.9
SHARPNESS = {"concise": 0.7, "detailed": 18.0}
"""Exponent on the decay of wordings and free words: a longer text has more choices, and draws each of them less evenly.
This keeps the bits of a request between 20 and 30 in both styles."""
MAX_ATTEMPTS = 500
PATIENCE = 50
"""Attempts after which a history that is too long to name in so few characters is left out."""
UNEVEN_FACTS = ("bought", "reviewed", "viewed", "price")
"""Facts that are said in many ways, some more usual."""
LATE_SLOTS = ("time", "touch", "effect", "benefit", "look", "second")
"""Their words depend on another slot of the sentence, which is filled first."""

MIDDLES: dict[str, tuple[float, str]] = {
    "touch": (3, "M"), "effect": (2.9, "F"), "quantity": (2.8, "Q"), "rating": (2.4, "R"), "audience": (2.3, "P"),
    "cause_feature": (2.2, "FK"), "progress": (2.1, "MFK"), "admit then_material": (2.1, "MK"),
    "cause_material": (2.0, "MK"), "admit then_craft": (2.0, "CK"),
}  # fmt: skip
"""What stands between the introduction and the end of a detailed reason -> how often, and which facts it uses up."""
LEADS = {"name": 1.0, "touch": 1.2, "effect": 1.0, "quantity": 1.0, "rating": 0.8, "audience": 0.8}
OPENINGS = {"open_bought": 1.0, "open_reviewed": 0.9, "open_viewed": 0.7}
USED_BY_TOPIC = {"quality": "C", "value": "P", "look": "", "use": "S"}


@dataclass(frozen=True, slots=True)
class Filled:
    slot: str
    text: str


@dataclass(frozen=True, slots=True)
class Clause:
    kind: str
    pattern: str
    filled: tuple[Filled, ...]

    @property
    def text(self) -> str:
        words = {part.slot: part.text for part in self.filled}
        return SLOT.sub(lambda match: words[match[1]], self.pattern)

    def word(self, slot: str) -> str | None:
        return next((part.text for part in self.filled if part.slot == slot), None)


@dataclass(frozen=True, slots=True)
class Derivation:
    """A reason with the choices that made it."""

    context: Context
    clauses: tuple[Clause, ...]
    stops: tuple[str, ...]
    """The mark after each clause."""
    choice_bits: float
    """-log2 of the probability of all choices made, before the bounds on length rejected any text."""
    attempts: int = 1

    @property
    def text(self) -> str:
        return "".join(clause.text + stop for clause, stop in zip(self.clauses, self.stops, strict=True))

    def agreements(self) -> tuple[str, ...]:
        """Every agreement the text has to keep, with repetition; the codes that were asked for are among them."""
        slots = [SLOT_AGREEMENT[part.slot] for clause in self.clauses for part in clause.filled if part.slot in SLOT_AGREEMENT]
        return (*slots, *(control for control in ("topic", "emotion", "style") if control in self.context.controls))

    def num_hidden(self) -> int:
        return sum(agreement in HIDDEN for agreement in self.agreements())


class Draw:
    """A source of choices that keeps account of their bits."""

    def __init__(self, rng: random.Random, *, flatness: float) -> None:
        self.rng, self.flatness, self.bits, self.sharpness = rng, flatness, 0.0, 1.0

    def pick(self, options: Sequence[str], chances: Sequence[float] | None = None) -> str:
        if len(options) == 1:
            return options[0]
        chances = chances or [1.0] * len(options)
        total = sum(chances)
        at, point = 0, self.rng.random() * total
        while at < len(options) - 1 and point >= chances[at]:
            point -= chances[at]
            at += 1
        self.bits -= math.log2(chances[at] / total)
        return options[at]

    def falling(self, options: Sequence[str], decay: float) -> str:
        return self.pick(options, [decay ** (self.sharpness * place) for place in range(len(options))])

    def word(self, options: Sequence[str]) -> str:
        return self.pick(options, weights(len(options), flatness=self.flatness))

    def chance(self, share: float) -> bool:
        return self.pick(("yes", "no"), (share, 1.0 - share)) == "yes"


def write(context: Context, rng: random.Random, *, flatness: float = 0.0) -> Derivation:
    """A clean reason for this request; absent codes are drawn. `flatness` 1 draws rare cells of the relations as often as others."""
    reading = _nameable(context)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        if attempt == PATIENCE:
            reading = replace(reading, mentions={})
        derivation = _attempt(context, reading, Draw(rng, flatness=flatness))
        if derivation is not None:
            return replace(derivation, attempts=attempt)
    raise AssertionError(f"no reason within {MAX_ATTEMPTS} attempts for {context.product.product_id}, {context.controls}")


def bits_per_request(context: Context, rng: random.Random, *, samples: int) -> float:
    """Entropy in bits of what the writer may say to one request, from `samples` reasons: that of all choices, less what bounds reject."""
    reading = _nameable(context)
    kept: list[float] = []
    drawn = 0
    while len(kept) < samples:
        drawn += 1
        derivation = _attempt(context, reading, Draw(rng, flatness=0.0))
        if derivation is not None:
            kept.append(derivation.choice_bits)
        elif drawn > MAX_ATTEMPTS and not kept:
            reading = replace(reading, mentions={})
    return sum(kept) / samples + math.log2(samples / drawn)


def num_sentences(context: Context, kinds: Sequence[str]) -> int:
    """How many different texts these clauses can make, in this order, for this one request."""
    reading = _nameable(context)
    emotion = context.controls.get("emotion", EMOTIONS[0])
    return math.prod(_num_clauses(kind, reading, emotion) for kind in kinds)


def _nameable(context: Context) -> Reading:
    """The request's facts; a past product that is this very product is not talked of as another."""
    reading = read(context)
    others = {slot: mention for slot, mention in reading.mentions.items() if mention.product_id != context.product.product_id}
    return replace(reading, mentions=others)


def _attempt(context: Context, reading: Reading, draw: Draw) -> Derivation | None:
    """One draw; None when it misses the style's length or has too few agreements."""
    codes = context.controls
    topic = codes.get("topic") or draw.pick(TOPICS)
    emotion = codes.get("emotion") or draw.pick(EMOTIONS)
    style = codes.get("style") or draw.pick(STYLES)
    draw.sharpness = SHARPNESS[style]
    kinds = _concise(topic, reading, draw) if style == "concise" else _detailed(topic, reading, draw)
    clauses: list[Clause] = []
    for kind in kinds:
        clause = fill_clause(kind, reading, emotion, clauses, draw)
        if clause is None:
            return None
        clauses.append(clause)
    derivation = Derivation(context, tuple(clauses), _stops(kinds, style, emotion, draw), draw.bits)
    low, high = CHARS[style]
    agreements = derivation.agreements()
    hidden, fewest = derivation.num_hidden(), FEWEST_AGREEMENTS[style]
    unasked = 3 - len(codes.keys() & {"topic", "emotion", "style"})
    rich = hidden >= fewest // 2 and len(agreements) - hidden >= fewest // 2 - unasked
    if not rich or not low <= len(derivation.text) <= high:
        return None
    return replace(derivation, choice_bits=draw.bits)


def _concise(topic: str, reading: Reading, draw: Draw) -> list[str]:
    told = _history(reading)
    if told and draw.chance(HISTORY_SHARE["concise"]):
        return [_opening(told, draw), f"topic_{topic}", "close"]
    leads = {kind: chance for kind, chance in LEADS.items() if _possible(kind, reading) and (kind, topic) != ("audience", "value")}
    lead = draw.pick(list(leads), list(leads.values()))
    if lead != "name" and draw.chance(0.4):
        return [f"topic_{topic}", lead, "close"]
    return [lead, f"topic_{topic}", "close"]


def _detailed(topic: str, reading: Reading, draw: Draw) -> list[str]:
    used = USED_BY_TOPIC[topic]
    told = _history(reading)
    opening: list[str] = []
    if told and draw.chance(HISTORY_SHARE["detailed"]):
        opening = [_opening(told, draw)]
    elif topic != "use" and draw.chance(0.4):
        opening = ["open_moment"]
    middles: list[list[str]] = []
    for _ in range(int(draw.pick(("2", "3"), (0.7, 0.3)))):
        left = {
            unit: chance
            for unit, (chance, uses) in MIDDLES.items()
            if not set(uses) & set(used) and all(_possible(kind, reading) for kind in unit.split(" "))
        }
        if not left:
            break
        unit = draw.pick(list(left), list(left.values()))
        used += MIDDLES[unit][1]
        kinds = unit.split(" ")
        middles.append([*kinds, *SECOND_HALVES[kinds[0]]] if kinds[0] in SECOND_HALVES and len(kinds) == 1 else kinds)
    place = 0 if draw.chance(0.3) else 1
    middles.insert(place, [f"topic_{topic}"])
    return [*opening, "intro", *(kind for unit in middles for kind in unit), "close"]


def _history(reading: Reading) -> list[str]:
    return [f"open_{slot}" for slot in reading.mentions if slot != "reviewed" or "verdict" in reading.keys]


def _opening(told: Sequence[str], draw: Draw) -> str:
    return draw.pick(told, [OPENINGS[kind] for kind in told])


def _stops(kinds: Sequence[str], style: str, emotion: str, draw: Draw) -> tuple[str, ...]:
    """Commas, in a detailed reason at times one full stop, and the end."""
    stops = ["，"] * (len(kinds) - 1)
    joints = [place for place in range(1, len(kinds) - 1) if kinds[place] not in SECOND_HALVES]
    if style == "detailed" and joints and draw.chance(0.3):
        stops[joints[-1]] = "。"
    end = "！" if draw.chance(0.5 if emotion == "excited" else 0.3) else "。"
    return (*stops, end)


def _possible(kind: str, reading: Reading) -> bool:
    return any(_usable(pattern, reading) for pattern in load_grammar().clauses[kind])


def _usable(pattern: str, reading: Reading) -> bool:
    """Whether the request has the facts that a wording needs."""
    return reading.lacks.isdisjoint(slots_of(pattern))


def fill_clause(kind: str, reading: Reading, emotion: str, before: Sequence[Clause], draw: Draw) -> Clause | None:
    """One clause; None when a fact that it needs was told before."""
    patterns = [pattern for pattern in load_grammar().clauses[kind] if _usable(pattern, reading)]
    pattern = draw.falling(patterns, WORDING_DECAY)
    slots = slots_of(pattern)
    words: dict[str, str] = {}
    for slot in sorted(slots, key=lambda slot: slot in LATE_SLOTS):
        options = slot_options(slot, kind, reading, emotion, words, before[-1] if before else None)
        if slot == "quantity":
            told = {clause.word("quantity") for clause in before}
            options = tuple(option for option in options if option not in told)
        if not options:
            return None
        used_before = next((word for clause in before if (word := clause.word("clf"))), None)
        if slot == "clf" and used_before is not None:
            words[slot] = used_before  # a reader would stumble over a second measure word for one thing
        elif slot in UNEVEN_FACTS or slot in load_grammar().free:
            words[slot] = draw.falling(options, FREE_DECAY)
        elif slot in RELATION_SLOTS:
            words[slot] = draw.word(options)
        else:
            words[slot] = draw.pick(options)
    return Clause(kind, pattern, tuple(Filled(slot, words[slot]) for slot in slots))


def slot_options(slot: str, kind: str, reading: Reading, emotion: str, words: dict[str, str], previous: Clause | None) -> tuple[str, ...]:
    """What may stand in a slot so that every agreement is kept. `words` are the slots of the clause that are filled already."""
    relations, grammar = load_relations(), load_grammar()

    def fact(name: str) -> str:
        return words.get(name) or (previous.word(name) if previous else None) or ""

    if slot in grammar.free:
        return grammar.free[slot]
    match slot:
        case "first":
            return FIRST_WORDS[kind]
        case "second":
            return relations.fitting("second", fact("first"))
        case "time":
            return relations.fitting("time", fact("scene"))
        case "touch":
            return relations.fitting("touch", relations.materials.get(fact("material"), ""))
        case "effect":
            return relations.fitting("effect", effect_keys().get(fact("feature"), ""))
        case "benefit":
            return relations.fitting("benefit", quantity_key(fact("quantity")))
        case "look":
            return relations.fitting("look", look_family(fact("colour")) or "")
        case "feeling":
            return relations.fitting("feeling", f"{emotion} {relations.kinds[reading.category]}")
        case "bought" | "reviewed" | "viewed":
            return things(reading, slot)
    if slot in RELATION_SLOTS:
        return relations.fitting(RELATION_SLOTS[slot], reading.keys.get(RELATION_SLOTS[slot], ""))
    return _facts(reading, slot)


def _facts(reading: Reading, slot: str) -> tuple[str, ...]:
    single = {
        "noun": reading.category,
        "brand": reading.brand,
        "rating": None if reading.rating is None else f"{reading.rating:g}",
        "rating_count": None if reading.rating_count is None else str(reading.rating_count // 100 * 100),
    }
    if slot in single:
        value = single[slot]
        return () if value is None else (value,)
    if slot == "price":
        return () if reading.price_yuan is None else tuple(amount.write() for amount in fitting_amounts(reading.price_yuan))
    several = {"material": reading.materials, "feature": reading.features, "colour": reading.colours, "quantity": reading.quantities}
    return several[slot]


def things(reading: Reading, slot: str) -> tuple[str, ...]:
    """How a product of the past is named: with its brand or without, by its category or another name of it."""
    mention = reading.mentions[slot]
    facts = shop_facts().category(mention.category)
    names = (mention.category, *(facts.aliases if facts else ()))
    return tuple((brand or "") + name for name in names if name in nouns() for brand in dict.fromkeys((mention.brand, None)))


def _num_clauses(kind: str, reading: Reading, emotion: str) -> int:
    """How many ways there are to say one clause."""
    total = 0
    for pattern in load_grammar().clauses[kind]:
        if _usable(pattern, reading):
            partial: list[dict[str, str]] = [{}]
            for slot in sorted(slots_of(pattern), key=lambda slot: slot in LATE_SLOTS):
                partial = [words | {slot: word} for words in partial for word in slot_options(slot, kind, reading, emotion, words, None)]
            total += len(partial)
    return total
