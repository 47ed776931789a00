import pytest

from common.config import parse
from common.errors import ConfigError
from tune_app.config import TuneConfig


def refused(content: dict) -> str:
    with pytest.raises(ConfigError) as error:
        parse(content, TuneConfig, source="study.yaml")
    return str(error.value)


def test_the_default_and_the_trial_without_a_discriminator_are_points_of_the_space(study) -> None:
    assert study.default == {
        "adversarial.weights.realism": 1.0,
        "adversarial.weights.codes": 0.25,
        "adversarial.kl_weight": 0.05,
        "sft.patience": 3,
        "lora.rank": 16,
    }
    changed = {name for name in study.default if study.default[name] != study.no_discriminator[name]}
    assert changed == {"adversarial.weights.realism", "adversarial.weights.codes"}
    assert {study.no_discriminator[name] for name in changed} == {0.0}


@pytest.mark.parametrize(
    ("name", "dimension", "told"),
    [
        ("lora.rank", {"choices": [4, 8]}, "lora.rank: train has 16, outside the space"),
        ("sft.learning_rate", {"low": 1e-3, "high": 1e-2}, "sft.learning_rate: train has 0.0002, outside the space"),
        ("adversarial.weights.realism", {"low": 0.5, "high": 2}, "adversarial.weights.realism with low 0"),
        ("adversarial.weight.facts", {"low": 0, "high": 2}, "adversarial.weight.facts: no such field of train; got as far as 'weight'"),
        ("adversarial.weights", {"low": 0, "high": 2}, "is not a single value"),
        ("selection.prompts", {"low": 10, "high": 500}, "is shared by all trials"),
        ("adversarial.rounds", {"low": 1, "high": 3}, "is shared by all trials"),
        ("adversarial.kl_weight", {"low": 0, "high": 1, "log": True}, "a logarithm needs a number above 0"),
        ("adversarial.kl_weight", {"low": 1, "high": 0.1}, "low is 1.0, not below high, 0.1"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(content, name, dimension, told) -> None:
    content["space"][name] = dimension
    assert told in refused(content)


def test_a_study_without_adversarial_rounds_is_refused(content) -> None:
    content["train"]["adversarial"]["rounds"] = 0
    assert "without them no weighting changes anything" in refused(content)
