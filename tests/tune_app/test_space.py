import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from common.errors import ConfigError
from tune_app.space import distributions, trial_config


def test_fields_are_drawn_as_what_they_are(study) -> None:
    space = distributions(study)
    assert space["adversarial.kl_weight"] == FloatDistribution(0.005, 0.2, log=True)
    assert space["sft.patience"] == IntDistribution(1, 5)
    assert space["lora.rank"] == CategoricalDistribution((8, 16))


def test_a_trial_is_the_training_with_the_drawn_values_and_nothing_else(study) -> None:
    assert trial_config(study, study.default) == study.train
    drawn = trial_config(study, {"lora.rank": 8, "adversarial.weights.realism": 0.0})
    assert (drawn.lora.rank, drawn.adversarial.weights.realism) == (8, 0.0)
    assert drawn.sft == study.train.sft


def test_values_that_do_not_fit_together_are_refused(study) -> None:
    with pytest.raises(ConfigError, match="throttle_low must lie below"):
        trial_config(study, {"adversarial.throttle_low": 0.9})
