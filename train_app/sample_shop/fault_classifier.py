"""Says which reasons of the sample shop are bad without being the judge: it has learnt from clean and spoilt texts what goes with what.

Neither the verdict nor the judge has a part in it. It learns from the writer's clean texts for the products of the `evaluator` split and
from such texts spoilt by `noise`. It is told the words, not which of them fit; so it is independent of the judge's parser and of every
check, and not of the writer: a fault that `noise` never makes it may miss, and `measures` says how many of those it makes it sees.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import log

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from common.domain.context import Context
from common.errors import BadInput
from common.metrics.calibration import auc
from train_app.sample_shop.grammar.clauses import FIRST_WORDS, nouns
from train_app.sample_shop.grammar.facts import shop_facts
from train_app.sample_shop.grammar.relations import load_relations
from train_app.sample_shop.noise import near_duplicate, perturb, typo
from train_app.sample_shop.writer import Derivation, write

CLAUSES = re.compile("[^，。！]+[，。！]?")
NUMBER = re.compile(r"[0-9.]+|[零一二两三四五六七八九十百千万]+")
OWN = "◇"
TOP = 2
CLEAN_TEXTS, SPOILT_FROM = 20_000, 1_500
"""Texts that what goes together is counted in, and texts whose spoilt versions it learns from."""
FALSE_ALARMS = 0.05
"""Of clean texts. They make a risk look larger; faults that it misses (a third, on 60 products) make it look smaller. At a risk of a tenth
the two about cancel, on the careful side."""
PARTS = (0.6, 0.8)
"""Where the parts of the products end that are counted and that it is fitted on; the rest measures it."""
FEWEST_PRODUCTS = 20

Pair = tuple[str, str]


class Usage:
    """How often things stood in clean texts, alone and together."""

    def __init__(self) -> None:
        self.num_texts = 0
        self.items: Counter[str] = Counter()
        self.pairs: Counter[Pair] = Counter()

    def add(self, families: Iterable[Iterable[Pair]]) -> None:
        pairs = {pair for family in families for pair in family}
        self.num_texts += 1
        self.pairs.update(pairs)
        self.items.update({item for pair in pairs for item in pair})

    def strange(self, pair: Pair) -> float:
        """How much oftener, in nats, the two would have met by chance: high where they never do and might have."""
        by_chance = self.items[pair[0]] * self.items[pair[1]] / max(1, self.num_texts)
        return log(by_chance + 0.5) - log(self.pairs[pair] + 0.5)

    def summary(self, families: Sequence[Sequence[Pair]]) -> list[float]:
        told: list[float] = []
        for family in families:
            strange = sorted((self.strange(pair) for pair in family), reverse=True)[:TOP]
            told += [*strange, *([0.0] * (TOP - len(strange)))]
            told.append(min((log(1 + self.items[item]) for pair in family for item in pair), default=0.0))
            told.append(min((log(1 + self.pairs[pair]) for pair in family), default=0.0))
        return told


@dataclass(frozen=True, slots=True)
class FaultClassifier:
    """`measures` are of held-out contexts: auc, sensitivity (spoilt texts called bad) and specificity (clean ones not)."""

    usage: Usage
    model: HistGradientBoostingClassifier
    threshold: float
    measures: Mapping[str, float]

    def bad(self, texts: Sequence[str], contexts: Sequence[Context]) -> list[bool]:
        return [bool(score >= self.threshold) for score in self.scores(texts, contexts)]

    def scores(self, texts: Sequence[str], contexts: Sequence[Context]) -> NDArray[np.float64]:
        """Probability of being bad, had as many texts been bad as among those it has learnt from."""
        rows = [_row(text, context, self.usage) for text, context in zip(texts, contexts, strict=True)]
        return np.asarray(self.model.predict_proba(np.array(rows))[:, 1], dtype=np.float64)


def fit_fault_classifier(
    contexts: Sequence[Context], *, seed: int, clean_texts: int = CLEAN_TEXTS, spoilt_from: int = SPOILT_FROM
) -> FaultClassifier:
    """In about half a minute. Three parts of the products: in the first what stands together is counted, in clean texts alone; on the
    second boosted trees learn how strange a clean text of products that were not counted may be; the third sets the score from which
    a text is bad, that which FALSE_ALARMS of its clean texts reach, and measures. Raises BadInput with fewer than FEWEST_PRODUCTS."""
    rng = random.Random(f"faults/{seed}")
    products = sorted({context.product.product_id for context in contexts})
    if len(products) < FEWEST_PRODUCTS:
        raise BadInput(
            f"an evaluator is learnt from the `evaluator` split: got {len(products)} products; expected {FEWEST_PRODUCTS} at least"
        )
    rng.shuffle(products)
    ends = [round(end * len(products)) for end in PARTS]
    part_of = {product: sum(number >= end for end in ends) for number, product in enumerate(products)}
    counted, fitted_on, apart = ([one for one in contexts if part_of[one.product.product_id] == part] for part in range(3))
    usage = Usage()
    for number in range(clean_texts):
        context = _coded(counted[number % len(counted)], contexts, rng)
        clean = write(_varied(context, contexts, rng), rng, flatness=rng.random())
        usage.add(_families(clean.text, clean.context))
    train, held_out = (
        [row for number in range(num) for row in _rows(part[number % len(part)], contexts, rng)]
        for part, num in ((fitted_on, spoilt_from), (apart, spoilt_from // 2))
    )
    model = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.1, early_stopping=False, random_state=seed)
    model.fit(np.array([_row(text, context, usage) for text, context, _ in train]), [bad for *_, bad in train])
    fitted = FaultClassifier(usage, model, 0.5, {})
    scores, bad_H = fitted.scores([row[0] for row in held_out], [row[1] for row in held_out]), np.array([row[2] for row in held_out])
    threshold = float(np.quantile(scores[~bad_H], 1 - FALSE_ALARMS))
    measures = {
        "auc": auc(scores[bad_H], scores[~bad_H]),
        "sensitivity": float((scores[bad_H] >= threshold).mean()),
        "specificity": float((scores[~bad_H] < threshold).mean()),
    }
    return replace(fitted, threshold=threshold, measures=measures)


def _coded(context: Context, others: Sequence[Context], rng: random.Random) -> Context:
    """Under codes drawn anew."""
    codes = {name: rng.choice([other.controls[name] for other in others if name in other.controls]) for name in context.controls}
    return context.model_copy(update={"controls": codes})


def _varied(context: Context, others: Sequence[Context], rng: random.Random) -> Context:
    """With another user's past, another price and another rating as well: few products would otherwise teach that what happens to meet in
    them belongs together."""
    priced, rated = (rng.choice(others).product for _ in range(2))
    product = context.product.model_copy(update={"price": priced.price, "rating": rated.rating, "rating_count": rated.rating_count})
    return context.model_copy(update={"product": product, "behavior": rng.choice(others).behavior})


def _rows(context: Context, others: Sequence[Context], rng: random.Random) -> Iterator[tuple[str, Context, bool]]:
    """(text, context, bad): a clean text, its near-duplicate, and up to four times the first spoilt."""
    clean = write(_coded(context, others, rng), rng, flatness=rng.random())
    yield clean.text, clean.context, False
    yield near_duplicate(clean, rng).text, clean.context, False
    yield from ((text, clean.context, True) for text in _spoilt(clean, others, rng))


def _spoilt(clean: Derivation, others: Sequence[Context], rng: random.Random) -> Iterator[str]:
    """Three texts with one agreement broken, and one that is wrong as a generator is: a slip, or another product's clause."""
    agreements = sorted(set(clean.agreements()))
    for agreement in rng.sample(agreements, min(3, len(agreements))):
        text = perturb(clean, agreement, rng)
        if text is not None:
            yield text
    if rng.random() < 0.5:
        yield typo(clean.text, rng)
    else:
        other = write(rng.choice(others).model_copy(update={"controls": clean.context.controls}), rng)
        own, foreign = CLAUSES.findall(clean.text), CLAUSES.findall(other.text)
        place = rng.randrange(len(own))
        swapped = "".join([*own[:place], rng.choice(foreign), *own[place + 1 :]])
        if swapped != clean.text:
            yield swapped


