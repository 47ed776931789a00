"""How much of the human text a generated one shares: BLEU, chrF, ROUGE-L. All are for Chinese and are percentages."""

import logging
from collections.abc import Sequence
from functools import cache


def bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 over characters (sacrebleu, tokenize="zh"; Post 2018), in [0, 100]."""
    from sacrebleu.metrics.bleu import BLEU

    return float(BLEU(tokenize="zh").corpus_score(list(hypotheses), [list(references)]).score)


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
