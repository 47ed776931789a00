"""Spoils clean reasons in known ways: one broken agreement, a slip of the pen, a near-duplicate. For noisy data, and to test the judge."""

import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from train_app.sample_shop.catalogue import trade
from train_app.sample_shop.grammar.clauses import FIRST_WORDS, SLOT_AGREEMENT, TOPIC_CLAUSES, effect_keys, look_family, nouns
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.grammar.prices import fitting_amounts, holds, read_amount
from train_app.sample_shop.grammar.reading import Reading, quantity_key, read
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.people import EMOTIONS, STYLES, TOPICS
from train_app.sample_shop.writer import CHARS, Clause, Derivation, Draw, Filled, fill_clause, slot_options, write

CONFUSED = ("的得", "在再", "做作", "像向", "须需", "他它", "那哪", "以已", "坐座", "带戴", "象相")
"""Signs that people mistype for each other."""
TRIES = 40


def perturb(derivation: Derivation, agreement: str, rng: random.Random) -> str | None:
    """The text with this agreement broken, within the style's length where possible; None when there is none to break."""
    low, high = CHARS[derivation.context.controls.get("style", "")] if "style" in derivation.context.controls else (1, 10**6)
    text = None
    for _ in range(TRIES):
        changed = _perturbed(derivation, agreement, rng)
        if changed is None:
            return None
        if changed != derivation.text:
            text = changed
            if agreement == "style" or low <= len(text) <= high:
                break
    return text


def typo(text: str, rng: random.Random) -> str:
    """One sign dropped, doubled, swapped with the next or mistaken for a look-alike."""
    place = rng.randrange(1, len(text) - 2)
    kind = rng.choice(("drop", "double", "swap", "confuse"))
    meant = {sign: pair.replace(sign, "") for pair in CONFUSED for sign in pair}
    confusable = [at for at, sign in enumerate(text) if sign in meant]
    if kind == "confuse" and confusable:
        at = rng.choice(confusable)
        return text[:at] + meant[text[at]] + text[at + 1 :]
    if kind == "drop":
        return text[:place] + text[place + 1 :]
    if kind == "swap" and text[place] != text[place + 1]:
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]
    return text[: place + 1] + text[place:]


def near_duplicate(derivation: Derivation, rng: random.Random) -> Derivation:
    """The same reason with the words of one clause drawn anew, or another mark at its end; as clean as it was."""
    reading = read(derivation.context)
    emotion = derivation.context.controls.get("emotion", EMOTIONS[0])
    low, high = CHARS[derivation.context.controls.get("style", "concise")]
    for place in rng.sample(range(len(derivation.clauses)), len(derivation.clauses)):
        clause = derivation.clauses[place]
        for part in rng.sample(clause.filled, len(clause.filled)):
            if SLOT_AGREEMENT.get(part.slot) is not None:
                continue
            words = {other.slot: other.text for other in clause.filled}
            options = [word for word in slot_options(part.slot, clause.kind, reading, emotion, words, None) if word != part.text]
            changed = _with(derivation, place, part.slot, rng.choice(options))
            if low <= len(changed.text) <= high:
                return changed
    end = "！" if derivation.stops[-1] == "。" else "。"
    return replace(derivation, stops=(*derivation.stops[:-1], end))


def _with(derivation: Derivation, place: int, slot: str, word: str) -> Derivation:
    clause = derivation.clauses[place]
    filled = tuple(Filled(part.slot, word if part.slot == slot else part.text) for part in clause.filled)
    clauses = (*derivation.clauses[:place], Clause(clause.kind, clause.pattern, filled), *derivation.clauses[place + 1 :])
    return replace(derivation, clauses=clauses)


def _perturbed(derivation: Derivation, agreement: str, rng: random.Random) -> str | None:
    context = derivation.context
    match agreement:
        case "style" | "topic" if agreement not in context.controls:
            return None
        case "style":
            other = next(style for style in STYLES if style != context.controls["style"])
            return write(context.model_copy(update={"controls": {**context.controls, "style": other}}), rng).text
        case "topic":
            return _other_topic(derivation, rng)
        case "structure":
            clauses = (derivation.clauses[-1], *derivation.clauses[:-1])
            return replace(derivation, clauses=clauses).text
        case "emotion":
            places = [(place, "feeling") for place, clause in enumerate(derivation.clauses) if clause.word("feeling")]
        case _:
            places = [
                (place, part.slot)
                for place, clause in enumerate(derivation.clauses)
                for part in clause.filled
                if SLOT_AGREEMENT.get(part.slot) == agreement
            ]
    if not places or (agreement == "emotion" and "emotion" not in context.controls):
        return None
    place, slot = rng.choice(places)
    words = _wrong_words(derivation, place, slot, agreement)
    if not words:
        return None
    changed = _with(derivation, place, slot, rng.choice(words))
    if agreement == "attribute":
        changed = _with_fitting_word(changed, place)
    return changed.text


