"""What a simulated shop holds, in numbers that are computed from it: how much the writer could have said, and what is rare or unseen."""

import math
import random
from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from common.config import Frozen
from train_app.sample_shop.grammar.clauses import SLOT_AGREEMENT
from train_app.sample_shop.grammar.facts import shop_controls
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.people import STYLES
from train_app.sample_shop.writer import Derivation, bits_per_request, num_sentences

SENTENCE_CLAUSES = ("intro", "touch", "topic_quality", "effect", "quantity", "rating", "close")
"""A plain detailed reason; what it can say of one product is a lower bound on what the writer can say."""
MAX_BITS_REQUESTS, BITS_SAMPLES = 40, 25


class Spread(Frozen):
    mean: float
    lowest: float
    highest: float


class ShopReport(Frozen):
    num_products: int
    num_users: int
    num_events: int
    num_preferences: int
    num_reasons: int
    num_products_with_reasons: int
    log10_sentences: float = Field(
        description="texts that one plain form of a detailed reason can make over the shop's products; a lower bound"
    )
    bits_per_request: dict[str, Spread] = Field(description="style -> entropy of what the writer may say to one request")
    num_chars: dict[str, Spread] = Field(description="style -> length of the clean reasons")
    agreements: dict[str, Spread] = Field(description="style -> agreements a reason has to keep")
    hidden_agreements: dict[str, Spread] = Field(description="style -> those of them that no check sees")
    distinct_share: float = Field(description="different texts among all")
    kinds: dict[str, float] = Field(description="clean and each kind of noise -> share of the reasons")
    test_share: float
    unseen_brand_share: float = Field(description="brands of the test set's products that no training reason is about")
    unseen_code_share: float = Field(description="combinations of codes that only the test set has, among all that occur")
    rare_cell_share: dict[str, float] = Field(description="split -> how often a relation's word is not its row's most frequent one")
    uncued_share: dict[str, float] = Field(description="control -> clean reasons that show its value in words the pack has no cue for")
    cells: dict[str, int] = Field(description="relation -> cells")
    attribute_values: int = Field(description="most values that one category's attributes take in this shop")


def measure(
    derivations: Sequence[Derivation],
    *,
    texts: Sequence[str],
    kinds: Sequence[str],
    splits: Sequence[str],
    num_products: int,
    num_users: int,
    num_events: int,
    num_preferences: int,
    seed: int,
) -> ShopReport:
    """The four sequences have one entry a reason, in the same order."""
    by_style = {style: [d for d in derivations if d.context.controls["style"] == style] for style in STYLES}
    styles = {style: found for style, found in by_style.items() if found}
    tests = [d for d, split in zip(derivations, splits, strict=True) if split == "test"]
    trains = [d for d, split in zip(derivations, splits, strict=True) if split == "train"]
    train_brands, test_brands = {d.context.product.brand for d in trains}, {d.context.product.brand for d in tests}
    train_codes, codes = {_codes(d) for d in trains}, {_codes(d) for d in derivations}
    counts = Counter(kinds)
    return ShopReport(
        num_products=num_products,
        num_users=num_users,
        num_events=num_events,
        num_preferences=num_preferences,
        num_reasons=len(texts),
        num_products_with_reasons=len({d.context.product.product_id for d in derivations}),
        log10_sentences=_log10_sentences(derivations),
        bits_per_request={style: _bits(found, seed=seed) for style, found in styles.items()},
        num_chars={style: _spread([len(d.text) for d in found]) for style, found in styles.items()},
        agreements={style: _spread([len(d.agreements()) for d in found]) for style, found in styles.items()},
        hidden_agreements={style: _spread([d.num_hidden() for d in found]) for style, found in styles.items()},
        distinct_share=len(set(texts)) / len(texts),
        kinds={kind: count / len(kinds) for kind, count in sorted(counts.items())},
        test_share=len(tests) / len(texts),
        unseen_brand_share=len(test_brands - train_brands) / max(1, len(test_brands)),
        unseen_code_share=len(codes - train_codes) / len(codes),
        rare_cell_share={name: _rare_share(found) for name, found in (("train", trains), ("test", tests)) if found},
        uncued_share={control: _uncued(derivations, control) for control in ("topic", "emotion")},
        cells={name: load_relations().num_cells(name) for name in load_relations().cells},
        attribute_values=_most_values(derivations),
    )


def _uncued(derivations: Sequence[Derivation], control: str) -> float:
    """Share of the texts that show the value asked for in words that are no cue of the pack."""
    measured = next(measured for measured in shop_controls().controls if measured.name == control)
    cues = {value.name: value.cues for value in measured.values}
    return sum(not any(cue in d.text for cue in cues[d.context.controls[control]]) for d in derivations) / len(derivations)


def _codes(derivation: Derivation) -> tuple[str, ...]:
    return tuple(derivation.context.controls.values())


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=sum(values) / len(values), lowest=min(values), highest=max(values))


def _bits(derivations: Sequence[Derivation], *, seed: int) -> Spread:
    step = max(1, len(derivations) // MAX_BITS_REQUESTS)
    chosen = derivations[::step][:MAX_BITS_REQUESTS]
    return _spread([bits_per_request(d.context, random.Random(f"bits/{seed}/{i}"), samples=BITS_SAMPLES) for i, d in enumerate(chosen)])


def _log10_sentences(derivations: Sequence[Derivation]) -> float:
    """Products are told apart by brand or facts; to be safe only one product a brand and category is counted."""
    contexts = {(d.context.product.brand, d.context.product.category): d.context for d in derivations}
    return math.log10(max(1, sum(num_sentences(context, SENTENCE_CLAUSES) for context in contexts.values())))


def _rare_share(derivations: Sequence[Derivation]) -> float:
    """Counted over the relations whose row the category alone decides."""
    relations = load_relations()
    drawn = rare = 0
    for derivation in derivations:
        category = derivation.context.product.category
        for clause in derivation.clauses:
            for part in clause.filled:
                fitting = relations.cells.get(SLOT_AGREEMENT.get(part.slot, ""), {}).get(category, ())
                if len(fitting) > 1 and part.text in fitting and part.slot in ("scene", "verb", "craft"):
                    drawn += 1
                    rare += part.text != fitting[0]
    return rare / max(1, drawn)


def _most_values(derivations: Sequence[Derivation]) -> int:
    values: dict[str, set[str]] = {}
    for product in {d.context.product.product_id: d.context.product for d in derivations}.values():
        values.setdefault(product.category, set()).update(a.key + a.value for a in product.attributes[1:])
    return max(len(found) for found in values.values())
