"""Each measure against its definition or its reference implementation."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from common.metrics.calibration import auc, brier, expected_calibration_error
from common.metrics.diversity import distinct, repeated_share, unique_share
from common.metrics.explanation import feature_coverage_ratio, feature_diversity, feature_diversity_by_pairs, feature_matching_ratio
from common.metrics.intervals import bootstrap, paired_difference, share
from common.metrics.overlap import bleu4, chrf, rouge_l, sentence_bleu4
from common.metrics.realism import c2st_auc


def test_auc_agrees_with_sklearn_ties_included() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 9, 200) / 2, rng.integers(0, 7, 150) / 2
    labels = np.r_[np.ones(200), np.zeros(150)]
    assert auc(positive, negative) == pytest.approx(roc_auc_score(labels, np.r_[positive, negative]), abs=1e-12)


def test_auc_of_an_empty_side_is_unknown_not_half() -> None:
    assert np.isnan(auc([], [1.0]))


def test_a_sure_and_right_score_is_calibrated_and_a_sure_and_wrong_one_is_not() -> None:
    outcome = np.array([1, 0] * 30)
    assert expected_calibration_error(outcome, outcome, bins=2) == 0
    assert expected_calibration_error(1 - outcome, outcome, bins=2) == 1
    assert brier([0.5, 0.5], [1, 0]) == 0.25


def test_wilson_interval_stays_inside_zero_and_one_and_knows_nothing_of_no_rows() -> None:
    assert share(0, 10).low == 0
    assert 0 < share(0, 10).high < 0.35
    assert (share(0, 0).low, share(0, 0).high) == (0, 1)


def test_paired_difference_is_narrower_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(size=400)
    first, second = common + 0.1 + rng.normal(size=400) * 0.1, common
    paired = paired_difference(first, second)
    alone = bootstrap(first)
    assert paired.low > 0
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_identical_texts_score_full_and_foreign_ones_nothing() -> None:
    texts = ["这双跑鞋轻便透气，通勤也好穿", "这款耳机续航三十小时，出差不用愁"]
    assert bleu4(texts, texts) == pytest.approx(100)
    assert chrf(texts, texts) == pytest.approx(100)
    assert rouge_l(texts, texts) == pytest.approx(100)
    assert rouge_l(["完全无关"] * 2, texts) == 0
    assert rouge_l(["", texts[1]], texts) == pytest.approx(50)


def test_bleu_agrees_with_a_hand_count() -> None:
    # 4 characters, precisions 3/4, 2/3, 1/2 and a smoothed 1/(2*1): (3/4 * 2/3 * 1/2 * 1/2) ** (1/4)
    assert bleu4(["甲乙丙戊"], ["甲乙丙丁"]) == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)


def test_distinct_counts_characters_over_all_texts() -> None:
    assert distinct(["甲乙甲", "甲乙"], 1) == pytest.approx(2 / 5)
    assert distinct(["甲乙甲", "甲乙"], 2) == pytest.approx(2 / 3)
    assert unique_share(["甲", "甲", "乙"]) == pytest.approx(2 / 3)
    assert repeated_share(["甲乙丙丁甲乙丙丁", "甲乙丙丁戊"]) == 0.5


def test_div_by_counting_equals_div_by_pairs() -> None:
    rng = np.random.default_rng(2)
    sets = [set(map(str, rng.choice(12, rng.integers(0, 6)))) for _ in range(40)]
    assert feature_diversity(sets) == pytest.approx(feature_diversity_by_pairs(sets))


def test_fmr_and_fcr_follow_their_definitions() -> None:
    assert feature_matching_ratio(["good strings", "nice sound"], ["strings", "price"]) == 0.5
    assert feature_coverage_ratio([{"a"}, {"b", "x"}], {"a", "b", "c", "d"}) == 0.5


def test_c2st_tells_different_texts_and_not_the_same_source() -> None:
    rng = np.random.default_rng(3)
    draw = lambda words: ["".join(rng.choice(words, 12)) for _ in range(120)]  # noqa: E731
    assert c2st_auc(draw(list("甲乙丙丁")), draw(list("甲乙丙丁"))) == pytest.approx(0.5, abs=0.15)
    assert c2st_auc(draw(list("甲乙丙丁")), draw(list("甲乙丙丁戊"))) > 0.9


def test_sentence_bleu_smooths_each_order_without_a_match_by_half_of_the_last() -> None:
    # 甲乙丙戊: precisions 3/4, 2/3, 1/2 and, for the first order without a match, 1/2 of a match among one
    assert sentence_bleu4(["甲乙丙戊"], ["甲乙丙丁"]) == pytest.approx(100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25)
    # 甲乙戊己: 2/4, 1/3, then 1/2 and 1/4 of a match among two and one
    assert sentence_bleu4(["甲乙戊己"], ["甲乙丙丁"]) == pytest.approx(100 * (2 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4)) ** 0.25)
    # half as long as the human text: exp(1 - 4/2); its orders 3 and 4 have no run at all
    assert sentence_bleu4(["甲乙"], ["甲乙丙丁"]) == pytest.approx(100 * (1 * 1 * 1 / 2 * 1 / 4) ** 0.25 * np.exp(-1))
    assert sentence_bleu4(["戊", "甲乙丙丁"], ["甲乙丙丁"] * 2) == pytest.approx(50)
