"""The ground truth of studies: parses a reason against the writer's own tables and names every agreement that it breaks.

Only evaluation reports may ask it: a reward, a filter, a selection or a serving check that did would be told the answer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.domain.context import Context
from train_app.sample_shop.grammar.clauses import (
    FIRST_WORDS,
    HIDDEN,
    OPENINGS,
    RELATION_SLOTS,
    SECOND_HALVES,
    SLOT_AGREEMENT,
    TOPIC_CLAUSES,
    VISIBLE,
    effect_keys,
    look_family,
    nouns,
    wordings,
)
from train_app.sample_shop.grammar.prices import holds, read_amount
from train_app.sample_shop.grammar.reading import Reading, quantity_key, read
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.writer import CHARS

CLAUSE = re.compile("([^，。！]+)([，。！]|$)")
FACT_SLOTS = ("material", "feature", "quantity", "colour", "rating", "rating_count")
ORDER = (*VISIBLE, *HIDDEN)


@dataclass(frozen=True, slots=True)
class Judgement:
    broken: tuple[str, ...]
    """Agreements, visible ones first; each once."""
    unparsed: tuple[str, ...]
    """Clauses that the grammar does not write."""

    @property
    def clean(self) -> bool:
        return not self.broken and not self.unparsed

    @property
    def broken_hidden(self) -> tuple[str, ...]:
        """Those that no quality check is meant to see."""
        return tuple(agreement for agreement in self.broken if agreement in HIDDEN)


@dataclass(frozen=True, slots=True)
class Parsed:
    kind: str
    words: Mapping[str, str]


def judge(text: str, context: Context) -> Judgement:
    """What is wrong with `text` as a reason for this request, by the grammar that writes the sample shop's reasons."""
    reading = read(context)
    clauses: list[Parsed] = []
    unparsed: list[str] = []
    broken: set[str] = set()
    for part in CLAUSE.findall(text):
        parsed, faults = _best_parse(part[0], reading, context, clauses[-1] if clauses else None)
        if parsed is None:
            unparsed.append(part[0])
        else:
            clauses.append(parsed)
            broken |= faults
    whole = not unparsed
    broken |= set(_pairs(clauses)) | set(_across(clauses, context, whole=whole))
    if not text.endswith(("。", "！")):
        broken.add("structure")
    style = context.controls.get("style")
    if style in CHARS and not CHARS[style][0] <= len(text) <= CHARS[style][1]:
        broken.add("style")
    return Judgement(tuple(agreement for agreement in ORDER if agreement in broken), tuple(unparsed))


def _best_parse(text: str, reading: Reading, context: Context, previous: Parsed | None) -> tuple[Parsed | None, set[str]]:
    """The reading of a clause that breaks the least; (None, nothing) when no wording matches."""
    best: tuple[Parsed | None, set[str]] = (None, set())
    for wording in wordings():
        match = wording.expression.fullmatch(text)
        if match:
            parsed = Parsed(wording.kind, match.groupdict())
            faults = set(_faults(parsed, reading, context, previous))
            if best[0] is None or len(faults) < len(best[1]):
                best = (parsed, faults)
    return best


def _faults(clause: Parsed, reading: Reading, context: Context, previous: Parsed | None) -> Iterator[str]:
    """Agreements that a clause breaks by itself or with the one before it."""
    relations = load_relations()
    words = clause.words

    def told(slot: str) -> str | None:
        return words.get(slot) or (previous.words.get(slot) if previous and clause.kind.startswith("then_") else None)

    def unfit(relation: str, word: str, key: str | None) -> bool:
        return key is not None and word not in relations.fitting(relation, key)

    for slot, word in words.items():
        agreement = SLOT_AGREEMENT.get(slot)
        if agreement is None or slot in ("first", "second"):
            continue
        if slot == "feeling":
            yield from _feeling_faults(word, reading, context)
            continue
        key: str | None
        match slot:
            case "time":
                key = told("scene")
            case "touch":
                key = relations.materials.get(told("material") or "")
            case "effect":
                key = effect_keys().get(told("feature") or "")
            case "benefit":
                key = quantity_key(words["quantity"])
            case "look":
                key = look_family(words["colour"])
            case _ if slot in RELATION_SLOTS:
                key = reading.keys.get(RELATION_SLOTS[slot])
            case _:
                if not _true(slot, word, reading):
                    yield agreement
                continue
        if unfit(RELATION_SLOTS[slot], word, key):
            yield agreement


