"""Writes a simulated shop's raw tables: products, events, users, preferences and annotated reasons, with a report of what they hold."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson
from pydantic import Field

from common.config import Frozen
from common.domain.context import Context
from common.domain.event import Event
from common.domain.product import Product
from common.errors import BadInput
from common.features.summarize import summarize
from train_app.sample_shop.behaviour import DAYS, OPENED, evidence, simulate
from train_app.sample_shop.catalogue import make_catalogue, newcomer_brands
from train_app.sample_shop.grammar.clauses import HIDDEN
from train_app.sample_shop.noise import near_duplicate, perturb, typo
from train_app.sample_shop.people import EMOTIONS, STYLES, TOPICS, Shopper, make_people
from train_app.sample_shop.report import ShopReport, measure
from train_app.sample_shop.writer import Derivation, write

Progress = Callable[[str, int, int], None]
"""(what is being made, how many are done, of how many)"""

NOISE = {"visible_error": 0.06, "hidden_error": 0.06, "typo": 0.02, "near_duplicate": 0.05}
"""Shares of the reasons; all but the last are errors."""
FACT_AGREEMENTS = ("brand", "category", "price", "number", "attribute", "rating", "history", "style")
"""What an error that the checks can see breaks. Topic and emotion are seen by some wordings only."""
TEST_SHARE = 0.16
TEST_PRODUCT_SHARE = 0.06
"""Of the established brands' products; those of newcomers are all in the test set."""
UNSEEN_CODES_SHARE = 0.45
"""Of the test set's reasons: with a combination of codes that no training reason has."""
TEST_FLATNESS = 0.7
STRANGER_SHARE = 0.25
"""Reasons written for nobody in particular."""


class ReasonPlan(Frozen):
    """Who gets a reason for what, before it is written."""

    product_id: str
    user_id: str | None
    at: datetime
    codes: dict[str, str]
    split: str = Field(pattern="^(train|test)$")
    kind: str


@dataclass(frozen=True, slots=True)
class WrittenReason:
    plan: ReasonPlan
    derivation: Derivation
    """Of the clean reason, before any error was put into it."""
    text: str
    agreement: str | None
    """The one that was broken on purpose."""
    twin: int | None
    """The row that a near-duplicate was made from."""


