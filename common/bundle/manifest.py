"""What a bundle says about itself, and the id that follows from it. Knows no file system, no model and no clock."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, JsonValue, model_validator

from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.domain.context import Context
from common.domain.decoding import DecodingParams

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
ADAPTER_CONFIG = "adapter/adapter_config.json"
ADAPTER_WEIGHTS = "adapter/adapter_model.safetensors"
DISCRIMINATOR_CONFIG = "discriminator.json"
DISCRIMINATOR_WEIGHTS = "discriminator.safetensors"
CONTROLS = "pack/controls.json"
FACTS = "pack/facts.json"
REPORT = "report/"
"""Files below are for people: verified like all others, and left out of the bundle id."""

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Projections an adapter may change. Embedding and head are not among them: engines share those between adapters."""
MAX_RANK = 256


class BaseRef(Frozen):
    source: str = Field(min_length=1, description="where the base was read from when this was trained; not part of the bundle id")
    digest: Sha256
    tokenizer_digest: Sha256
    licence: str = Field(min_length=1, description="SPDX id or name of the terms (Apache-2.0, Gemma Terms of Use)")


AdapterKind = Literal["lora", "bottleneck"]


class AdapterRef(Frozen):
    kind: AdapterKind = Field("lora", description="as it lies in the bundle; how it was trained (AdaLoRA is a LoRA here), `origin` says")
    rank: int = Field(ge=1, le=MAX_RANK, description="of both matrices; width of a bottleneck")
    alpha: float = Field(gt=0, description="the product of both matrices is scaled by alpha / rank; equal to rank for a bottleneck")
    targets: tuple[str, ...] = Field(min_length=1, description="projections with an adapter, sorted")

    @model_validator(mode="after")
    def _unscaled(self) -> Self:
        if self.kind == "bottleneck" and self.alpha != self.rank:
            raise ValueError(f"alpha: got {self.alpha:g} with a bottleneck of width {self.rank}; nothing scales it, so both are equal")
        return self


class PackRef(Frozen):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    controls_digest: Sha256
    facts_digest: Sha256
    vocabulary: dict[str, tuple[str, ...]] = Field(description="control -> its values, for people; the digest decides")
    policy_version: str = Field(description="policy under which the metrics were measured; serving applies its own")


class Answering(Frozen):
    """How texts were drawn and accepted when the metrics were measured; serving does the same."""

    decoding: DecodingParams
    k: int = Field(ge=1, le=64, description="candidates a request")
    max_attempts: int = Field(ge=1, le=16, description="rounds of k candidates before a template")
    threshold: float = Field(ge=0, le=1, description="least discriminator score that is accepted; 0 accepts every score")


class Metric(Frozen):
    value: float
    low: float | None = Field(None, description="95 % interval; None where none was computed")
    high: float | None = None
    num: int = Field(ge=0, description="rows it was measured on")
    better: Literal["higher", "lower", "neither"] = Field("higher", description="neither: reported, compared with nothing")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if (self.low is None) != (self.high is None) or (self.low is not None and self.high is not None and self.low > self.high):
            raise ValueError(f"interval: got [{self.low}, {self.high}]; expected low <= high, or neither")
        return self


class Risk(Frozen):
    """Whether the threshold keeps P(bad | accepted) <= alpha with confidence 1 - delta for requests like those it was tested on, over the
    whole procedure that answers: k candidates, checks, the discriminator's best, all attempts. Bad is what `labels` said is bad."""

    rule: Literal["learn_then_test", "quantile"] = Field("quantile", description="what made the threshold that is served")
    controlled: bool = False
    why: str | None = Field(None, description="why the risk is not controlled")
    labels: Literal["people", "evaluator", "none"]
    alpha: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, lt=1)
    min_acceptance: float = Field(ge=0, le=1, description="share of the requests that a threshold has to accept")
    threshold: float | None = Field(None, ge=0, le=1, description="least score for which the risk is kept")
    num_requests: int = Field(0, ge=0, description="calibration requests whose texts were labelled")
    num_accepted: int = Field(0, ge=0, description="of them; of a risk that is not controlled at the strictest threshold tried")
    num_bad: int = Field(0, ge=0, description="of the accepted")
    bound: float | None = Field(None, ge=0, le=1, description="of the risk from above, with confidence 1 - delta")
    design_effect: float = Field(1.0, ge=1, description="requests that weigh as one independent, since products come again")
    evaluator: dict[str, float] = Field(
        default_factory=dict, description="how well whoever said what is bad sees spoilt texts; of people none"
    )
    realised: Metric | None = Field(
        None, description="share of bad among the answers accepted on test, by the ground truth; decides nothing"
    )


