"""Whether texts differ from each other: Distinct-n, Self-BLEU, unique sentence ratio, repetition within a text."""

from collections.abc import Sequence

import numpy as np

from common.text.segments import ngrams


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of characters, in [0, 1] (Li et al. 2016).

    Falls with the number of texts: compare equal numbers only.
    """
    grams = [gram for text in texts for gram in ngrams(text, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def unique_share(texts: Sequence[str]) -> float:
    """USR: distinct texts over texts, in [0, 1] (PETER, Li et al. 2021)."""
    return len(set(texts)) / len(texts) if texts else 0.0


def self_bleu4(texts: Sequence[str], *, sample: int = 200, references: int = 100, seed: int = 0) -> float:
    """Mean BLEU-4 of a text against others of the set (Zhu et al. 2018), in [0, 100]; high means alike.

    `sample` texts are held against `references` others of them.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(texts) < 2:
        return 0.0
    order = np.random.default_rng(seed).permutation(len(texts))
    chosen = [texts[i] for i in order[:sample]]
    bleu = BLEU(tokenize="zh", effective_order=True)
    scores = []
    for index, text in enumerate(chosen):
        others = [other for j, other in enumerate(chosen) if j != index][:references]
        scores.append(bleu.sentence_score(text, others).score)
    return float(np.mean(scores))


def repeated_share(texts: Sequence[str], n: int = 4) -> float:
    """Share of texts in which some n-gram of characters occurs twice, in [0, 1]."""
    repeated = 0
    for text in texts:
        grams = ngrams(text, n)
        repeated += len(set(grams)) < len(grams)
    return repeated / len(texts) if texts else 0.0
