"""Going on from a bundle: whether a run may, with which adapter it begins, and the old texts that the bundle writes again for rehearsal."""

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import orjson
from safetensors.torch import load_file
from torch import Tensor

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.storage import open_storage
from common.bundle.admission import Admitted, admit
from common.bundle.load import load_bundle
from common.bundle.manifest import ADAPTER_WEIGHTS, AdapterRef
from common.bundle.published import bundle_folder
from common.domain.context import BehaviorSummary, Context
from common.domain.controls import ControlVocabulary
from common.errors import ArtifactNotFound, BadInput, ConfigError, LiyouError, Unavailable
from common.features.snapshot import Snapshot
from common.language.base_model import source_digest
from common.packs.load import load_pack
from train_app.config import TrainConfig
from train_app.data.examples import WRITTEN_BY, Example
from train_app.data.rehearsal import num_old
from train_app.data.split import Splits, combination
from train_app.evaluation.subject import subject_of_bundle
from train_app.stages.parallel import Parallel
from train_app.stages.pool import CHUNK
from train_app.stages.state import OnProgress, Progress

STAGE = "rehearsal"
FILE = "rehearsal.jsonl"
"""Of a run: what was written again. A run that goes on reads it."""
TRIES = 3
"""Products asked about for each text that is wanted, at most: some are refused."""


def admitted(config: TrainConfig) -> Admitted:
    """The bundle that `config.continued` names. Raises what `admit` does, and ConfigError naming the field in which the run differs from
    it: an adapter goes on on its own base, in its own shape, under its own codes."""
    assert config.continued.bundle is not None
    found = admit(bundle_folder(config.continued.bundle, None))
    manifest, told = found.manifest, f"bundle {found.manifest.bundle_id}"
    if (digest := source_digest(config.base.source)) != manifest.base.digest:
        raise ConfigError(
            f"base.source: got {config.base.source} with digest {digest[:16]}; {told} was trained on {manifest.base.source} "
            f"({manifest.base.digest[:16]}). Name that base"
        )
    if (codes := load_pack(config.data.pack).controls.digest) != manifest.pack.controls_digest:
        raise ConfigError(
            f"data.pack: the controls of {config.data.pack} have digest {codes[:16]}; {told} was trained with {manifest.pack.name}'s "
            f"({manifest.pack.controls_digest[:16]}). Take that pack, or train from the base"
        )
    wanted = _fields(manifest.adapter)
    for field, value in wanted.items():
        if (got := _value(config, field)) != value:
            needed = " ".join(f"{name}={one:g}" if isinstance(one, float) else f"{name}={one}" for name, one in wanted.items())
            raise ConfigError(f"{field}: got {got}; {told} goes on with its own adapter: set {needed}")
    return found


def _fields(adapter: AdapterRef) -> dict[str, object]:
    if adapter.kind == "lora":
        return {"adapter": "lora", "lora.rank": adapter.rank, "lora.alpha": adapter.alpha}
    places = "houlsby" if "o_proj" in adapter.targets else "pfeiffer"
    return {"adapter": "bottleneck", "bottleneck.size": adapter.rank, "bottleneck.places": places}


def _value(config: TrainConfig, field: str) -> object:
    found: object = config
    for name in field.split("."):
        found = getattr(found, name)
    return found


def first_adapter(config: TrainConfig) -> dict[str, Tensor]:
    """What SFT begins with. Raises as `admitted`."""
    return load_file(admitted(config).path / ADAPTER_WEIGHTS)


def begun_with(config: TrainConfig) -> dict[str, str]:
    """What a run that goes on depends on besides configuration and data. Raises as `admitted`."""
    if config.continued.bundle is None:
        return {}
    old = Snapshot.open(config.continued.snapshot).digest if config.continued.snapshot else "written again"
    return {"bundle": admitted(config).manifest.bundle_id, "rehearsal": old if config.continued.share else "none"}


def writes_again(config: TrainConfig) -> bool:
    return config.continued.bundle is not None and config.continued.snapshot is None and config.continued.share > 0