class Calibration(Frozen):
    """How temperature, offset and threshold were found."""

    temperature: float = Field(1.0, gt=0, description="the raw score, less the offset, is divided by it")
    offset: float = Field(0.0, description="raw score, nats, of a text that is as likely right as wrong")
    num_examples: int = Field(0, ge=0)
    measures: dict[str, float] = Field(default_factory=dict, description="ece, auc, accepted share, precision at the threshold, ...")
    risk: Risk | None = Field(None, description="null: a bundle from before risks were tested")


class DataRef(Frozen):
    digest: Sha256 = Field(description="of the snapshot that was trained on")
    licences: tuple[str, ...] = Field(min_length=1)
    test_digest: Sha256 | None = Field(None, description="of the rows the metrics were measured on; other rows, other numbers")
    num_examples: int = Field(ge=0)


class StudyRef(Frozen):
    """The search that this configuration won, with what it was held against. All figures are of validation, the winner's chosen for being
    high: what the bundle is worth say its metrics, on test."""

    name: str
    digest: Sha256 = Field(description="of the study's configuration")
    num_trials: int = Field(ge=1, description="that the winner was chosen from, early-stopped ones included")
    num_stopped_early: int = Field(ge=0)
    objective: str = Field(description="what was maximised")
    values: dict[str, JsonValue] = Field(description="searched field -> the winner's value")
    winner: float | None = Field(description="null: no trial kept the guard rails, and the default was taken")
    default: float | None = Field(None, description="of the configuration as it stood before the search; null: it was infeasible")
    no_discriminator: float | None = Field(None, description="of the same with the discriminator's rewards weighted 0")


class Origin(Frozen):
    """What it was made from. `run` and `created_at` are not part of the bundle id."""

    config: dict[str, JsonValue] = Field(description="the training configuration, without paths and host names")
    data: DataRef
    code_version: str = Field(min_length=1, description="version of the package, or commit")
    study: StudyRef | None = Field(None, description="the search that chose the configuration; null: a person did")
    run: dict[str, str | int | float] = Field(default_factory=dict, description="circumstances: paths, resumes, durations")
    created_at: AwareDatetime | None = None


class Canary(Frozen):
    """A request with an answer, and what the model thinks of each answer token (nats, the end token included)."""

    context: Context
    text: str = Field(min_length=1)
    prompt_ids: tuple[int, ...] = Field(min_length=1)
    answer_ids: tuple[int, ...] = Field(min_length=1)
    logprobs: tuple[float, ...]
    base_logprobs: tuple[float, ...] = Field(description="what the bare base thinks: a loaded bundle must not think that")

    @model_validator(mode="after")
    def _one_number_a_token(self) -> Self:
        if not len(self.answer_ids) == len(self.logprobs) == len(self.base_logprobs):
            raise ValueError("logprobs, base_logprobs: expected one number for each of answer_ids")
        return self


class FileRef(Frozen):
    sha256: Sha256
    size_bytes: int = Field(ge=0)


class BundleManifest(Frozen):
    format: Literal[1] = 1
    bundle_id: str = Field(pattern=r"^lb-[0-9a-f]{32}$")
    base: BaseRef
    adapter: AdapterRef
    pack: PackRef
    prompt_version: int = Field(ge=1)
    frame_before: str = Field("", description="what the base's chat template puts before a prompt; empty without a template")
    frame_after: str = ""
    answering: Answering
    has_discriminator: bool
    calibration: Calibration | None = None
    metrics: dict[str, Metric] = Field(description="on the test split; empty: it was never evaluated")
    origin: Origin
    canary_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    canaries: tuple[Canary, ...] = Field(min_length=1)
    files: dict[str, FileRef] = Field(description="every file of the folder but the manifest and its signature")

    @property
    def threshold(self) -> float:
        return self.answering.threshold

    def expected_id(self) -> str:
        """The id that this content has, whatever `bundle_id` claims."""
        return bundle_id_of(self.model_dump(mode="json"))


def bundle_id_of(manifest: Mapping[str, JsonValue]) -> str:
    """lb- and 128 bits of the sha256 of the manifest's canonical JSON, without times, paths, circumstances and the report."""
    content = {name: value for name, value in manifest.items() if name != "bundle_id"}
    content["base"] = _without(content["base"], "source")
    origin = _without(content["origin"], "run", "created_at")
    content["origin"] = origin if origin.get("study") else _without(origin, "study")  # as in bundles from before there were studies
    files = content["files"]
    assert isinstance(files, dict)
    if isinstance(calibration := content["calibration"], dict) and calibration.get("risk") is None:
        content["calibration"] = _without(calibration, "risk")  # as in bundles from before risks were tested
    content["files"] = {path: file for path, file in files.items() if not path.startswith(REPORT)}
    return f"lb-{sha256_bytes(canonical_json(content))[:32]}"


def _without(value: JsonValue, *names: str) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return {name: item for name, item in value.items() if name not in names}
