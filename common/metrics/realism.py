"""Whether a fresh classifier can tell generated text from human text (C2ST)."""

from collections.abc import Sequence

import numpy as np

from common.metrics.calibration import auc_interval
from common.metrics.intervals import Interval


def c2st(real: Sequence[str], generated: Sequence[str], *, folds: int = 5, seed: int = 0) -> Interval:
    """Classifier two-sample test (Lopez-Paz & Oquab 2017): AUC, out of fold, with DeLong's interval; .5 is indistinguishable.

    The classifier is a logistic regression over character 1-3-grams. The interval is of these texts under classifiers that read this many;
    it says nothing of what more texts would teach one.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    texts = [*real, *generated]
    labels = np.array([1] * len(real) + [0] * len(generated))
    scores = np.zeros(len(texts))
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(texts, labels):
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), min_df=2, sublinear_tf=True)
        model = LogisticRegression(max_iter=1000).fit(vectorizer.fit_transform([texts[i] for i in train]), labels[train])
        scores[test] = model.decision_function(vectorizer.transform([texts[i] for i in test]))
    return auc_interval(scores[labels == 1], scores[labels == 0])


def c2st_auc(real: Sequence[str], generated: Sequence[str], *, folds: int = 5, seed: int = 0) -> float:
    """The value of `c2st` alone."""
    return c2st(real, generated, folds=folds, seed=seed).value