def _row(text: str, context: Context, usage: Usage) -> list[float]:
    own = {value for attribute in context.product.attributes for value in (attribute.value, attribute.key + attribute.value)}
    own |= {context.product.category, *(mention.category for mention in context.behavior.mentions().values())}
    for brand in _brands(context):
        text = text.replace(brand, OWN)
    told = _vocabulary()[1].findall(text)
    sizes = [float(len(text)), float(len(CLAUSES.findall(text)))]
    return [*usage.summary(_families(text, context)), float(sum(value not in own for value in told)), float(len(told)), *sizes]


def _families(text: str, context: Context) -> list[list[Pair]]:
    """Words beside each thing that is known of the request; words beside those of the same clause, and of the clause before; wordings
    without their words beside the codes, and one behind the other; words beside values."""
    words, values = _vocabulary()
    known = _known(context)
    asked: dict[str, list[Pair]] = {name: [] for name in known}
    coded: dict[str, list[Pair]] = {name: [] for name in ("topic", "emotion", "style")}
    within: list[Pair] = []
    behind: list[Pair] = []
    order: list[Pair] = []
    valued: list[Pair] = []
    before: list[str] = []
    frame = "^"
    for brand in _brands(context):
        text = text.replace(brand, OWN)
    for clause in CLAUSES.findall(text):
        told = values.findall(clause)
        bare = values.sub("v", clause)
        here = words.findall(bare)
        after = NUMBER.sub("0", words.sub("w", bare))
        for name, one in known.items():
            asked[name] += [(one, word) for word in here]
        for name, pairs in coded.items():
            pairs.append((context.controls.get(name, ""), f"f {after.rstrip('，。！')}"))
        within += [(first, f"&{second}") for at, first in enumerate(here) for second in here[at + 1 :]]
        behind += [(first, f"<{second}") for first in before for second in here]
        order.append((frame, f"> {after}"))
        valued += [(f"w {word}", f"~{value}") for word in (*here, *before) for value in told]
        before, frame = here, f"> {after}"
    order.append((frame, "> $"))
    return [*asked.values(), *coded.values(), within, behind, order, valued]