def generate_shop(
    out: Path,
    *,
    seed: int = 0,
    users: int = 400,
    products: int = 2000,
    reasons: int = 8000,
    errors: float = 1.0,
    on_progress: Progress | None = None,
) -> ShopReport:
    """Writes the five tables (.jsonl) and report.json into `out`; the same arguments write the same bytes. Raises BadInput.

    `errors` scales the shares of errors: with 1, 14 % of the reasons have one, so that 86 % of what people wrote is right.
    """
    if min(users, reasons) < 1 or products < 50:
        raise BadInput(f"a shop needs users >= 1, reasons >= 1 and products >= 50; got {users}, {reasons} and {products}")
    if not 0 <= errors <= 4:
        raise BadInput(f"errors: got {errors}; expected a factor from 0 (none) to 4 (56 % of the reasons)")
    tell: Progress = on_progress or (lambda what, done, total: None)
    tell("products", 0, products)
    catalogue = {product.product_id: product for product in make_catalogue(seed=seed, num_products=products)}
    tell("users", 0, users)
    people = make_people(seed=seed, num_users=users)
    test_products = _test_products(catalogue.values(), seed=seed)
    shelves = _shelves(product for product in catalogue.values() if product.product_id not in test_products)
    events = {shopper.user_id: simulate(shopper, shelves=shelves, seed=seed) for shopper in people}
    plans = _plan(catalogue, people, events, test_products, num=reasons, errors=errors, seed=seed)
    written = list(_write_all(plans, catalogue, events, seed=seed, tell=tell))

    out.mkdir(parents=True, exist_ok=True)
    preferences = [row for shopper in people for row in evidence(shopper, seed=seed)]
    _save(out / "products.jsonl", (_product_row(product) for product in catalogue.values()))
    _save(out / "events.jsonl", (event.model_dump(mode="json", exclude_none=True) for one in events.values() for event in one))
    _save(out / "users.jsonl", ({"user_id": shopper.user_id, "persona": shopper.persona} for shopper in people))
    _save(out / "preferences.jsonl", preferences)
    _save(out / "reasons.jsonl", (_reason_row(reason, seed=seed) for reason in written))
    report = measure(
        [reason.derivation for reason in written],
        texts=[reason.text for reason in written],
        kinds=[reason.plan.kind for reason in written],
        splits=[reason.plan.split for reason in written],
        num_products=len(catalogue),
        num_users=len(people),
        num_events=sum(map(len, events.values())),
        num_preferences=len(preferences),
        seed=seed,
    )
    (out / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return report


def unseen_codes() -> frozenset[tuple[str, str, str]]:
    """A third of the combinations of topic, emotion and style, two of each topic; every single code stays in training."""
    held_out = {(topic, EMOTIONS[i % 3], "concise") for i, topic in enumerate(TOPICS)}
    return frozenset(held_out | {(topic, EMOTIONS[(i + 1) % 3], "detailed") for i, topic in enumerate(TOPICS)})


def _test_products(products: Iterable[Product], *, seed: int) -> frozenset[str]:
    rng = random.Random(f"test products/{seed}")
    newcomers = newcomer_brands()
    return frozenset(product.product_id for product in products if rng.random() < TEST_PRODUCT_SHARE or product.brand in newcomers)


def _shelves(products: Iterable[Product]) -> Mapping[str, list[Product]]:
    shelves: dict[str, list[Product]] = {}
    for product in products:
        shelves.setdefault(product.category, []).append(product)
    return shelves


def _plan(
    catalogue: Mapping[str, Product],
    people: Sequence[Shopper],
    events: Mapping[str, Sequence[Event]],
    test_products: frozenset[str],
    *,
    num: int,
    errors: float,
    seed: int,
) -> list[ReasonPlan]:
    """Every product in turn, so that none is without a reason while another has many; noise in exact shares, at random places."""
    rng = random.Random(f"plan/{seed}")
    num_test = round(num * TEST_SHARE)
    shares = {kind: share * (1.0 if kind == "near_duplicate" else errors) for kind, share in NOISE.items()}
    kinds = [kind for kind, share in shares.items() for _ in range(round(num * share))]
    kinds += ["clean"] * (num - len(kinds))
    rng.shuffle(kinds)
    pools = {"train": [pid for pid in catalogue if pid not in test_products], "test": sorted(test_products)}
    turns = {split: rng.sample(pool, len(pool)) for split, pool in pools.items()}
    combinations = {"train": _combinations(seen=True), "test": _combinations(seen=False)}
    plans = []
    for row, kind in enumerate(kinds):
        split = "test" if row % num < num_test else "train"
        product_id = turns[split][row % len(turns[split])]
        shopper = None if rng.random() < STRANGER_SHARE else _shopper_for(catalogue[product_id], people, rng)
        options = combinations["test" if split == "test" and rng.random() < UNSEEN_CODES_SHARE else "train"]
        at = OPENED + timedelta(seconds=int(rng.uniform(0.15 * DAYS, 1.1 * DAYS) * 86400))
        codes = dict(zip(("topic", "emotion", "style"), _taste(shopper, options, rng), strict=True))
        user_id = shopper.user_id if shopper else None
        plans.append(ReasonPlan(product_id=product_id, user_id=user_id, at=at, codes=codes, split=split, kind=kind))
    rng.shuffle(plans)
    return plans


def _combinations(*, seen: bool) -> list[tuple[str, str, str]]:
    return [codes for t in TOPICS for e in EMOTIONS for s in STYLES if ((codes := (t, e, s)) not in unseen_codes()) == seen]


def _shopper_for(product: Product, people: Sequence[Shopper], rng: random.Random) -> Shopper:
    """Of three, the one most interested in the category: reasons are written for items that something ranked."""
    return max((rng.choice(people) for _ in range(3)), key=lambda shopper: shopper.interests[product.category])


def _taste(shopper: Shopper | None, options: Sequence[tuple[str, str, str]], rng: random.Random) -> tuple[str, str, str]:
    """Codes by the user's taste, half the time; else any, so that every combination is met often enough to be learnt."""
    if shopper is None or rng.random() < 0.5:
        return rng.choice(options)
    tastes = [shopper.tastes[control] for control in ("topic", "emotion", "style")]
    chances = [tastes[0][topic] * tastes[1][emotion] * tastes[2][style] + 1e-6 for topic, emotion, style in options]
    return rng.choices(options, chances)[0]


def _write_all(
    plans: Sequence[ReasonPlan], catalogue: Mapping[str, Product], events: Mapping[str, Sequence[Event]], *, seed: int, tell: Progress
) -> Iterable[WrittenReason]:
    clean: dict[str, list[tuple[int, WrittenReason]]] = {"train": [], "test": []}
    for row, plan in enumerate(plans):
        if row % 500 == 0:
            tell("reasons", row, len(plans))
        rng = random.Random(f"reason/{seed}/{row}")
        if plan.kind == "near_duplicate" and clean[plan.split]:
            twin, original = rng.choice(clean[plan.split])
            derivation = near_duplicate(original.derivation, rng)
            yield WrittenReason(original.plan.model_copy(update={"kind": plan.kind}), derivation, derivation.text, None, twin)
            continue
        past = events[plan.user_id] if plan.user_id else ()
        behavior = summarize(past, at=plan.at, products=catalogue)
        context = Context(product=catalogue[plan.product_id], behavior=behavior, controls=plan.codes)
        derivation = write(context, rng, flatness=TEST_FLATNESS if plan.split == "test" else 0.0)
        text, agreement = _spoilt(derivation, plan.kind, rng)
        reason = WrittenReason(plan, derivation, text, agreement, None)
        if plan.kind == "clean":
            clean[plan.split].append((row, reason))
        yield reason
    tell("reasons", len(plans), len(plans))


def _spoilt(derivation: Derivation, kind: str, rng: random.Random) -> tuple[str, str | None]:
    """The text as its kind of noise leaves it, and which agreement was broken."""
    if kind == "typo":
        return typo(derivation.text, rng), None
    if kind in ("visible_error", "hidden_error"):
        wanted = HIDDEN if kind == "hidden_error" else FACT_AGREEMENTS
        breakable = sorted({agreement for agreement in derivation.agreements() if agreement in wanted})
        rng.shuffle(breakable)
        for agreement in breakable:
            text = perturb(derivation, agreement, rng)
            if text is not None:
                return text, agreement
    return derivation.text, None


def _product_row(product: Product) -> dict[str, object]:
    assert product.price is not None
    row = product.model_dump(mode="json", exclude_none=True, exclude={"attributes", "price"})
    attributes = {attribute.key: attribute.value for attribute in product.attributes}
    return {**row, "attributes": attributes, "price": float(product.price.amount()), "currency": product.price.currency}


def _reason_row(reason: WrittenReason, *, seed: int) -> dict[str, object]:
    plan = reason.plan
    provenance = {"source": "sample_shop", "seed": seed, "split": plan.split, "kind": plan.kind, "agreement": reason.agreement}
    return {
        "product_id": plan.product_id,
        "user_id": plan.user_id,
        "text": reason.text,
        "labels": plan.codes,
        "provenance": {**provenance, "twin": reason.twin},
        "at": plan.at.isoformat(),
    }


def _save(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("wb") as file:
        for row in rows:
            file.write(orjson.dumps(row) + b"\n")
