"""Every setting of training, with its unit, its default and why. Holds no logic but checks of what fits together.

The brief asks for learning rate 2e-4, 100 epochs with early stopping and batch 32; where a default differs, its description says why.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from common.config import Frozen
from common.domain.decoding import DecodingParams
from common.domain.token_features import DiscriminatorKind
from train_app.runtime.config import RuntimeConfig

DiscriminatorLoss = Literal["bce", "hinge", "bt", "wgan"]
SelectBy = Literal["discriminator", "likelihood", "first", "truth"]
GeneratorMode = Literal["policy_gradient", "gumbel"]
AdapterKind = Literal["lora", "adalora", "bottleneck"]
FEWEST_ALLOCATING = 10
"""SFT steps in which AdaLoRA can warm up, take ranks away and settle."""
MOST_ADALORA = 170
"""Mean rank of AdaLoRA whose first rank a bundle still takes."""


class DataConfig(Frozen):
    snapshot: str = Field(description="folder or s3:// name of the snapshot, as `liyou data build` printed it")
    pack: str = Field("shop", description="name of a packaged business domain, or a folder that holds one")
    max_train_rows: int | None = Field(None, ge=1, description="train on this many rows, taken in the split's order; None takes all")
    held_out: float = Field(
        1 / 3, ge=0, lt=1, description="share of the code combinations that only the test rows have, where rows ask for no split; 0: none"
    )
    licence: str = Field("unstated", description="licence of the training texts, as the bundle's manifest names it")


class BaseConfig(Frozen):
    source: str = Field("starter", description='"starter", a Hugging Face id, a folder, a .gguf file or an s3:// URI')
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the frozen weights; adapters are fp32 always")
    licence: str = Field("unstated", description="licence of the base, as the bundle's manifest names it")


class LoraConfig(Frozen):
    """Of the adapters lora and adalora."""

    rank: int = Field(16, ge=1, le=256, description="adalora: the mean over all layers at the end; it begins with half as much again")
    alpha: int = Field(32, ge=1, description="the update is scaled by alpha / rank, of adalora by alpha over the rank it begins with")
    dropout: float = Field(0.05, ge=0, lt=1, description="on the adapters' inputs, in SFT and on cross-entropy")


class BottleneckConfig(Frozen):
    """Of the adapter bottleneck."""

    size: int = Field(64, ge=1, le=256, description="width of the inner layer")
    places: Literal["pfeiffer", "houlsby"] = Field(
        "pfeiffer", description="behind the feed-forward part of each layer; houlsby: behind attention as well"
    )


class ContinueConfig(Frozen):
    bundle: str | None = Field(
        None,
        description="bundle whose adapter SFT begins with: a folder, or s3://BUCKET/REGISTRY/VERSION; `--from` sets it. None: a new one",
    )
    snapshot: str | None = Field(
        None,
        description="what the bundle was trained on, for rehearsal. None: the bundle writes texts again, about the products of "
        "data.snapshot that have no reason, and those that pass its verdict are rehearsed",
    )
    share: float = Field(0.3, ge=0, lt=1, description="of the rows trained on that are old; 0 rehearses nothing")

    @model_validator(mode="after")
    def _of_a_bundle(self) -> Self:
        if self.snapshot is not None and self.bundle is None:
            raise ValueError(f"snapshot: got {self.snapshot!r} and no bundle to go on from; set bundle as well (`--from BUNDLE`)")
        return self


class SftConfig(Frozen):
    learning_rate: float = Field(2e-4, gt=0, description="peak; the brief's. Bases under ten million parameters want 1e-3 (pilot)")
    max_epochs: int = Field(100, ge=1, description="the brief's; early stopping ends it long before")
    patience: int = Field(3, ge=1, description="validations without a better cross-entropy before SFT stops")
    batch_size: int = Field(32, ge=1, description="rows in an optimiser step, over all workers; the brief's")
    max_steps: int | None = Field(
        None, ge=1, description="optimiser steps at most; a budget in steps, since one in seconds cannot resume to the bit"
    )
    evaluate_every: int | None = Field(None, ge=1, description="steps between validations; None is once an epoch")
    validation_rows: int = Field(500, ge=1, description="rows of the validation split that measure cross-entropy")
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps over which the rate rises; then it follows a cosine to a tenth")
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    code_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of rows that are read without codes, so that guidance has a free branch"
    )


class DiscriminatorStageConfig(Frozen):
    kind: DiscriminatorKind = Field(
        "features",
        description="features: CNN over the generator's token features. ids: the same CNN over token ids, a control that sees little. "
        "lora_head: LoRA and a scalar head on the base, for bases from 0.5 B on; serving then keeps the base beside the checks",
    )
    loss: DiscriminatorLoss = Field("bce", description="see stages/adversarial/losses.py for the formulas")
    channels: int = Field(96, ge=8)
    dropout: float = Field(0.2, ge=0, lt=1)
    rows: int = Field(2000, ge=8, description="rows of the discriminator split, which the generator never reads, at most")
    fakes_per_row: int = Field(2, ge=1, description="samples of the generator for each row")
    steps: int = Field(300, ge=1)
    refresh_steps: int = Field(100, ge=1, description="steps when it is fitted again to a generator that has changed")
    batch_size: int = Field(64, ge=2, description="real texts in a step; each comes with a sample, a perturbed and a mismatched text")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    real_target: float = Field(0.9, gt=0.5, le=1, description="one-sided label smoothing of bce")
    mismatch_weight: float = Field(0.5, ge=0, description="of perturbed and mismatched texts beside the generator's samples")
    control_weight: float = Field(0.5, ge=0, description="of the heads that read the codes off real texts")
    gradient_penalty: float = Field(0.0, ge=0, description="10 is usual with wgan (Gulrajani et al. 2017); 0 is off")
    r1: float = Field(0.0, ge=0, description="gamma of gamma / 2 |dD/dx|^2 on real texts (Mescheder et al. 2018); 1 is usual, 0 is off")
    r1_every: int = Field(16, ge=1, description="steps between two penalties, each as heavy as those it stands for (Karras et al. 2020)")
    spectral_norm: bool = Field(False, description="divide every weight matrix by its largest singular value (Miyato et al. 2018)")
    lora_rank: int = Field(8, ge=1, le=256, description="of kind lora_head; its update is scaled by 2, alpha over rank")
    evaluate_every: int = Field(25, ge=1, description="steps between measurements on held-out rows; the best is kept")
    held_out: float = Field(0.15, gt=0, lt=1, description="share of the rows that measure AUC")
    abort_auc: float = Field(
        0.55, ge=0, lt=1, description="below it against samples and perturbed texts alike there is nothing to learn; 0: go on all the same"
    )

    permuted_labels: bool = Field(
        False,
        description="leave to chance which of a context's texts counts as the real one: a study's null, never for a bundle that is served",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        steep = [name for name in ("gradient_penalty", "r1", "spectral_norm") if getattr(self, name)]
        if self.kind == "lora_head" and steep:
            raise ValueError(
                f"discriminator.{steep[0]}: got {getattr(self, steep[0])} with kind lora_head; it bounds the network behind its inputs, "
                f"which here is the base itself. Leave {steep[0]} out, or take kind features or ids"
            )
        if self.loss == "wgan" and self.kind == "lora_head":
            raise ValueError(
                "discriminator.loss: got wgan with kind lora_head; a Wasserstein distance wants a critic of bounded slope, and nothing "
                "bounds the base's. Take loss bce, hinge or bt, or kind features or ids"
            )
        if self.loss == "wgan" and not steep:
            raise ValueError(
                "discriminator.loss: got wgan with nothing that bounds the critic's slope; set gradient_penalty (10 is usual), "
                "spectral_norm or r1"
            )
        if self.r1 and self.gradient_penalty:
            raise ValueError(
                f"discriminator.r1: got {self.r1} beside gradient_penalty {self.gradient_penalty}; one pulls slopes to 0, the other to 1. "
                "Keep one of them"
            )
        return self


class RewardWeights(Frozen):
    realism: float = Field(1.0, ge=0, description="non-saturating reward of the discriminator")
    codes: float = Field(0.25, ge=0, description="log-probability of the asked codes under the discriminator's heads")
    controls: float = Field(1.0, ge=0, description="whether the controls check passes")
    facts: float = Field(1.0, ge=0, description="share of claims that the context supports")
    compliance: float = Field(1.0, ge=0, description="whether the lexicon finds nothing")
    form: float = Field(0.5, ge=0, description="share of the other checks (length, language, repetition) that pass")
    fairness: float = Field(
        0.0,
        ge=0,
        description="minus the nats by which a sample is likelier for its user than for one of another gender, age, … (traits.yaml)",
    )
    variety: float = Field(0.25, ge=0, description="minus one for a near-copy of another sample of the same prompt")


class AdversarialConfig(Frozen):
    mode: GeneratorMode = Field(
        "policy_gradient",
        description="policy_gradient: on rewards. gumbel: through the discriminator by straight-through Gumbel-softmax, the literal GAN; "
        "rewards other than realism are then logged and teach nothing",
    )
    rounds: int = Field(1, ge=0, description="a candidate for selection is kept after each; 0 leaves the stage out")
    steps_per_round: int = Field(60, ge=1)
    prompts: int = Field(16, ge=1, description="in a step, over all workers")
    samples: int = Field(8, ge=2, description="for each prompt; advantages are normalised within them")
    learning_rate: float = Field(5e-5, gt=0, description="a quarter of SFT's; bases under ten million parameters want 3e-4")
    max_grad_norm: float = Field(1.0, gt=0)
    weights: RewardWeights = RewardWeights()
    advantage_clip: float = Field(3.0, gt=0, description="standard deviations")
    kl_weight: float = Field(0.05, ge=0, description="of k3(policy, SFT) a token")
    ce_weight: float = Field(0.3, ge=0, description="of cross-entropy on real training rows")
    ce_rows: int = Field(16, ge=1, description="real rows in a step")
    gumbel_start: float = Field(1.0, gt=0, description="temperature of the relaxation at a round's first step (mode gumbel)")
    gumbel_end: float = Field(0.5, gt=0, description="and at its last; it falls geometrically")
    contrastive_weight: float = Field(
        0.0, ge=0, description="of the margin between a real text's likelihood here and under another code or another product; 0 is off"
    )
    contrastive_margin: float = Field(1.0, gt=0, description="nats of the whole text, beyond which a pair teaches nothing more")
    replay_size: int = Field(2048, ge=1, description="past samples that the discriminator may be shown again")
    discriminator_learning_rate: float = Field(2e-4, gt=0)
    throttle_high: float = Field(0.8, gt=0.5, le=1, description="above this accuracy (moving average) the discriminator rests")
    throttle_low: float = Field(0.5, ge=0, lt=1, description="below this accuracy its reward counts nothing: it knows less than a coin")
    throttle_certain: float = Field(
        0.98, gt=0.5, le=1, description="above this accuracy its reward counts nothing either: it says the same of every sample"
    )
    max_kl: float = Field(0.5, gt=0, description="nats a token; above it the last good state comes back")
    min_distinct: float = Field(0.85, ge=0, le=1, description="distinct bigrams (moving average) against the first step's")
    min_unique: float = Field(0.5, ge=0, le=1, description="share of different texts among a step's samples")
    min_entropy: float = Field(0.5, ge=0, le=1, description="entropy a token on its own samples against the first step's")
    min_auc: float = Field(
        0.55,
        ge=0,
        lt=1,
        description="share of pairs (moving average) in which the discriminator puts the real text above a sample, or above a wrong text, "
        "whichever is more; below it has collapsed",
    )
    collapse_patience: int = Field(
        20, ge=1, description="steps in a row below `min_auc`, or above `throttle_certain`, after which the discriminator has collapsed"
    )


class FilteringConfig(Frozen):
    rounds: int = Field(2, ge=0, description="0 leaves the stage out")
    prompts_per_round: int = Field(2000, ge=1, description="training prompts that are answered again")
    samples: int = Field(6, ge=1, description="for each prompt; the discriminator's best among those that pass the checks is kept")
    steps_per_round: int = Field(100, ge=1)
    learning_rate: float = Field(2e-4, gt=0, description="SFT's: the pilot gained most at it")
    batch_size: int = Field(32, ge=1, description="rows in an optimiser step, generated and real, over all workers")
    generated_share: float = Field(
        0.7, ge=0, le=1, description="of each batch; pilot: .7 with one kept sample a prompt. 0: no text is drawn, more cross-entropy alone"
    )
    select_by: SelectBy = Field(
        "discriminator",
        description="which of the samples that pass the checks is kept: the discriminator's best; the one whose least likely token is the "
        "likeliest; the first (checks alone); or the ground truth's (a study's ceiling: no bundle is made of it). All but the first need "
        "no discriminator, and are a study's controls",
    )
    drawn_for: tuple[SelectBy, ...] = Field(
        (), description="ways to choose for which the same samples are kept too: arms of a study draw once. No bundle is made of it"
    )
    good_enough: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="quantile of real validation texts' scores. Of the samples above it the least likely under the generator is kept, the "
        "best where none is: what is good enough, and no narrower than it has to be. null: the best. Read where a score chooses",
    )
    not_enough: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="quantile as that of good_enough, and read beside it: what lies below is as bad as what fails a check. In the sample "
        "shop 94 of 100 texts below the 5th percentile have a fault that no check sees, 72 below the 20th",
    )
    preference_weight: float = Field(
        0.0,
        ge=0,
        description="of direct preference optimisation between a kept sample and the likeliest bad one to its prompt, beside "
        "cross-entropy; 0: what is bad teaches nothing",
    )
    preference_beta: float = Field(0.1, gt=0, description="how soon a pair is far enough apart, per nat")
    real_rows: Literal["all", "passing"] = Field("all", description="passing: only training rows that pass the checks stand beside samples")
    min_acceptance: float = Field(0.05, ge=0, le=1, description="share of prompts with a kept sample below which a round is given up")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.good_enough is not None and self.not_enough > self.good_enough:
            raise ValueError(
                f"filtering.not_enough: got {self.not_enough} above good_enough {self.good_enough}; a text would be good and bad at once"
            )
        return self


class SelectionConfig(Frozen):
    prompts: int = Field(300, ge=1, description="of the validation split, one sample each")
    accept_quantile: float = Field(
        0.25, ge=0, lt=1, description="of the discriminator's scores on real validation texts: what it takes to be accepted"
    )
    standard_errors: float = Field(1.0, ge=0, description="by how many a candidate must beat SFT to be shipped instead of it")


class CalibrationConfig(Frozen):
    rows: int = Field(500, ge=8, description="of the calibration split")
    accept_quantile: float = Field(
        0.05, ge=0, lt=1, description="of calibrated scores on real texts: the threshold that is served where no risk is controlled"
    )
    labels: Literal["people", "evaluator", "none"] = Field(
        "none", description="who says which texts are bad; evaluator: of the sample shop, from its `evaluator` split"
    )
    labels_file: str | None = Field(
        None, description="of people: a .jsonl that the run writes where it is missing; fill in `bad` and start the same run again"
    )
    alpha: float = Field(0.1, gt=0, lt=1, description="P(bad | accepted) at most")
    delta: float = Field(0.1, gt=0, lt=1, description="chance, over calibrations, that the risk is above alpha all the same")
    requests: int = Field(1000, ge=1, description="that the risk is tested on: calibration products under all codes; 1,000 at least")
    min_acceptance: float = Field(0.3, ge=0, le=1, description="share of requests below which a threshold is no use")

    @model_validator(mode="after")
    def _file_of_people(self) -> Self:
        if (self.labels == "people") != (self.labels_file is not None):
            raise ValueError(
                f"labels_file: got {self.labels_file!r} with labels {self.labels}; expected a file with labels: people, and no other"
            )
        return self


class EvaluationConfig(Frozen):
    rows: int = Field(500, ge=1, description="of the test split, at most")
    candidates: int = Field(4, ge=1, le=64, description="for each row, and for each request that the bundle is served with")
    max_attempts: int = Field(2, ge=1, le=16, description="rounds of candidates before a template, as served")
    truth: Literal["sample_shop"] | None = Field(None, description="ground truth that the report asks; it decides nothing")
    changes: int = Field(0, ge=0, description="rows asked again for another user and for twins of another gender, age, …; 0 asks none")
    compare: tuple[Literal["base", "sft"], ...] = Field(
        (), description="measured on the same rows and seeds beside the bundle: one sample a row, without a discriminator"
    )


class TrainConfig(Frozen):
    """One training run. The same configuration on the same data is the same run, and resumes."""

    data: DataConfig
    out: str = Field(description="folder of runs and bundles, or s3://BUCKET/PREFIX; every worker must see it")
    seed: int = Field(0, ge=0)
    base: BaseConfig = BaseConfig()
    adapter: AdapterKind = Field(
        "lora",
        description="what is trained in the base. lora: Hu et al. 2021. adalora: LoRA whose ranks SFT moves to the layers that need them "
        "(Zhang et al. 2023); it wants sft.max_steps. bottleneck: small networks behind layers (Houlsby et al. 2019); vLLM serves none",
    )
    lora: LoraConfig = LoraConfig()
    bottleneck: BottleneckConfig = BottleneckConfig()
    continued: ContinueConfig = Field(ContinueConfig(), description="from which bundle this run goes on, and what it rehearses")
    decoding: DecodingParams = Field(DecodingParams(max_new_tokens=96), description="what the bundle is served with and evaluated at")
    rollout_temperature: float = Field(1.0, gt=0, le=2, description="of samples in training: the model's own distribution")
    sft: SftConfig = SftConfig()
    discriminator: DiscriminatorStageConfig = DiscriminatorStageConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    filtering: FilteringConfig = FilteringConfig()
    selection: SelectionConfig = SelectionConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        for field, rows in (
            ("adversarial.prompts", self.adversarial.prompts),
            ("sft.batch_size", self.sft.batch_size),
            ("selection.prompts", self.selection.prompts),
        ):
            if rows < self.runtime.num_workers:
                raise ValueError(
                    f"{field} {rows} leaves some of the {self.runtime.num_workers} workers (runtime.num_workers) without a row"
                )
        if self.adapter == "adalora" and (self.sft.max_steps or 0) < FEWEST_ALLOCATING:
            raise ValueError(
                f"adapter: got adalora with sft.max_steps {self.sft.max_steps}; ranks are shared out over a number of steps that is known "
                f"beforehand. Set sft.max_steps to {FEWEST_ALLOCATING} or more, or take adapter lora"
            )
        if self.adapter == "adalora" and self.lora.rank > MOST_ADALORA:
            raise ValueError(
                f"lora.rank: got {self.lora.rank} with adapter adalora, which begins with half as much again; at most {MOST_ADALORA}"
            )
        if "truth" in (self.filtering.select_by, *self.filtering.drawn_for) and self.evaluation.truth is None:
            raise ValueError("filtering.select_by: truth needs evaluation.truth, which names it")
        if self.adversarial.throttle_low >= self.adversarial.throttle_high:
            raise ValueError("adversarial.throttle_low must lie below throttle_high")
        if self.adversarial.throttle_certain < self.adversarial.throttle_high:
            raise ValueError(
                f"adversarial.throttle_certain: got {self.adversarial.throttle_certain}, below throttle_high "
                f"{self.adversarial.throttle_high}; a discriminator that may still learn cannot be too certain to be paid by"
            )
        if self.adversarial.gumbel_end > self.adversarial.gumbel_start:
            raise ValueError(
                f"adversarial.gumbel_end: got {self.adversarial.gumbel_end}, above gumbel_start {self.adversarial.gumbel_start}; "
                "the relaxation is sharpened, never softened"
            )
        return self