def _feeling_faults(word: str, reading: Reading, context: Context) -> Iterator[str]:
    """The word must be of the emotion asked for, and fit the kind of product."""
    relations = load_relations()
    asked, kind = context.controls.get("emotion"), relations.kinds.get(reading.category)
    keys = [key.split(" ") for key, fitting in relations.cells["feeling"].items() if word in fitting]
    if asked is not None and all(emotion != asked for emotion, _ in keys):
        yield "emotion"
    if kind is not None and all(fit != kind for _, fit in keys):
        yield "feeling"


def _true(slot: str, word: str, reading: Reading) -> bool:
    """Whether a fact is the request's."""
    match slot:
        case "noun":
            return word == reading.category
        case "brand":
            return word == reading.brand
        case "material":
            return word in reading.materials
        case "feature":
            return word in reading.features
        case "colour":
            return word in reading.colours
        case "quantity":
            return word in reading.quantities
        case "rating":
            return reading.rating is not None and float(word) == reading.rating
        case "rating_count":
            return reading.rating_count is not None and int(word) <= reading.rating_count < int(word) + 100
        case "price":
            amount = read_amount(word)
            return amount is not None and reading.price_yuan is not None and holds(*amount, reading.price_yuan)
        case _:
            mention = reading.mentions.get(slot)
            noun = max((name for name in nouns() if word.endswith(name)), key=len)
            brand = word.removesuffix(noun)
            return mention is not None and nouns()[noun] == mention.category and brand in ("", mention.brand)


def _pairs(clauses: Sequence[Parsed]) -> Iterator[str]:
    """The second half of a pair of connectives follows its first at once, fits it, and both fit what they join."""
    relations = load_relations()
    for place, clause in enumerate(clauses):
        after = clauses[place + 1] if place + 1 < len(clauses) else None
        if clause.kind in FIRST_WORDS:
            first = clause.words["first"]
            if (
                first not in FIRST_WORDS[clause.kind]
                or after is None
                or after.kind not in SECOND_HALVES[clause.kind]
                or after.words["second"] not in relations.fitting("second", first)
            ):
                yield "connective"
        elif clause.kind.startswith("then_") and (place == 0 or clauses[place - 1].kind not in FIRST_WORDS):
            yield "connective"


def _across(clauses: Sequence[Parsed], context: Context, *, whole: bool) -> Iterator[str]:
    """What holds over the whole text. What may stand in a clause that did not parse is not called missing."""
    kinds = [clause.kind for clause in clauses]
    topics = [TOPIC_CLAUSES[kind] for kind in kinds if kind in TOPIC_CLAUSES]
    asked = context.controls.get("topic")
    if asked is not None and (any(topic != asked for topic in topics) or (whole and not topics)):
        yield "topic"
    if whole and "emotion" in context.controls and "close" not in kinds:
        yield "emotion"
    if len({clause.words["clf"] for clause in clauses if "clf" in clause.words}) > 1:
        yield "classifier"
    facts = [fact for clause in clauses for slot in FACT_SLOTS if (fact := clause.words.get(slot))]
    repeated = len(set(facts)) < len(facts) or len({kind for kind in kinds if kind != "quantity"}) < len(kinds) - max(
        0, kinds.count("quantity")
    )
    openings = [place for place, kind in enumerate(kinds) if kind in OPENINGS]
    introductions = [place for place, kind in enumerate(kinds) if kind in ("intro", "name")]
    ends = [place for place, kind in enumerate(kinds) if kind == "close"]
    misplaced = whole and (
        any(place > 0 for place in openings)
        or any(place > len(openings) for place in introductions)
        or any(place < len(kinds) - 1 for place in ends)
    )
    if repeated or misplaced or len(topics) > 1:
        yield "structure"
