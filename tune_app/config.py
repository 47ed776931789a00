"""Every setting of a study: what is searched, how long, what a candidate must not break. No logic but checks of what fits together."""

from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from common.config import Frozen
from train_app.config import TrainConfig

FIXED = (
    *("data.", "base.", "out", "seed", "selection.", "calibration.", "evaluation.", "runtime.", "decoding.max"),
    *("discriminator.kind", "discriminator.channels", "discriminator.spectral_norm", "discriminator.lora_rank"),
)
"""Fields that all trials must share: what is learnt from, what measures them, what makes one ruler fit all."""
ROUNDS = ("adversarial.rounds", "filtering.rounds")
REALISM, CODES = "adversarial.weights.realism", "adversarial.weights.codes"
"""What the discriminator pays. A study always has a trial with both at 0, so that its worth can be read off."""


class Between(Frozen):
    """A number. `log` draws its logarithm evenly, for scales such as learning rates."""

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low}, not below high, {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: low is {self.low}; a logarithm needs a number above 0")
        return self


class OneOf(Frozen):
    choices: tuple[int | float | str | bool, ...] = Field(min_length=2)


Dimension = Between | OneOf


class Rails(Frozen):
    """What a candidate must keep of SFT's, measured on the same validation rows (training.md, guard rails). Broken: infeasible."""

    checks: tuple[str, ...] = Field(("facts", "compliance"), description="checks whose share of passing texts may not fall")
    check_drop: float = Field(0.02, ge=0, description="by how much they may fall, or two standard errors of SFT's share if that is more")
    distinct_2: float = Field(0.95, ge=0, le=1, description="distinct bigrams against SFT's, at least")
    chars: float = Field(0.15, gt=0, description="mean length against SFT's, share by which it may differ")


class TuneConfig(Frozen):
    """One study. The same configuration is the same study, and `--resume` goes on with it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="of the study's folder below train.out/studies")
    train: TrainConfig = Field(description="what every trial is a change of, and the first trial itself; in a file also a preset's name")
    space: Annotated[dict[str, Dimension], Field(min_length=1)] = Field(description="field of train, dotted -> what it may be")
    num_trials: int = Field(20, ge=2, description="the two fixed ones included")
    max_concurrent: int = Field(1, ge=1, description="trials at once; each needs one logical core and its run's workers")
    startup_trials: int = Field(8, ge=0, description="drawn at random, the two fixed ones included, before TPE has something to go by")
    grace_rounds: int = Field(1, ge=1, description="rounds that every trial gets before it can be stopped")
    reduction: float = Field(3.0, gt=1, description="ASHA lets one of so many go on from a rung to the next (Li et al. 2020)")
    rails: Rails = Rails()
    seed: int = Field(0, ge=0, description="of the search; trials have train.seed")
    max_failures: int = Field(1, ge=0, description="times that a trial whose process died is tried again; it resumes from its checkpoint")

    @property
    def uri(self) -> str:
        """Where the study's own files lie: its configuration, Tune's state, starts, result and report."""
        return f"{self.train.out}/studies/{self.name}"

    @property
    def num_rounds(self) -> int:
        """Candidates that a trial makes after SFT."""
        return self.train.adversarial.rounds + self.train.filtering.rounds

    @property
    def default(self) -> dict[str, JsonValue]:
        """The trial that changes nothing."""
        return {name: _at(self.train, name) for name in self.space}

    @property
    def no_discriminator(self) -> dict[str, JsonValue]:
        """The default with the discriminator's rewards weighted 0."""
        return {**self.default, REALISM: 0.0, CODES: 0.0}

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        if not self.train.adversarial.rounds:
            raise ValueError("train.adversarial.rounds is 0; expected at least 1: without them no weighting changes anything")
        for name in (REALISM, CODES):
            dimension = self.space.get(name)
            if not isinstance(dimension, Between) or dimension.low != 0:
                raise ValueError(f"space: expected {name} with low 0: the trial without a discriminator is a point of the space")
        for name, value in self.default.items():
            if name.startswith(FIXED) or name in ROUNDS:
                raise ValueError(f"space.{name}: is shared by all trials and cannot be searched; change it under train")
            dimension = self.space[name]
            if isinstance(dimension, OneOf):
                inside = value in dimension.choices
            else:
                inside = isinstance(value, int | float) and not isinstance(value, bool) and dimension.low <= value <= dimension.high
            if not inside:
                raise ValueError(
                    f"space.{name}: train has {value!r}, outside the space; the default is always among the trials, so widen it"
                )
        return self


def _at(train: TrainConfig, dotted: str) -> JsonValue:
    node: JsonValue = train.model_dump(mode="json")
    for part in dotted.split("."):
        if not isinstance(node, dict) or part not in node:
            raise ValueError(f"space.{dotted}: no such field of train; got as far as {part!r}")
        node = node[part]
    if isinstance(node, dict | list):
        raise ValueError(f"space.{dotted}: is not a single value; name a field below it")
    return node
