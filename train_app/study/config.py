"""Every setting of a study of arms x seeds: what each arm changes, how all of them are measured, which comparisons are made."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen, merge
from common.domain.decoding import DecodingParams
from train_app.config import TrainConfig
from train_app.runtime.start import shared_part


class Arm(Frozen):
    """One way to train."""

    title: str = Field(description="what a reader of the report needs to know of it")
    changes: dict[str, JsonValue] = Field(default_factory=dict, description="fields of train that are otherwise in this arm")


class Bar(Frozen):
    """A figure that must lie in a range before arms may be compared: the task is neither easy nor hopeless."""

    arm: str = Field(description="a name among the arms, or `reference` for what people wrote")
    figure: str = Field(description="one of the arm's figures")
    low: float = 0.0
    high: float = 1.0


class StudyConfig(Frozen):
    """The same configuration is the same study; a seed's results are kept and never made twice."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")
    train: TrainConfig = Field(description="what all arms are changes of; in a file also a preset's name")
    arms: Annotated[dict[str, Arm], Field(min_length=2)]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = Field(
        description="reported on. Recipes are searched on others, which the report may name"
    )
    searched_on: tuple[int, ...] = Field((), description="seeds on which the recipe was searched; none of them may be reported on")
    method: str = Field("F", description="the arm that is asked about")
    baselines: tuple[str, ...] = Field(("A", "A'", "C"), description="the best of these is what the method must beat")
    control: str | None = Field("L", description="the method without its discriminator: selecting by the generator's own likelihood")
    verifier: str | None = Field("V", description="the checks alone")
    prompts: int = Field(2000, ge=2, description="test rows")
    best_of: int = Field(4, ge=1, description="candidates when arms are compared again with the discriminator choosing among what passes")
    best_of_prompts: int = Field(1000, ge=0, description="test rows of that comparison; 0 leaves it out")
    search_prompts: int = Field(300, ge=2, description="validation rows that choose each arm's decoding")
    decodings: Annotated[tuple[DecodingParams, ...], Field(min_length=1)] = Field(
        description="what each arm's decoding is chosen from, by joint success on validation: the checks pass and `search_by` accepts"
    )
    search_by: Literal["evaluator", "ruler"] = Field(
        "ruler",
        description="evaluator: the sample shop's, which is neither in the verdict nor the judge nor anything that an arm learns from; "
        "ruler: the first discriminator, for data without one. It finds texts better than they are where it chose what was learnt from",
    )
    distinct_floor: float = Field(
        0.95, ge=0, description="distinct bigrams against those of real validation texts, below which none is chosen"
    )
    shown: int = Field(8, ge=0, description="texts of each arm that its results and the report quote; 0 where the data is others'")
    bars: tuple[Bar, ...] = ()
    concurrent: int = Field(2, ge=1, description="arms at once; each takes a core and its run's workers")
    rounds: int = Field(10_000, ge=100, description="of the bootstrap")

    @property
    def digest(self) -> str:
        """Of what a seed's figures depend on: neither which seeds, nor where or how fast they are made, nor how they are compared."""
        content = self.model_dump(
            mode="json",
            exclude={"seeds", "searched_on", "concurrent", "rounds", "bars", "method", "baselines", "control", "verifier", "shown"},
        )
        for name in ("out", "runtime", "seed"):
            del content["train"][name]
        del content["train"]["data"]["snapshot"], content["train"]["base"]["source"], content["train"]["evaluation"]["changes"]
        return sha256_bytes(canonical_json(content))

    def arm(self, name: str, *, seed: int) -> TrainConfig:
        """The training that arm `name` is."""
        content = merge(self.train.model_dump(mode="json"), self.arms[name].changes, source=f"arms.{name}.changes")
        return TrainConfig.model_validate({**content, "seed": seed})

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        if both := set(self.seeds) & set(self.searched_on):
            raise ValueError(f"seeds: {sorted(both)} stand in searched_on too; a recipe is not reported on the seeds it was chosen by")
        named = [self.method, *self.baselines, *(name for name in (self.control, self.verifier) if name)]
        for name in [*named, *(bar.arm for bar in self.bars if bar.arm != "reference")]:
            if name not in self.arms:
                raise ValueError(f"arms: got {', '.join(self.arms)}; {name!r} is compared and must be among them")
        start = shared_part(self.train)
        for name in self.arms:
            arm = shared_part(self.arm(name, seed=self.train.seed))
            if changed := [field for field in type(arm).model_fields if getattr(arm, field) != getattr(start, field)]:
                raise ValueError(f"arms.{name}.changes: {', '.join(changed)} belong to the start that all arms share; change them in train")
        return self
