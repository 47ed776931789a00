"""Where a run begins whose first stages another run has gone through: SFT and the first discriminator, shared by all that differ later.

A run alone begins at nothing. Knows which fields the shared stages depend on; trains nothing.
"""

from dataclasses import replace

import ray.train
from pydantic import Field

from common.artifacts.storage import for_ray
from common.config import Frozen
from common.domain.decoding import DecodingParams
from train_app.config import (
    AdversarialConfig,
    CalibrationConfig,
    EvaluationConfig,
    FilteringConfig,
    SelectBy,
    SelectionConfig,
    TrainConfig,
)
from train_app.runtime.checkpoint import read_checkpoint
from train_app.stages.discriminator.training import GROUP
from train_app.stages.state import State
from train_app.stages.validation import SFT, STUDY_ADAPTER, STUDY_ALPHA, STUDY_RULER, STUDY_SEED, candidate

COST = "core_seconds"
"""Value of a kept state: stage -> processor seconds of the first worker until then, of this run's own stages."""
SHARED_UNTIL = "discriminator"
"""The last stage that all runs of a study share."""
DRAWN_UNTIL = "filtering 1 samples"
"""The last stage that those of them may share which choose otherwise among the same samples."""


class Checkpointed(Frozen):
    """The state that a run of another name left."""

    inputs: str = Field(description="digest of that run's configuration and data")
    path: str = Field(description="of its last checkpoint: a folder, or s3://")


class Start(Frozen):
    """`state` is gone on from. `ruler` is the start whose discriminator judges the candidates of all runs of a study: two runs whose SFT
    differs would else be measured with two rulers."""

    state: Checkpointed
    ruler: Checkpointed
    ruler_alpha: int = Field(ge=1, description="lora.alpha of the ruler's run")

    @property
    def digest(self) -> str:
        """What the further run depends on."""
        return f"{self.state.inputs} {self.ruler.inputs}"


def shared_part(config: TrainConfig) -> TrainConfig:
    """The configuration up to SHARED_UNTIL, with everything that only later stages read at its default: equal for runs that share."""
    return config.model_copy(
        update={
            "adversarial": AdversarialConfig(),
            "filtering": FilteringConfig(),
            "selection": SelectionConfig(),
            "calibration": CalibrationConfig(),
            "evaluation": EvaluationConfig(),
            "decoding": DecodingParams(max_new_tokens=config.decoding.max_new_tokens),
        }
    )


def drawn_part(config: TrainConfig, *, drawn_for: tuple[SelectBy, ...] = ()) -> TrainConfig | None:
    """The configuration up to DRAWN_UNTIL, equal for runs that draw alike, however each chooses and learns; None where a run draws nothing
    or has changed its generator before. `drawn_for`: how they choose."""
    filtering = config.filtering
    if config.adversarial.rounds or not filtering.rounds or not filtering.generated_share:
        return None
    drawn = FilteringConfig(
        rounds=1,
        select_by="first",
        drawn_for=drawn_for,
        **filtering.model_dump(include={"prompts_per_round", "samples", "good_enough", "not_enough"}),
    )
    shared = {name: getattr(config, name) for name in ("adversarial", "selection", "decoding")}
    shared["evaluation"] = EvaluationConfig(truth=config.evaluation.truth)
    return shared_part(config).model_copy(update={**shared, "filtering": drawn})


def begun(start: Start | None, *, inputs: str) -> State:
    """The state that a new run begins with."""
    if start is None:
        return State(inputs)
    state = replace(read(start.state), inputs=inputs).with_values({STUDY_SEED: start.ruler.inputs, COST: {}})
    ruler = read(start.ruler)
    if ruler.values.get("discriminator_blind"):
        return state
    state = state.with_group(STUDY_RULER, ruler.group(GROUP)).with_group(STUDY_ADAPTER, ruler.group(candidate(SFT)))
    return state.with_values({STUDY_ALPHA: start.ruler_alpha})


def read(saved: Checkpointed) -> State:
    return read_checkpoint(ray.train.Checkpoint(*for_ray(saved.path)), inputs=saved.inputs)
