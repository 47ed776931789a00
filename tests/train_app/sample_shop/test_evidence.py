"""The evidence of a verdict against what the writer itself put into a reason: two accounts of one text that share no code."""

import random
from collections import Counter

from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.sample_shop.grammar.clauses import SLOT
from train_app.sample_shop.writer import Derivation, write

CHECKER = Checker(load_pack("shop"))
FIELDS = {"price": "product.price", "rating": "product.rating", "rating_count": "product.rating_count", "brand": "product.attributes.品牌"}
DEALINGS = {"bought": "user.last_purchased", "reviewed": "user.last_reviewed", "viewed": "user.last_viewed"}


def facts_of(derivation: Derivation) -> list[tuple[tuple[int, int], str]]:
    """Where the writer put a fact, and the path of that fact."""
    found, position = [], 0
    attributes = derivation.context.product.attributes
    for clause, stop in zip(derivation.clauses, derivation.stops, strict=True):
        last = 0
        for match in SLOT.finditer(clause.pattern):
            position += match.start() - last
            slot, text = match[1], clause.word(match[1])
            source = FIELDS.get(slot) or DEALINGS.get(slot)
            if slot in ("material", "feature", "colour"):
                source = next(f"product.attributes.{a.key}" for a in attributes if a.value == text)
            elif slot == "quantity":
                source = next(f"product.attributes.{a.key}" for a in attributes if a.key + a.value == text)
            if source:
                found.append(((position, position + len(text)), source))
            position, last = position + len(text), match.end()
        position += len(clause.pattern) - last + len(stop)
    return found


def test_evidence_agrees_with_what_the_writer_rests_its_reasons_on(requests) -> None:
    told: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    passed = []
    for number, context in enumerate(requests(400, seed=11)):
        derivation = write(context, random.Random(number))
        verdict = CHECKER.judge(derivation.text, context=context)
        passed.append(verdict.checks["facts"].passed)
        for (start, end), source in facts_of(derivation):
            told[source] += 1
            agreed[source] += any(e.source == source and e.span[0] < end and start < e.span[1] for e in verdict.evidence())
    assert told.total() >= 1000
    assert agreed.total() / told.total() >= 0.95, {
        source: (agreed[source], told[source]) for source in told if agreed[source] < told[source]
    }
    assert sum(passed) / len(passed) >= 0.995


def test_evidence_names_value_and_product(requests) -> None:
    for number, context in enumerate(requests(100, seed=12)):
        for evidence in CHECKER.judge(write(context, random.Random(number)).text, context=context).evidence():
            if evidence.source.startswith("user."):
                titles = {mention.product_id: mention.title for mention in context.behavior.mentions().values()}
                titles |= {past.product.product_id: past.product.title for past in context.behavior.past}
                assert titles[evidence.product_id] == evidence.value
            elif evidence.source.startswith("product.attributes."):
                assert evidence.value in context.product.values(evidence.source.removeprefix("product.attributes."))
