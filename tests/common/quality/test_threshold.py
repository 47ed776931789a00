import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import BadInput
from common.quality.threshold import fit_platt, nll, probability, quantile_threshold


def sharpened(temperature: float, *, offset: float = 0.0, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times too sharp for their labels."""
    random = np.random.default_rng(7)
    honest = random.normal(0, 2, n)
    labels = (random.random(n) < 1 / (1 + np.exp(-honest))).astype(float)
    return honest * temperature + offset, labels


@pytest.mark.parametrize(("temperature", "offset"), [(0.5, 0.0), (1.0, -25.0), (30.0, 4.0)])
def test_the_temperature_and_offset_that_were_applied_are_found(temperature: float, offset: float) -> None:
    found = fit_platt(*sharpened(temperature, offset=offset))
    assert found == (pytest.approx(temperature, rel=0.05), pytest.approx(offset, abs=0.05 * temperature))


def test_no_other_temperature_or_offset_is_better() -> None:
    scores, labels = sharpened(2.0, offset=-7.0, n=5000)
    temperature, offset = fit_platt(scores, labels)
    best = nll((scores - offset) / temperature, labels)
    for other in np.geomspace(0.2, 20, 60):
        for shift in (-0.5, 0.0, 0.5):
            assert best <= nll((scores - offset - shift) / other, labels) + 1e-4  # Platt's targets are not quite the labels


def test_a_perfect_or_useless_discriminator_stays_finite() -> None:
    right, wrong = [-1.0] * 50 + [1.0] * 50, [0] * 50 + [1] * 50
    temperature, offset = fit_platt(right, wrong)
    assert (temperature, offset) == (pytest.approx(1 / np.log(51), rel=1e-3), pytest.approx(0, abs=1e-6))
    assert fit_platt(right, wrong[::-1])[0] == pytest.approx(100)
    assert fit_platt([3.0] * 4, [0, 1, 0, 1])[0] == pytest.approx(100)


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
        fit_platt([1.0, 2.0], [1, 1])
    with pytest.raises(BadInput, match="two equal"):
        nll([1.0], [1, 0])
