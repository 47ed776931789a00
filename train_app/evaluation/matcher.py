"""Whose reason is it? A matcher that learnt on people's texts names the user among five who were told of the same kind of goods.

Reads histories and texts: no generator, discriminator or check has a part in it. The five are users of one product where it has as many,
else of its category: what people look at goes with what they are shown, so beside users of all goods a text that names nothing but the
product is matched in 26 to 30 of 100 cases on the sample shop; among users of one category in 20.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LogisticRegression

from common.domain.context import BehaviorSummary
from train_app.data.examples import Example
from train_app.evaluation.measures import Measures, proportion

AMONG = 5
"""Users that a text is shown beside; guessing names the right one in a fifth of the cases."""
KINDS = ("viewed", "clicked", "carted", "purchased", "reviewed")
NUM_FEATURES = 1 << 17
FEWEST = 60
"""Reasons of users with a history, below which nothing is learnt or measured."""


@dataclass(frozen=True, slots=True)
class Matcher:
    hasher: FeatureHasher
    regression: LogisticRegression

    def scores(self, text: str, histories: Sequence[BehaviorSummary]) -> np.ndarray:
        """How likely it is that each is whose reason this is; comparable within one text alone."""
        scores: np.ndarray = self.regression.decision_function(self.hasher.transform(list(features(text, one)) for one in histories))
        return scores

    def matched(self, texts: Sequence[str], examples: Sequence[Example], *, seed: int = 0) -> list[bool]:
        """Whether the user that each text was written for is named among AMONG, the others drawn from `examples`. Of equal scores one
        counts by chance: a text that says nothing of anybody is right in a fifth of the cases. Rows without as many others are left out."""
        found, circles = [], circles_of(examples)
        for text, example in zip(texts, examples, strict=True):
            rng = random.Random(f"matched/{seed}/{example.example_id}")
            rivals = others(example, circles, rng)
            if len(rivals) < AMONG - 1 or not example.context.behavior.mentions():
                continue
            scores = self.scores(text, [one.context.behavior for one in (example, *rivals)])
            best = [place for place, score in enumerate(scores) if score >= scores.max() - 1e-9]
            found.append(rng.choice(best) == 0)
        return found


def fit_matcher(examples: Sequence[Example], *, seed: int = 0) -> Matcher | None:
    """From people's reasons beside their users' histories and other users'. None where fewer than FEWEST have a history."""
    told, circles = with_history(examples), circles_of(examples)
    if len(told) < FEWEST:
        return None
    hasher = FeatureHasher(NUM_FEATURES, input_type="string", alternate_sign=False)
    rows, right = [], []
    for example in told:
        shown = [example, *others(example, circles, random.Random(f"matcher/{seed}/{example.example_id}"))]
        rows += [list(features(example.text, one.context.behavior)) for one in shown]
        right += [True, *([False] * (len(shown) - 1))]
    if all(right):
        return None
    regression = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000, random_state=seed)
    return Matcher(hasher, regression.fit(hasher.transform(rows), right))


def with_history(examples: Sequence[Example]) -> list[Example]:
    return [example for example in examples if example.context.behavior.mentions()]


def circles_of(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Category -> the examples of users with a history; `others` draws from it."""
    circles: dict[str, list[Example]] = {}
    for example in with_history(examples):
        circles.setdefault(example.context.product.category, []).append(example)
    return circles


def others(example: Example, circles: Mapping[str, Sequence[Example]], rng: random.Random) -> list[Example]:
    """AMONG - 1 of other users, each with another history than the example's and the rest's: those of its product first, then of its
    category; fewer where there are not as many."""
    circle = circles.get(example.context.product.category, ())
    histories, found = [example.context.behavior], []
    for other in sorted(rng.sample(circle, len(circle)), key=lambda one: one.product_id != example.product_id):
        if other.context.behavior not in histories:
            histories.append(other.context.behavior)
            found.append(other)
        if len(found) == AMONG - 1:
            break
    return found


def features(text: str, history: BehaviorSummary) -> Iterator[str]:
    """Each part of a history (absent, named in the text by category or brand, or not named) with each pair of characters of the text."""
    pairs = {text[place : place + 2] for place in range(len(text) - 1)}
    mentions = history.mentions()
    states = {kind: _state(text, mentions[kind].category, mentions[kind].brand) if kind in mentions else "absent" for kind in KINDS}
    states["feeling"] = history.last_review_emotion or "absent"
    states["favourite category"] = "named" if any(name in text for name in history.favourite_categories) else "not named"
    states["favourite brand"] = "named" if any(name in text for name in history.favourite_brands) else "not named"
    for part, state in states.items():
        yield f"{part}:{state}"
        yield from (f"{part}:{state}:{pair}" for pair in pairs)


def _state(text: str, category: str, brand: str | None) -> str:
    named = [name for name, word in (("category", category), ("brand", brand)) if word and word in text]
    return "+".join(named) or "not named"


def of_matched(prefix: str, matcher: Matcher, texts: Sequence[str], examples: Sequence[Example], *, seed: int = 0) -> Measures:
    """PREFIX.matched: share of the texts written for users with a history whose user the matcher names; chance is 1 / AMONG."""
    found = matcher.matched(texts, examples, seed=seed)
    return {f"{prefix}.matched": proportion(found)} if found else {}
