"""Texts that are wrong for their context in one respect: another product's fact, another code, another context. A function of (seed, row).

Without them a discriminator learns style and ignores the context: with random mismatches alone its AUC for wrong facts was .61 in a pilot.
"""

import random
import re
from collections.abc import Sequence

from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.product import BRAND, Product
from common.domain.reason import Claim
from train_app.data.examples import Example

DIGITS = re.compile(r"\d+(?:\.\d+)?")


def perturbed(example: Example, *, claims: Sequence[Claim], others: Sequence[Product], seed: int) -> str | None:
    """The text with one supported claim made another product's; None when nothing in it can be swapped.

    Brand and attribute values come from products of the same category where there are any, numbers and prices from the same key.
    """
    rng = random.Random(seed)
    supported = [claim for claim in claims if claim.supported]
    rng.shuffle(supported)
    near = [product for product in others if product.category == example.context.product.category] or list(others)
    for claim in supported:
        swapped = _swapped(claim, product=example.context.product, others=near, rng=rng)
        if swapped is not None and swapped != claim.text:
            start, end = claim.span
            return example.text[:start] + swapped + example.text[end:]
    return None


def _swapped(claim: Claim, *, product: Product, others: Sequence[Product], rng: random.Random) -> str | None:
    if claim.kind == "price":
        prices = [
            str(other.price.amount().normalize().to_integral_value()) for other in others if other.price and other.price != product.price
        ]
        return _with_number(claim.text, prices, rng)
    key = BRAND if claim.kind == "brand" else (claim.source or "").rpartition(".")[2]
    own = set(product.values(key))
    values = sorted({value for other in others for value in other.values(key)} - own)
    if not values:
        return None
    if DIGITS.search(claim.text):
        return _with_number(claim.text, [match.group() for value in values if (match := DIGITS.search(value))], rng)
    inside = next((value for value in own if value in claim.text), None)
    return claim.text.replace(inside, rng.choice(values)) if inside else None


def _with_number(text: str, numbers: Sequence[str], rng: random.Random) -> str | None:
    """The first number of the text replaced; texts that write it in numerals are left alone, since digits would give the swap away."""
    found = DIGITS.search(text)
    candidates = sorted({number for number in numbers if found and number != found.group()})
    if found is None or not candidates:
        return None
    return text[: found.start()] + rng.choice(candidates) + text[found.end() :]


def mismatched(example: Example, *, others: Sequence[Example], vocabulary: ControlVocabulary, seed: int) -> Context:
    """A context that the text was not written for: every other time the same one under another code, else another row's."""
    rng = random.Random(seed)
    context = example.context
    if context.controls and rng.random() < 0.5:
        name = rng.choice(sorted(context.controls))
        control = next(one for one in vocabulary.controls if one.name == name)
        value = rng.choice([one.name for one in control.values if one.name != context.controls[name]])
        return context.model_copy(update={"controls": {**context.controls, name: value}})
    different = [other for other in others if other.product_id != example.product_id]
    if not different:
        return context
    near = [other for other in different if other.context.product.category == context.product.category]
    chosen = rng.choice(near or different)
    return chosen.context.model_copy(update={"controls": context.controls})
