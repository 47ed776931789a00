"""From a study's space to what Optuna draws from, and from a drawn point to the configuration of a trial. Knows no Ray."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import JsonValue

from common.config import parse
from train_app.config import TrainConfig
from tune_app.config import Dimension, OneOf, TuneConfig


def distributions(config: TuneConfig) -> dict[str, BaseDistribution]:
    """A field whose default is a whole number is drawn as one."""
    return {name: _distribution(dimension, whole=isinstance(config.default[name], int)) for name, dimension in config.space.items()}


def _distribution(dimension: Dimension, *, whole: bool) -> BaseDistribution:
    if isinstance(dimension, OneOf):
        return CategoricalDistribution(dimension.choices)
    if whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def trial_config(config: TuneConfig, values: Mapping[str, JsonValue]) -> TrainConfig:
    """`config.train` with the drawn values. Raises ConfigError for values that do not fit together."""
    content = config.train.model_dump(mode="json")
    for dotted, value in values.items():
        *parents, leaf = dotted.split(".")
        node = content
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return parse(content, TrainConfig, source=f"trial of study {config.name}")
