"""From a configuration to the workbench: snapshot, pack, base, splits, engine. Reads files; trains nothing."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch

from common.artifacts.digest import canonical_json, sha256_bytes
from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.decoding import DecodingParams
from common.errors import BadInput, BadRow
from common.features.snapshot import Snapshot
from common.generation.candidates import room_for
from common.generation.hf import HfEngine
from common.language.base_model import LanguageModel, has_bf16, load_base
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.config import TrainConfig
from train_app.data.examples import Example, RowProblem, examples
from train_app.data.rehearsal import num_old, parted, rehearsed
from train_app.data.split import Splits, split
from train_app.data.traits import every_value
from train_app.evaluation.changes import changed
from train_app.evaluation.truth import truth_of
from train_app.runtime.continuing import first_adapter
from train_app.stages.discriminator.risk import requests
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy
from train_app.stages.sft import length
from train_app.stages.workbench import Workbench

PROBLEMS_SHOWN = 5
ROUNDED_TO = 32
"""The engine's buffers are as long as the longest prompt and answer need, rounded up to this many tokens."""


def pack_digest(config: TrainConfig) -> str:
    """Of what a run reads of its pack: its traits where a reward hangs on them. Raises ConfigError."""
    pack = load_pack(config.data.pack)
    return sha256_bytes(canonical_json([pack.digest, pack.traits.digest])) if config.adversarial.weights.fairness else pack.digest


def open_workbench(
    config: TrainConfig, *, inputs: str, parallel: Parallel, old: Callable[[Splits], Sequence[Example]] | None = None
) -> Workbench:
    """The same on every worker. `old`: what a bundle wrote again for rehearsal, given the new rows.

    Raises what the files deserve: BadInput, ConfigError, ArtifactNotFound, UnsupportedModel.
    """
    torch.set_num_threads(config.runtime.threads_per_worker)
    pack = load_pack(config.data.pack)
    splits = read_splits(config, vocabulary=pack.vocabulary, old=old)
    language = load_base(config.base.source, dtype=config.base.dtype)
    torch.nn.Module.to(language.model, parallel.device)
    policy = Policy(
        language,
        kind=config.adapter,
        rank=config.lora.rank,
        alpha=config.lora.alpha,
        dropout=config.lora.dropout,
        bottleneck=config.bottleneck,
        steps=length(config.sft, num_rows=len(splits.train)).total,
        seed=int(inputs[:12], 16) + config.seed,
    )
    if config.continued.bundle is not None:
        policy.load(first_adapter(config))
    if config.runtime.gradient_checkpointing:
        policy.recompute_layers()
    if parallel.device.type == "cpu":
        # 1.25 times the rate of sdpa, whose forward pass takes a fifth of a step of the starter base.
        policy.language.model.set_attn_implementation("eager")
    decoding = DecodingParams(max_new_tokens=config.decoding.max_new_tokens, temperature=config.rollout_temperature)
    parts = (splits.train, splits.discriminator, splits.validation, splits.calibration, splits.test)
    contexts = [example.context for part in parts for example in part]
    if config.calibration.labels != "none":
        asked = requests(splits.calibration, vocabulary=pack.vocabulary, num=config.calibration.requests, seed=inputs)
        contexts += [example.context for example in asked]
    contexts += changed(splits.test[: config.evaluation.rows], traits=pack.traits, num=config.evaluation.changes)
    if config.adversarial.weights.fairness:
        if not pack.traits.traits:
            raise BadInput(f"adversarial.weights.fairness: pack {pack.name} has no traits that a reason should not hang on (traits.yaml)")
        contexts += every_value((example.context for example in splits.discriminator[: config.discriminator.rows]), pack.traits)
    return Workbench(
        run=inputs,
        policy=policy,
        engine=engine_for(policy.merged, contexts, decoding=decoding, vocabulary=pack.vocabulary, slots=config.runtime.slots),
        checker=Checker(pack, threshold=0.0),
        vocabulary=pack.vocabulary,
        splits=splits,
        decoding=decoding,
        served=config.decoding,
        parallel=parallel,
        discriminator=config.discriminator,
        bf16=config.runtime.bf16 and has_bf16(parallel.device.type),
        checkpoint_every=config.runtime.checkpoint_every,
        truth=truth_of(config.evaluation.truth) if "truth" in (config.filtering.select_by, *config.filtering.drawn_for) else None,
        micro_batch=config.runtime.micro_batch,
    )


def read_splits(config: TrainConfig, *, vocabulary: ControlVocabulary, old: Callable[[Splits], Sequence[Example]] | None = None) -> Splits:
    """The snapshot's annotated reasons, split by product, with the old rows that are rehearsed among them. Where a bundle has yet to write
    those (`old` None), new rows stand in for them, so that they can be counted. Raises BadInput where a split that training needs is
    empty, BadRow that names all rows which cannot be learnt from."""
    splits = _of_snapshot(config, config.data.snapshot, vocabulary=vocabulary)
    splits = replace(splits, train=splits.train[: config.data.max_train_rows])
    empty = [name for name in ("train", "discriminator", "validation", "calibration", "test") if not getattr(splits, name)]
    if empty:
        raise BadInput(f"{config.data.snapshot}: no annotated reason falls into {', '.join(empty)}; import more products with reasons.")
    if config.continued.bundle is None or not config.continued.share:
        return splits
    if config.continued.snapshot is not None:
        known = _of_snapshot(config, config.continued.snapshot, vocabulary=vocabulary)
    else:
        known = parted(old(splits) if old is not None else _stand_ins(splits, share=config.continued.share))
    together = rehearsed(splits, known, share=config.continued.share)
    if len(together.train) == len(splits.train):
        raise BadInput(
            f"continued.snapshot: no training row of {config.continued.snapshot or 'what the bundle wrote'} can be rehearsed beside the "
            "new ones: none passed the verdict, or they are the same, or of products that the new test has. Set continued.share=0 to go on "
            "without"
        )
    return together


def _stand_ins(splits: Splits, *, share: float) -> list[Example]:
    wanted = num_old(len(splits.train) + len(splits.validation), share=share)
    rows = itertools.islice(itertools.cycle(splits.train), wanted)
    return [replace(row, example_id=f"old {number}") for number, row in enumerate(rows)]


def _of_snapshot(config: TrainConfig, snapshot: str, *, vocabulary: ControlVocabulary) -> Splits:
    problems: list[RowProblem] = []
    splits = split(examples(Snapshot.open(snapshot), vocabulary=vocabulary, problems=problems), held_out=config.data.held_out)
    if problems:
        shown = "".join(f"\n  product {one.product_id}: {one.problem}" for one in problems[:PROBLEMS_SHOWN])
        raise BadRow(
            f"{snapshot}: {len(problems)} annotated reasons cannot be learnt from; correct them, or map their labels with "
            f"`liyou data import --map`. The first of them:{shown}"
        )
    return splits


def engine_for(
    language: LanguageModel, contexts: Iterable[Context], *, decoding: DecodingParams, vocabulary: ControlVocabulary, slots: int
) -> HfEngine:
    """With room for every context's prompt and answer."""
    room = room_for(contexts, language=language, vocabulary=vocabulary, max_new_tokens=decoding.max_new_tokens)
    wanted = -(-room // ROUNDED_TO) * ROUNDED_TO
    return HfEngine(language.model, eos_ids=[language.eos_id], max_len=min(wanted, language.max_len), slots=slots, keep_features=True)