def regenerated(config: TrainConfig, new: Splits, on_progress: OnProgress, *, place: str, parallel: Parallel) -> list[Example]:
    """Texts of the bundle that pass its verdict, about the snapshot's products that no reason is of; by the first worker, kept at `place`.

    Raises BadInput where every product has a reason: then nothing here tells what the bundle knew.
    """
    storage, error = open_storage(place), None
    if parallel.leads and not storage.exists(FILE):
        try:
            written = list(_write(config, new, on_progress))
            storage.put(FILE, b"".join(_line(one) + b"\n" for one in written))
        except LiyouError as raised:
            error = raised
    (failed,) = parallel.sum([float(error is not None)])
    if error is not None:
        raise error
    if failed:
        raise Unavailable("continued: the first worker could not write the bundle's texts again; its message says why")
    return stored(place)


def stored(place: str) -> list[Example]:
    """What was written again for the run at `place`; empty where nothing was yet."""
    try:
        return [_example(line) for line in open_storage(place).get(FILE).splitlines()]
    except ArtifactNotFound:
        return []


def _write(config: TrainConfig, new: Splits, on_progress: OnProgress) -> Iterator[Example]:
    bundle = load_bundle(Path(admitted(config).path), base=config.base.source, policy=config.data.pack)
    wanted = num_old(len(new.train) + len(new.validation), share=config.continued.share)
    asked = old_contexts(Snapshot.open(config.data.snapshot), new, vocabulary=bundle.pack.vocabulary)
    contexts = list(itertools.islice(asked, TRIES * wanted))
    if not contexts:
        raise BadInput(
            f"continued.snapshot: not given, and {config.data.snapshot} has no product without a reason that the bundle could be asked "
            "about. Name the snapshot it was trained on, or list its products in this one"
        )
    subject, made = subject_of_bundle(bundle, contexts, slots=config.runtime.slots), 0
    for start in range(0, len(contexts), CHUNK):
        part = contexts[start : start + CHUNK]
        groups = subject.writer.write(part, k=subject.policy.k, attempt=0)
        for context, group, verdicts in zip(part, groups, subject.panel.verdicts(part, groups), strict=True):
            passing = [(verdict.score or 0.0, one.text) for one, verdict in zip(group, verdicts, strict=True) if verdict.accepted]
            if passing and made < wanted:
                made += 1
                yield _written(context, max(passing)[1], bundle=bundle.manifest.bundle_id)
        on_progress(Progress(stage=STAGE, step=made, total=wanted))
        if made == wanted:
            return
    note = f"{made} of {wanted} texts passed the verdict of {bundle.manifest.bundle_id}: the share of old rows is smaller than asked"
    on_progress(Progress(stage=STAGE, step=made, total=wanted, note=note))


def old_contexts(snapshot: Snapshot, new: Splits, *, vocabulary: ControlVocabulary) -> Iterator[Context]:
    """The products without a reason in turn, under codes that are not held out, for the users that reasons were written for."""
    reasons = list(snapshot.reasons())
    known = {row.product_id for row in reasons}
    users = sorted({row.user_id for row in reasons if row.user_id is not None and snapshot.knows_user(row.user_id)})
    products = [product for product in snapshot.products() if product.product_id not in known]
    every = itertools.product(*([value.name for value in control.values] for control in vocabulary.controls))
    codes = [dict(zip([control.name for control in vocabulary.controls], each, strict=True)) for each in every]
    free = [each for each in codes if combination(each) not in new.held_out]
    rng = random.Random("old contexts")
    rng.shuffle(products)
    for _ in range(len(free)):
        for product in products:
            user = rng.choice([None, *users])
            behavior = BehaviorSummary() if user is None else snapshot.behavior(user)
            persona = None if user is None else snapshot.persona(user)
            yield Context(product=product, behavior=behavior, controls=rng.choice(free), persona=persona)


def _written(context: Context, text: str, *, bundle: str) -> Example:
    labels, product = dict(context.controls), context.product.product_id
    name = sha256_bytes(canonical_json([bundle, product, labels, text]))[:16]
    return Example(example_id=name, context=context, text=text, labels=labels, product_id=product, provenance={WRITTEN_BY: bundle})


def _line(example: Example) -> bytes:
    told = {"example_id": example.example_id, "context": example.context.model_dump(mode="json"), "text": example.text}
    return orjson.dumps({**told, "bundle": example.provenance[WRITTEN_BY]})


def _example(line: bytes) -> Example:
    told = orjson.loads(line)
    made = _written(Context.model_validate(told["context"]), told["text"], bundle=told["bundle"])
    assert made.example_id == told["example_id"], f"{FILE} was changed"
    return made
