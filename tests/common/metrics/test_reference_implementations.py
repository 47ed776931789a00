"""Every measure against its reference implementation, or its published formula written out naively, to 1e-6 on the same texts."""

import math
import random
from collections import Counter
from itertools import combinations

import jieba
import numpy as np
import pytest
from rouge_chinese import Rouge
from sacrebleu import corpus_bleu, corpus_chrf, sentence_bleu
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from common.metrics.calibration import auc, auc_interval, brier, expected_calibration_error
from common.metrics.diversity import distinct, repeated_share, self_bleu4, unique_share
from common.metrics.explanation import feature_coverage_ratio, feature_diversity, feature_matching_ratio
from common.metrics.overlap import bleu4, chrf, rouge_l
from common.metrics.realism import c2st, c2st_auc

TO = {"abs": 1e-6}
CLAUSES = (
    "这双跑鞋轻便透气", "通勤路上也好穿", "鞋底回弹明显", "299元的价格很实在", "耳机续航30小时", "出差不用惦记充电",
    "看过的台灯光线柔和", "学习工作都合适", "评分4.8", "送人也体面", "面料亲肤不起球", "穿一天也不累",
)  # fmt: skip
FEATURES = {"轻便", "透气", "回弹", "续航", "柔和", "亲肤", "体面", "防水"}


def texts(seed: int, count: int = 60) -> list[str]:
    rng = random.Random(seed)
    return ["，".join(rng.sample(CLAUSES, rng.randint(1, 4))) + "。" for _ in range(count)]


HYPOTHESES, REFERENCES = texts(0), texts(1)


def test_bleu_and_chrf_agree_with_sacrebleu() -> None:
    assert bleu4(HYPOTHESES, REFERENCES) == pytest.approx(corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="zh").score, **TO)
    assert chrf(HYPOTHESES, REFERENCES) == pytest.approx(corpus_chrf(HYPOTHESES, [REFERENCES]).score, **TO)


def test_bleu_agrees_with_papinenis_formula_on_characters() -> None:
    hypotheses, references = ([text.translate(str.maketrans("", "", "0123456789.")) for text in side] for side in (HYPOTHESES, REFERENCES))
    logs = []
    for n in range(1, 5):
        matches = total = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            ours, theirs = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (hypothesis, reference))
            matches, total = matches + sum(min(count, theirs[gram]) for gram, count in ours.items()), total + sum(ours.values())
        logs.append(math.log(matches / total))
    written, wanted = sum(map(len, hypotheses)), sum(map(len, references))
    assert bleu4(hypotheses, references) == pytest.approx(100 * math.exp(sum(logs) / 4 + min(0, 1 - wanted / written)), **TO)


def test_chrf_agrees_with_popovics_formula() -> None:
    precisions, recalls = [], []
    for n in range(1, 7):
        matches = ours_n = theirs_n = 0
        for hypothesis, reference in zip(HYPOTHESES, REFERENCES, strict=True):
            ours, theirs = (Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (hypothesis, reference))
            matches, ours_n, theirs_n = matches + (ours & theirs).total(), ours_n + ours.total(), theirs_n + theirs.total()
        precisions.append(matches / ours_n)
        recalls.append(matches / theirs_n)
    # sacrebleu averages precision and recall over the orders, then takes F with beta 2
    precision, recall = np.mean(precisions), np.mean(recalls)
    assert chrf(HYPOTHESES, REFERENCES) == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall), **TO)


def common_subsequence(a: list[str], b: list[str]) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if left == right else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_rouge_l_agrees_with_rouge_chinese_and_with_lins_formula() -> None:
    words = [[jieba.lcut(text) for text in side] for side in (HYPOTHESES, REFERENCES)]
    joined = [[" ".join(text) for text in side] for side in words]
    reference = Rouge(metrics=["rouge-l"]).get_scores(joined[0], joined[1], avg=True)["rouge-l"]["f"]
    assert rouge_l(HYPOTHESES, REFERENCES) == pytest.approx(100 * reference, **TO)
    scores = []
    for ours, theirs in zip(*words, strict=True):
        shared = common_subsequence(ours, theirs)
        precision, recall = shared / len(ours), shared / len(theirs)
        scores.append(2 * precision * recall / (precision + recall) if shared else 0.0)
    # rouge_chinese adds 1e-8 to the denominator
    assert rouge_l(HYPOTHESES, REFERENCES) == pytest.approx(100 * np.mean(scores), abs=1e-5)


