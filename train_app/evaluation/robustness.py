"""Whether a text gains by being tampered with: the same samples before and after an attack, before the served verdict and before the
discriminator alone. Attacks what it is given; mends nothing."""

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from pydantic import Field

from common.config import Frozen
from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.token_features import TokenFeatures
from common.errors import BadInput
from common.generation.candidates import Writer
from common.generation.features import token_features
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from common.metrics.intervals import Interval, paired_difference
from train_app.data.examples import Example
from train_app.evaluation.evaluate import FEATURE_BATCH, Subject
from train_app.evaluation.measures import proportion

BAR = 0.05
"""Acceptance that an attack may gain (training.md, further checks)."""
CLAUSE = re.compile("[^，。！？；]+[，。！？；]?")
ZERO_WIDTH = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")
PRAISE = ("真的非常好，值得拥有！", "品质一流，人人都说好！", "用过的都说好，闭眼入！", "性价比之王，强烈推荐！", "五星好评，回购无数次！")
PLACES = 3
"""Characters that are swapped or put in."""

Attack = Callable[[str, Context, ControlVocabulary, random.Random], tuple[str, Context]]


class Gain(Frozen):
    """Acceptance after an attack less before, on the same samples, with a paired 95 % interval; shares in [-1, 1]."""

    served: Interval = Field(description="checks and discriminator, at the threshold that is served")
    discriminator: Interval = Field(description="the discriminator alone at that threshold")
    at_median: Interval = Field(description="the discriminator alone at the threshold that half of the untouched samples reach")

    @property
    def worst(self) -> float:
        return max(self.served.value, self.discriminator.value, self.at_median.value)


class Robustness(Frozen):
    num_samples: int
    served: Interval = Field(description="acceptance of the untouched samples")
    discriminator: Interval
    gains: dict[str, Gain] = Field(description="attack -> what it gains")

    def above_bar(self) -> list[str]:
        return [name for name, gain in self.gains.items() if gain.worst > BAR]


def tampered_code(text: str, context: Context, vocabulary: ControlVocabulary, rng: random.Random) -> tuple[str, Context]:
    """The text sent in under another code than it was written for."""
    control = rng.choice(vocabulary.controls)
    value = rng.choice([one.name for one in control.values if one.name != context.controls.get(control.name)])
    return text, context.model_copy(update={"controls": vocabulary.check({**context.controls, control.name: value})})


def homoglyphs(text: str, context: Context, vocabulary: ControlVocabulary, rng: random.Random) -> tuple[str, Context]:
    places = [place for place, sign in enumerate(text) if sign in _lookalikes()]
    signs = list(text)
    for place in rng.sample(places, min(PLACES, len(places))):
        signs[place] = rng.choice(_lookalikes()[signs[place]])
    return "".join(signs), context


def zero_width(text: str, context: Context, vocabulary: ControlVocabulary, rng: random.Random) -> tuple[str, Context]:
    for place in sorted(rng.sample(range(1, len(text)), min(PLACES, len(text) - 1)), reverse=True):
        text = text[:place] + rng.choice(ZERO_WIDTH) + text[place:]
    return text, context


def duplicated_clause(text: str, context: Context, vocabulary: ControlVocabulary, rng: random.Random) -> tuple[str, Context]:
    clauses = CLAUSE.findall(text)
    place = rng.randrange(len(clauses))
    return "".join([*clauses[:place], clauses[place], *clauses[place:]]), context


def praise(text: str, context: Context, vocabulary: ControlVocabulary, rng: random.Random) -> tuple[str, Context]:
    return text + rng.choice(PRAISE), context


ATTACKS: dict[str, Attack] = {
    "tampered code": tampered_code,
    "homoglyphs": homoglyphs,
    "zero width": zero_width,
    "duplicated clause": duplicated_clause,
    "praise": praise,
}


def robustness(subject: Subject, examples: Sequence[Example], *, seed: int = 0) -> Robustness:
    """One sample a request that does not end empty, each attacked in each way. Raises BadInput without a discriminator or samples."""
    if subject.panel.scorer is None:
        raise BadInput("attacks: the bundle has no discriminator to attack")
    contexts = [example.context for example in examples]
    drawn = [group[0].text for group in subject.writer.write(contexts, k=1, attempt=0)]
    samples = [(text, context) for text, context in zip(drawn, contexts, strict=True) if len(text) > 1]
    if not samples:
        raise BadInput(f"attacks: got {len(examples)} requests without a text; expected at least one sample")
    threshold = subject.panel.checker.threshold
    scores, served = judged(subject, samples)
    median = float(np.median(scores))
    alone, half = scores >= threshold, scores >= median
    gains = {}
    for name, attack in ATTACKS.items():
        rng = random.Random(f"{name}/{seed}")
        after, passed = judged(subject, [attack(text, context, subject.writer.vocabulary, rng) for text, context in samples])
        gains[name] = Gain(
            served=paired_difference(passed, served, seed=seed),
            discriminator=paired_difference(after >= threshold, alone, seed=seed),
            at_median=paired_difference(after >= median, half, seed=seed),
        )
    return Robustness(num_samples=len(samples), served=proportion(served.tolist()), discriminator=proportion(alone.tolist()), gains=gains)


def judged(subject: Subject, samples: Sequence[tuple[str, Context]]) -> tuple[np.ndarray, np.ndarray]:
    """(score, accepted) of texts that somebody sent in, read as the discriminator reads a generator's own."""
    assert subject.panel.scorer is not None
    scores = subject.panel.scorer.score(features_of(subject.writer, samples), [context.controls for _, context in samples])
    judge = subject.panel.checker.judge
    accepted = [judge(text, context=context, score=score).accepted for (text, context), score in zip(samples, scores, strict=True)]
    return np.array(scores), np.array(accepted)


def features_of(writer: Writer, samples: Sequence[tuple[str, Context]]) -> list[TokenFeatures]:
    """Of given texts under the writer's model, in their order."""
    encoded = [encode_example(build_prompt(context, vocabulary=writer.vocabulary), text, writer.language) for text, context in samples]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index].ids))
    found: dict[int, TokenFeatures] = {}
    for start in range(0, len(order), FEATURE_BATCH):
        rows = order[start : start + FEATURE_BATCH]
        lens = [encoded[row].prompt_len for row in rows]
        found.update(zip(rows, token_features(writer.language.model, [encoded[row].ids for row in rows], prompt_lens=lens), strict=True))
    return [found[index] for index in range(len(encoded))]


@cache
def _lookalikes() -> dict[str, tuple[str, ...]]:
    """Character -> others that look like it: radicals, compatibility ideographs, full-width digits, Greek and Cyrillic letters."""
    found: dict[str, list[str]] = {}
    for code in (*range(0x2F00, 0x2FD6), *range(0xF900, 0xFADA), *range(0xFF10, 0xFF1A)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if len(plain) == 1 and plain != chr(code):
            found.setdefault(plain, []).append(chr(code))
    for plain, others in {"a": "а", "e": "е", "o": "оο", "p": "р", "c": "с", "A": "АΑ", "B": "ВΒ", "，": ",‚", "。": "｡"}.items():
        found.setdefault(plain, []).extend(others)
    return {plain: tuple(others) for plain, others in found.items()}