def _wrong_words(derivation: Derivation, place: int, slot: str, agreement: str) -> Sequence[str]:
    """Words that break this agreement in this slot, and as far as possible no other."""
    relations, reading = load_relations(), read(derivation.context)
    clause = derivation.clauses[place]
    previous = derivation.clauses[place - 1] if place else None
    word = clause.word(slot) or ""
    told = {part.slot: part.text for part in (*(previous.filled if previous else ()), *clause.filled)}
    match slot:
        case "feeling":
            (key,) = (key.split(" ") for key, fitting in relations.cells["feeling"].items() if word in fitting)
            emotion, kind = key
            wanted = [
                (other, other_kind)
                for other, other_kind in (key.split(" ") for key in relations.cells["feeling"])
                if (other == emotion) != (agreement == "emotion") and (other_kind == kind) == (agreement == "emotion")
            ]
            return [candidate for other, other_kind in wanted for candidate in relations.fitting("feeling", f"{other} {other_kind}")]
        case "first":
            return [first for first in relations.cells["second"] if first not in FIRST_WORDS[clause.kind]]
        case "second":
            return relations.misfits("second", told["first"])
        case "scene":
            misfits = relations.misfits("scene", reading.category)
            alike = [scene for scene in misfits if "time" not in told or told["time"] in relations.fitting("time", scene)]
            return alike or misfits
        case "time":
            return relations.misfits("time", told["scene"])
        case "touch":
            return relations.misfits("touch", relations.materials[told["material"]])
        case "effect":
            return relations.misfits("effect", effect_keys()[told["feature"]])
        case "benefit":
            return relations.misfits("benefit", quantity_key(told["quantity"]))
        case "look":
            return relations.misfits("look", look_family(told["colour"]) or "")
        case "clf":
            return relations.misfits("classifier", reading.category)
        case _ if slot in relations.cells:
            return relations.misfits(slot, reading.keys[slot])
    return [other for other in _false_facts(slot, word, reading) if other != word]


def _false_facts(slot: str, word: str, reading: Reading) -> Sequence[str]:
    relations = load_relations()
    match slot:
        case "noun":
            return [name for name in relations.cells["classifier"] if name != reading.category]
        case "brand":
            return [brand for brand in shop_facts().brands if brand != reading.brand]
        case "material":
            others = [value for value in _sold_beside(word, reading) if value in relations.materials]
            return [value for value in others if relations.materials[value] == relations.materials[word]] or others
        case "feature":
            key = effect_keys()[word]
            return [value for value, other in effect_keys().items() if other == key and value not in reading.features]
        case "colour":
            others = [value for value in _sold_beside(word, reading) if look_family(value)]
            return [value for value in others if look_family(value) == look_family(word)] or others
        case "quantity":
            key = quantity_key(word)
            unit = word.removeprefix(key).lstrip("0123456789.")
            known = {number for category in trade().categories.values() for number in category.quantities.get(key, ())}
            return [other for number in sorted(known) if (other := f"{key}{number:g}{unit}") not in reading.quantities]
        case "rating":
            return [f"{tenths / 10:g}" for tenths in range(36, 50) if tenths / 10 != reading.rating]
        case "rating_count":
            return [str(int(word) * factor + 100) for factor in (2, 3, 5)]
        case "price":
            return _other_amounts(reading.price_yuan or Decimal(1))
        case _:
            mention = reading.mentions[slot]
            return [name for name, category in nouns().items() if category != mention.category]


def _sold_beside(value: str, reading: Reading) -> Sequence[str]:
    """Other values of the same attribute of the same category, which this product does not have."""
    facts = shop_facts().category(reading.category)
    own = {*reading.materials, *reading.features, *reading.colours}
    attributes = [attribute for attribute in (facts.attributes if facts else ()) if value in attribute.values]
    return [other for attribute in attributes for other in attribute.values if other not in own]


def _with_fitting_word(derivation: Derivation, place: int) -> Derivation:
    """After a false material or colour the word that goes with it fits what is said, so that only the fact is false."""
    clause, relations = derivation.clauses[place], load_relations()
    material, colour = clause.word("material"), clause.word("colour")
    if clause.kind == "cause_material":
        place += 1
    fitting = {
        "touch": relations.fitting("touch", relations.materials.get(material or "", "")),
        "look": relations.fitting("look", look_family(colour or "") or ""),
    }
    for slot, words in fitting.items():
        word = derivation.clauses[place].word(slot)
        if words and word is not None and word not in words:
            derivation = _with(derivation, place, slot, words[0])
    return derivation


def _other_amounts(price_yuan: Decimal) -> Sequence[str]:
    """Prices as they would be said of something two to four times dearer or cheaper."""
    said = [
        amount.write() for factor in (2, 3, 4) for other in (price_yuan * factor, price_yuan // factor) for amount in fitting_amounts(other)
    ]
    return [text for text in said if (amount := read_amount(text)) is not None and not holds(*amount, price_yuan)]


def _other_topic(derivation: Derivation, rng: random.Random) -> str | None:
    """The topic's clause replaced by one of another topic."""
    reading = read(derivation.context)
    emotion = derivation.context.controls.get("emotion", EMOTIONS[0])
    (place,) = (place for place, clause in enumerate(derivation.clauses) if clause.kind in TOPIC_CLAUSES)
    kind = f"topic_{rng.choice([topic for topic in TOPICS if topic != derivation.context.controls['topic']])}"
    others = derivation.clauses[:place] + derivation.clauses[place + 1 :]
    clause = fill_clause(kind, reading, emotion, others, Draw(rng, flatness=0.0))
    if clause is None:
        return derivation.text
    return replace(derivation, clauses=(*derivation.clauses[:place], clause, *derivation.clauses[place + 1 :])).text
