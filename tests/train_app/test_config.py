from pathlib import Path

import pytest

from common.config import load_config
from common.errors import ConfigError
from train_app.config import TrainConfig
from train_app.runtime.config import RuntimeConfig

PRESETS = sorted((Path(__file__).resolve().parents[2] / "train_app" / "configs").glob("*.yaml"))


def test_the_defaults_are_the_briefs() -> None:
    config = TrainConfig.model_validate({"data": {"snapshot": "s"}, "out": "o"})
    assert (config.sft.learning_rate, config.sft.max_epochs, config.sft.batch_size) == (2e-4, 100, 32)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_a_whole_configuration(path: Path) -> None:
    load_config(path, TrainConfig)


def test_the_presets_are_there() -> None:
    assert [path.stem for path in PRESETS] == ["advertisegen", "amazon", "demo", "kobe", "shop", "smoke", "starter"]


def test_an_unknown_key_names_file_and_field() -> None:
    with pytest.raises(ConfigError, match=r"demo\.yaml: sft\.learning_rte"):
        load_config(next(path for path in PRESETS if path.stem == "demo"), TrainConfig, ["sft.learning_rte=1e-3"])


def test_a_value_out_of_range_names_field_and_value() -> None:
    with pytest.raises(ConfigError, match=r"adversarial\.samples.*got 1"):
        load_config(PRESETS[0], TrainConfig, ["adversarial.samples=1"])


def test_a_batch_smaller_than_the_workers_is_refused() -> None:
    for field in ("sft.batch_size", "adversarial.prompts", "selection.prompts"):
        with pytest.raises(ConfigError, match=rf"{field} 1 leaves some of the 2 workers.*without a row"):
            load_config(PRESETS[0], TrainConfig, [f"{field}=1", "runtime.num_workers=2"])


def test_the_fewest_workers_are_not_more_than_there_are() -> None:
    assert RuntimeConfig(num_workers=3, min_workers=1).fewest_workers == 1
    assert RuntimeConfig(num_workers=3).fewest_workers == 3
    with pytest.raises(ValueError, match="min_workers 4 is more than num_workers 3"):
        RuntimeConfig(num_workers=3, min_workers=4)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["discriminator.loss=wgan"], r"discriminator\.loss: got wgan with nothing that bounds"),
        (["discriminator.loss=wgan", "discriminator.kind=lora_head"], r"discriminator\.loss: got wgan with kind lora_head"),
        (["discriminator.kind=lora_head", "discriminator.r1=1"], r"discriminator\.r1: got 1\.0 with kind lora_head"),
        (["discriminator.kind=lora_head", "discriminator.gradient_penalty=10"], r"discriminator\.gradient_penalty: got 10\.0"),
        (["discriminator.kind=lora_head", "discriminator.spectral_norm=true"], r"discriminator\.spectral_norm: got True"),
        (["discriminator.r1=1", "discriminator.gradient_penalty=10"], r"discriminator\.r1: got 1\.0 beside gradient_penalty"),
        (["adversarial.gumbel_end=1.5"], r"adversarial\.gumbel_end: got 1\.5, above gumbel_start"),
        (["adversarial.throttle_certain=0.7"], r"adversarial\.throttle_certain: got 0\.7, below throttle_high"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused_by_name(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(PRESETS[0], TrainConfig, overrides)


@pytest.mark.parametrize("bound", ["gradient_penalty=10", "spectral_norm=true", "r1=1"])
def test_a_wasserstein_critic_is_taken_with_any_bound_on_its_slope(bound: str) -> None:
    assert load_config(PRESETS[0], TrainConfig, ["discriminator.loss=wgan", f"discriminator.{bound}"]).discriminator.loss == "wgan"


def _fields(model) -> list[tuple[str, object]]:
    return [(f"{model.__name__}.{name}", field) for name, field in model.model_fields.items()]


def test_every_number_says_what_it_is() -> None:
    """Names that say all (rank, seed, rounds) need no description; a rate, weight or share does."""
    sections = [field.annotation for field in TrainConfig.model_fields.values() if hasattr(field.annotation, "model_fields")]
    silent = [name for model in sections for name, field in _fields(model) if field.annotation is float and not field.description]
    plain = ("top_p", "learning_rate", "weight_decay", "max_grad_norm", "dropout", "discriminator_learning_rate")
    assert [name for name in silent if not name.endswith(plain)] == []
