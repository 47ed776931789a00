"""One control's value, read off a text by a multinomial logistic regression over character n-grams. Its confidence is calibrated, and each
reading tells which n-grams weighed most. Knows texts, values and groups; no snapshot, no purpose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix, hstack, vstack
from scipy.special import logsumexp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

LENGTH = "(length)"
"""Name of the one feature that is no n-gram: characters above the mean, since some controls ask for a length."""
CHARS = 40.0
"""Characters that count as one: the feature stays about as large as an n-gram's."""
INVERSE_L2 = 1.0
"""C of the regression. Taught by 350 rows of the sample shop it reads topic and emotion of other products' rows at .99 and .87; as
tf-idf of 1-3-grams (C = 100) at .99 and .78, as mere presence of 1-3-grams at .99 and .85."""
FOLDS = 5
NUM_NGRAMS = 5
ABSENT = -30.0
"""Logit of a value that a fold's rows do not have."""
NONE = -1
"""Of a row that nothing has read yet."""
FEWEST_LEFT = 20
"""With fewer labelled rows left the temperature stays as it is."""
Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Reading:
    """`ngrams` and what each added to the value's logit, above the mean of all values; the largest first."""

    value: str
    confidence: float
    ngrams: tuple[tuple[str, float], ...]


class Ngrams:
    """Which pieces of one or two characters, of those that two of `texts` have, stand in a text; and the text's length."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._vectoriser = CountVectorizer(analyzer="char", ngram_range=(1, 2), min_df=2, binary=True, lowercase=False)
        self._vectoriser.fit(texts)
        self._mean_chars = sum(map(len, texts)) / len(texts)
        self.names = (*map(str, self._vectoriser.get_feature_names_out()), LENGTH)

    def of(self, texts: Sequence[str]) -> csr_matrix:
        """One row a text, one column a name."""
        lengths = csr_matrix(np.array([(len(text) - self._mean_chars) / CHARS for text in texts]).reshape(-1, 1))
        return hstack([self._vectoriser.transform(texts), lengths]).tocsr()


@dataclass(frozen=True, slots=True)
class LabelClassifier:
    """Softmax of (weights x + bias) / temperature."""

    values: tuple[str, ...]
    weights_VF: Matrix
    bias_V: Matrix
    temperature: float

    def probabilities(self, features: csr_matrix) -> Matrix:
        """Rows x values."""
        return _softmax(_logits(features, self.weights_VF, self.bias_V), self.temperature)

    def values_of(self, features: csr_matrix) -> list[str]:
        """The likeliest value of each row."""
        return [self.values[best] for best in self.probabilities(features).argmax(1)]

    def readings(self, features: csr_matrix, names: Sequence[str]) -> list[Reading]:
        found = []
        for row, p_V in enumerate(self.probabilities(features)):
            best = int(p_V.argmax())
            one = features[row]
            parts = (self.weights_VF[best] - self.weights_VF.mean(0))[one.indices] * one.data / self.temperature
            top = [place for place in np.argsort(-parts, kind="stable")[:NUM_NGRAMS] if parts[place] > 0]
            ngrams = ((names[one.indices[place]], round(float(parts[place]), 3)) for place in top)
            found.append(Reading(self.values[best], round(float(p_V[best]), 4), tuple(ngrams)))
        return found


@dataclass(frozen=True, slots=True)
class TrainingRound:
    """N = labelled rows. They are read out of fold, as if unlabelled: by a regression that saw no row of their group, nor a pseudo-label by
    one that did. `left` are those that no earlier round read confidently, `right` those read as people labelled them."""

    classifier: LabelClassifier
    new: Places
    """Unlabelled rows that this round is the first to read confidently."""
    confidence_N: Matrix
    left_N: Mask
    right_N: Mask


def self_train(
    features: csr_matrix,
    labels: Sequence[str],
    groups: Sequence[str],
    *,
    unlabelled: csr_matrix,
    teaches: Sequence[bool],
    confidence: float,
    rounds: int,
    seed: int = 0,
) -> Iterator[TrainingRound]:
    """In each round the rows of `unlabelled` that are read with at least this confidence get the value for good; where `teaches` says so,
    the next round learns from them too. Ends early after a round that reads nothing more. Every value needs rows of at least FOLDS groups.

    The temperature (Guo et al. 2017) minimises the negative log-likelihood out of fold of the labelled rows that are left: what is left
    unlabelled is as hard, and all rows, of which the easy ones are most, would vouch for it.
    """
    values = tuple(sorted(set(labels)))
    y_N = np.array([values.index(label) for label in labels])
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(features, y_N, groups))
    learners = [*(kept for kept, _ in folds), np.arange(len(y_N))]
    pseudo = np.full((len(learners), len(teaches)), NONE)
    left_N, temperature = np.ones(len(y_N), bool), 1.0
    for _ in range(rounds):
        fitted = []
        for kept, read in zip(learners, pseudo, strict=True):
            more = np.flatnonzero((read != NONE) & np.array(teaches, bool))
            rows, y = vstack([features[kept], unlabelled[more]]).tocsr(), np.concatenate([y_N[kept], read[more]])
            fitted.append(_regression(rows, y, num_values=len(values)))
        logits_NV = np.zeros((len(y_N), len(values)))
        for (_, held), weights in zip(folds, fitted, strict=False):
            logits_NV[held] = _logits(features[held], *weights)
        if left_N.sum() >= FEWEST_LEFT:
            temperature = _temperature(logits_NV[left_N], y_N[left_N])
        new: Places = np.array([], int)
        for read, weights in zip(pseudo, fitted, strict=True):
            p_UV = _softmax(_logits(unlabelled, *weights), temperature)
            new = np.flatnonzero((p_UV.max(1) >= confidence) & (read == NONE))
            read[new] = p_UV[new].argmax(1)
        p_N = _softmax(logits_NV, temperature).max(1)
        yield TrainingRound(LabelClassifier(values, *fitted[-1], temperature), new, p_N, left_N, logits_NV.argmax(1) == y_N)
        if not len(new):
            return
        left_N = left_N & (p_N < confidence)


def taught(features: csr_matrix, labels: Sequence[str]) -> LabelClassifier:
    """Once, by all rows, at temperature 1: for who asks which value is read, and not how sure that is. At least two values."""
    values = tuple(sorted(set(labels)))
    return LabelClassifier(values, *_regression(features, np.array([values.index(one) for one in labels]), num_values=len(values)), 1.0)


def _temperature(logits_NV: Matrix, y_N: Places) -> float:
    """Of smoothed targets, (N + 1) / (N + 2) for the right value (Platt 1999): where all N rows are read right, nothing else bounds it, and
    a text that says nothing of a control would be read as surely as one that does."""
    rows, (num_rows, num_values) = np.arange(len(y_N)), logits_NV.shape
    wrong = 1 / (num_rows + 2)

    def loss(log_temperature: float) -> float:
        scaled = logits_NV / np.exp(log_temperature)
        told = scaled - logsumexp(scaled, axis=1, keepdims=True)
        others = (told.sum(1) - told[rows, y_N]) / (num_values - 1)
        return float(-((1 - wrong) * told[rows, y_N] + wrong * others).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def _regression(features: csr_matrix, y_N: Places, *, num_values: int) -> tuple[Matrix, Matrix]:
    """Weights of the values and their biases."""
    fitted = LogisticRegression(C=INVERSE_L2, max_iter=5000).fit(features, y_N)
    weights, bias = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2:  # one row that speaks for the second value
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights_VF, bias_V = np.zeros((num_values, features.shape[1])), np.full(num_values, ABSENT)
    weights_VF[fitted.classes_], bias_V[fitted.classes_] = weights, bias
    return weights_VF, bias_V


def _logits(features: csr_matrix, weights_VF: Matrix, bias_V: Matrix) -> Matrix:
    return np.asarray(features @ weights_VF.T) + bias_V


def _softmax(logits: Matrix, temperature: float) -> Matrix:
    scaled = logits / temperature
    found: Matrix = np.exp(scaled - logsumexp(scaled, axis=1, keepdims=True))
    return found
