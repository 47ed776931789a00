import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.quality.threshold import fit_temperature, nll, probability, quantile_threshold


def sharpened(temperature: float, *, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too sharp for their labels."""
    random = np.random.default_rng(7)
    honest = random.normal(0, 2, n)
    labels = (random.random(n) < 1 / (1 + np.exp(-honest))).astype(float)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    logits, labels = sharpened(temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_is_better() -> None:
    logits, labels = sharpened(2.0, n=500)
    fitted = fit_temperature(logits, labels)
    best = nll(logits / fitted, labels)
    assert all(best <= nll(logits / t, labels) + 1e-12 for t in np.geomspace(0.06, 19, 200))


def test_a_perfect_or_useless_discriminator_ends_at_a_bound() -> None:
    assert fit_temperature([-1, 1], [0, 1]) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature([1, -1], [0, 1]) == pytest.approx(20, rel=1e-3)


def test_probability_does_not_overflow() -> None:
    assert probability([-1e6, 0, 1e6], temperature=0.05).tolist() == [0.0, 0.5, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.floats(0, 0.99))
def test_the_threshold_refuses_at_most_its_share_of_real_texts(scores: list[float], q: float) -> None:
    threshold = quantile_threshold(scores, q)
    assert sum(score < threshold for score in scores) <= q * len(scores) + 1e-6
    higher = [score for score in scores if score > threshold]
    if higher:  # and no higher one would do
        assert sum(score < min(higher) for score in scores) > q * len(scores) - 1e-6 - 1 + 0.0


@pytest.mark.parametrize(("scores", "q"), [([], 0.1), ([0.5], 1.0), ([0.5], -0.1), ([float("nan")], 0.1)])
def test_what_has_no_quantile_is_refused(scores: list[float], q: float) -> None:
    with pytest.raises(BadInput):
        quantile_threshold(scores, q)


def test_one_kind_of_label_is_refused() -> None:
    with pytest.raises(BadInput, match="one kind"):
        fit_temperature([1.0, 2.0], [1, 1])
    with pytest.raises(BadInput, match="two equal"):
        nll([1.0], [1, 0])
