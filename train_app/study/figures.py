"""What is kept of a seed: for every arm its outcomes prompt by prompt, so that any two can be paired later, and its figures."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from common.config import Frozen
from common.domain.decoding import DecodingParams

SAMPLED, DECODED, CHOSEN = "sampled", "decoded", "chosen"
"""How texts were taken: one at temperature 1; one under the arm's own decoding; the discriminator's best of k under that decoding."""

DRAWN = "drawn"
"""What the stages are called by which arms share their samples."""


class Bits(Frozen):
    """Yes or no for each of `n` prompts, in their order, as hexadecimal digits."""

    n: int = Field(ge=0)
    hex: str

    @classmethod
    def of(cls, outcomes: Sequence[bool]) -> "Bits":
        return cls(n=len(outcomes), hex=np.packbits(np.asarray(outcomes, bool)).tobytes().hex())

    @property
    def array(self) -> NDArray[np.bool_]:
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.hex), np.uint8), count=self.n).astype(bool)

    @property
    def share(self) -> float:
        return float(self.array.mean()) if self.n else 0.0


class Texts(Frozen):
    """A set of texts, one a prompt. `outcomes`: success (checks pass and the truth finds nothing), checks, and where there is a truth
    judge_clean (none of the faults that no check sees) and hallucinated (says something of the product that is not so)."""

    outcomes: dict[str, Bits]
    figures: dict[str, float] = Field(
        description="overlap, diversity, realism, use of attributes, as train_app/evaluation/measures names them"
    )
    by_code: dict[str, float] = Field(default_factory=dict, description="control=value -> share of success")


class Searched(Frozen):
    """A decoding on validation."""

    decoding: DecodingParams
    joint: float
    distinct_2: float = Field(description="against real validation texts")


class Shown(Frozen):
    product: str
    controls: dict[str, str]
    text: str
    success: bool


class ArmResult(Frozen):
    run: str
    selected: str = Field(description="candidate that selection on validation took; sft: nothing was better")
    policy: str = Field(description="candidate that is measured: the last that a round left; sft where none did")
    core_seconds: dict[str, float] = Field(
        description="stage -> processor seconds since the start; stages that were shared with other arms are named so and counted whole"
    )
    validation: dict[str, dict[str, float]] = Field(description="candidate -> its figures on validation: the learning curve")
    discriminator: dict[str, list[float]] = Field(
        default_factory=dict, description="stage -> mean D(fake), or AUC against samples, step by step"
    )
    search: list[Searched]
    decoding: DecodingParams
    varied: bool = Field(description="whether a decoding kept the study's distinct_floor on validation; else the most varied was taken")
    texts: dict[str, Texts] = Field(description="how they were taken -> texts")
    measuring_core_seconds: float = 0.0
    auc: float | None = Field(
        None, description="the start's discriminator, judge-broken against judge-clean among sampled texts that pass the checks"
    )
    likelihood_auc: float | None = Field(None, description="the same of the samples' own log-likelihood")
    reliability: list[tuple[float, float, int]] = Field(
        default_factory=list, description="(mean score of the start's discriminator, calibrated; share clean, texts) by bin of score"
    )
    shown: list[Shown] = Field(default_factory=list)

    @property
    def figures(self) -> dict[str, float]:
        """All that a bar may ask: TAKEN.NAME, auc, likelihood_auc; made, varied: 1 where a round left a policy, a decoding was varied."""
        found = {f"{taken}.{name}": bits.share for taken, texts in self.texts.items() for name, bits in texts.outcomes.items()}
        found |= {f"{taken}.{name}": value for taken, texts in self.texts.items() for name, value in texts.figures.items()}
        found |= {"made": float(self.policy != "sft"), "varied": float(self.varied)}
        return found | {name: value for name in ("auc", "likelihood_auc") if (value := getattr(self, name)) is not None}


class SeedResult(Frozen):
    """One seed with all its arms: the unit that is resumed, and kept."""

    study: str = Field(description="digest of the configuration")
    data: str = Field(description="digest of the snapshot")
    base: str = Field(description="digest of the base")
    start: str = Field(description="digest of the shared start: configuration, data, base, pack, prompt, seed")
    seed: int
    commit: str
    machine: str
    seconds: float = Field(description="wall clock of the attempt that ended it; one that was killed before is not in it")
    start_core_seconds: dict[str, float] = Field(
        description="stage of the shared start -> processor seconds, the first worker's times their number"
    )
    prompts: list[str] = Field(description="example ids of the test rows, in the order of all outcomes")
    reference: Texts = Field(description="what people wrote for the same prompts")
    arms: dict[str, ArmResult]

    @property
    def core_minutes(self) -> float:
        """Of trainings and measuring, kills included, shared stages once; what a killed stage did after its last checkpoint is not."""
        stages = [(stage, seconds) for one in self.arms.values() for stage, seconds in one.core_seconds.items()]
        shared = {one for one in stages if one[0].startswith(DRAWN)}
        own = [seconds for stage, seconds in stages if not stage.startswith(DRAWN)]
        measuring = [one.measuring_core_seconds for one in self.arms.values()]
        return sum([*self.start_core_seconds.values(), *(seconds for _, seconds in shared), *own, *measuring]) / 60