def test_self_bleu_agrees_with_sacrebleus_sentence_bleu_against_all_others() -> None:
    scores = [
        sentence_bleu(text, HYPOTHESES[:at] + HYPOTHESES[at + 1 :], tokenize="zh", use_effective_order=True).score
        for at, text in enumerate(HYPOTHESES)
    ]
    assert self_bleu4(HYPOTHESES) == pytest.approx(np.mean(scores), **TO)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_agrees_with_its_formula(n: int) -> None:
    grams = []
    for text in HYPOTHESES:
        for start in range(len(text)):
            if start + n <= len(text):
                grams.append(text[start : start + n])
    assert distinct(HYPOTHESES, n) == pytest.approx(len(set(grams)) / len(grams), **TO)


def test_usr_fmr_fcr_and_div_agree_with_peters_definitions() -> None:
    rng = random.Random(2)
    asked = [rng.choice(sorted(FEATURES)) for _ in HYPOTHESES]
    named = [{feature for feature in FEATURES if feature in text} for text in HYPOTHESES]

    different: list[str] = []
    for text in HYPOTHESES:
        if not any(text == other for other in different):
            different.append(text)
    assert unique_share(HYPOTHESES) == pytest.approx(len(different) / len(HYPOTHESES), **TO)

    matched = 0
    for text, feature in zip(HYPOTHESES, asked, strict=True):
        matched += 1 if feature in text else 0
    assert feature_matching_ratio(HYPOTHESES, asked) == pytest.approx(matched / len(HYPOTHESES), **TO)

    covered = [feature for feature in FEATURES if any(feature in one for one in named)]
    assert feature_coverage_ratio(named, FEATURES) == pytest.approx(len(covered) / len(FEATURES), **TO)

    overlaps = [len([feature for feature in a if feature in b]) for a, b in combinations(named, 2)]
    assert feature_diversity(named) == pytest.approx(sum(overlaps) / len(overlaps), **TO)


def test_repetition_agrees_with_its_definition() -> None:
    doubled = [*HYPOTHESES, "轻便透气轻便透气。"]
    repeated = sum(any(text[i : i + 4] in text[i + 1 :] for i in range(len(text) - 3)) for text in doubled)
    assert repeated_share(doubled) == pytest.approx(repeated / len(doubled), **TO)


def scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random(400), 2)
    return probability, (rng.random(400) < probability**2).astype(float)


def test_auc_and_brier_agree_with_sklearn() -> None:
    probability, outcome = scores(3)
    assert auc(probability[outcome == 1], probability[outcome == 0]) == pytest.approx(roc_auc_score(outcome, probability), **TO)
    assert brier(probability, outcome) == pytest.approx(brier_score_loss(outcome, probability), **TO)


def test_ece_agrees_with_its_formula_over_bins_of_equal_mass() -> None:
    probability, outcome = scores(4)
    ranked = sorted(range(400), key=lambda row: probability[row])
    total, start = 0.0, 0
    for part in range(15):
        size = 400 // 15 + (part < 400 % 15)
        rows = ranked[start : start + size]
        start += size
        total += size * abs(sum(probability[r] for r in rows) / size - sum(outcome[r] for r in rows) / size)
    assert expected_calibration_error(probability, outcome) == pytest.approx(total / 400, **TO)


def test_delong_agrees_with_the_direct_computation_over_all_pairs() -> None:
    rng = np.random.default_rng(5)
    positive, negative = rng.integers(2, 12, 70) / 2, rng.integers(0, 9, 50) / 2
    wins = np.array([[1.0 if p > q else 0.5 if p == q else 0.0 for q in negative] for p in positive])
    of_positive, of_negative = wins.mean(1), wins.mean(0)
    spread = of_positive.var(ddof=1) / 70 + of_negative.var(ddof=1) / 50
    found = auc_interval(positive, negative)
    assert found.value == pytest.approx(wins.mean(), **TO)
    assert found.high - found.value == pytest.approx(norm.ppf(0.975) * np.sqrt(spread), **TO)
    assert found.value - found.low == pytest.approx(norm.ppf(0.975) * np.sqrt(spread), **TO)
    assert found.n == 120


def test_delongs_interval_covers_the_true_auc_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    true = norm.cdf(1 / np.sqrt(2))
    found = [auc_interval(rng.normal(1, 1, 60), rng.normal(0, 1, 40)) for _ in range(400)]
    assert np.mean([one.low <= true <= one.high for one in found]) == pytest.approx(0.95, abs=0.03)


def test_sides_that_never_meet_have_an_auc_and_no_interval() -> None:
    found = auc_interval([2, 3], [0, 1])
    assert (found.value, found.low) == (1.0, None)


def test_c2st_has_an_interval_around_the_auc_that_it_had() -> None:
    real, generated = texts(7, 120), texts(8, 120)
    found = c2st(real, generated)
    assert found.value == c2st_auc(real, generated)
    assert found.low < 0.5 < found.high, "both are of one source"
    assert found.n == 240
