"""How much of the human text a generated one shares: BLEU, chrF, ROUGE-L. All are for Chinese and are percentages."""

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache
from math import exp, log

from common.text.segments import ngrams


def bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 over characters (sacrebleu, tokenize="zh"; Post 2018), in [0, 100]."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(tokenize="zh").corpus_score(list(hypotheses), [list(references)]).score)


def sentence_bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Mean BLEU-4 of each text alone over characters, smoothed as nltk's method3, in [0, 100]: ChatGLM's way to score AdvertiseGen.

    The n-th order without a match, counted from the first such, has half, a quarter, … of a match; without a common character it is 0.
    """
    scores = [_sentence_bleu4(h, r) for h, r in zip(hypotheses, references, strict=True)]
    return 100 * sum(scores) / len(scores) if scores else 0.0


def _sentence_bleu4(hypothesis: str, reference: str) -> float:
    total, without = 0.0, 0
    for n in range(1, 5):
        grams, theirs = Counter(ngrams(hypothesis, n)), Counter(ngrams(reference, n))
        matches = float((grams & theirs).total())
        if n == 1 and not matches:
            return 0.0
        if not matches:
            without += 1
            matches = 0.5**without
        total += log(matches / max(1, grams.total())) / 4
    return exp(total + min(0.0, 1 - len(reference) / len(hypothesis)))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus chrF (Popović 2015), in [0, 100]."""
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().corpus_score(list(hypotheses), [list(references)]).score)


@cache
def _words(text: str) -> str:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return " ".join(jieba.lcut(text))


def rouge_l(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Mean ROUGE-L F1 over jieba words (rouge_chinese; Lin 2004), in [0, 100].

    An empty text scores 0. The package `rouge_score` returns 0 on Chinese.
    """
    from rouge_chinese import Rouge

    rouge = Rouge(metrics=["rouge-l"])
    pairs = [(h, r) for h, r in zip(hypotheses, references, strict=True) if h.strip() and r.strip()]
    if not pairs:
        return 0.0
    scores = rouge.get_scores([_words(h) for h, _ in pairs], [_words(r) for _, r in pairs])
    total = sum(float(score["rouge-l"]["f"]) for score in scores)
    return 100 * total / len(hypotheses)