@cache
def _vocabulary() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Words that relations are about, and names and values of goods. Not which goes with which: that is learnt."""
    relations = load_relations()
    words = {word for cells in relations.cells.values() for fitting in cells.values() for word in fitting}
    words |= {first for firsts in FIRST_WORDS.values() for first in firsts} | set(relations.cells["time"])
    values = {value for facts in shop_facts().categories for attribute in facts.attributes for value in attribute.values}
    values |= set(nouns()) | set(shop_facts().brands)
    return _any_of(words), _any_of(values - words)


def _any_of(words: set[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(words, key=lambda word: (-len(word), word)))))


def _brands(context: Context) -> list[str]:
    """That the request names; new ones are met in no clean text and are as right as others."""
    named = {context.product.brand, *(mention.brand for mention in context.behavior.mentions().values())}
    return sorted(brand for brand in named if brand)


def _known(context: Context) -> dict[str, str]:
    """What may decide which words fit."""
    behavior, product = context.behavior, context.product
    known = {"category": product.category, "review": f"review {behavior.last_review_emotion}"}
    known["price"] = f"price {int(2 * log(1 + float(product.price.amount())))}" if product.price else "no price"
    known["rating"] = f"rating {product.rating:.1f}" if product.rating is not None else "no rating"
    known |= {name: f"{name} {context.controls.get(name)}" for name in ("topic", "emotion")}
    known["feeling"] = f"{context.controls.get('emotion')} {product.category}"
    mentions = behavior.mentions()
    for kind in ("viewed", "purchased"):
        known[kind] = f"{kind} {mentions[kind].category}" if kind in mentions else f"nothing {kind}"
    viewed = mentions.get("viewed")
    alike = viewed and (viewed.category == product.category, viewed.brand == product.brand)
    known["kinship"] = f"kin {alike} {viewed.category if viewed else ''} {product.category}"
    return known
