"""`fit`: one training run from a configuration to a bundle, on whatever Ray session is open. Knows no stage."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray.train
from pydantic import Field
from ray.train.torch import TorchConfig, TorchTrainer

from common import errors
from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.registry import pinned
from common.artifacts.storage import for_ray, is_bucket, located
from common.bundle.manifest import StudyRef
from common.config import Frozen
from common.features.snapshot import Snapshot
from common.language.base_model import STARTER, source_digest
from common.language.prompt import PROMPT_VERSION
from common.packs.load import load_pack
from common.packs.source import located as pack_located
from common.packs.source import shipped_names
from train_app.config import FilteringConfig, TrainConfig
from train_app.runtime.checkpoint import KEPT
from train_app.runtime.continuing import begun_with
from train_app.runtime.loop import Task, public_config, run_place, train
from train_app.runtime.setting_up import pack_digest
from train_app.runtime.start import Checkpointed, Start
from train_app.runtime.trackers import opened, refuse_missing
from train_app.runtime.tracking import Tracking, listening, run_mailbox
from train_app.stages.state import OnProgress

WHERE_AND_HOW_FAST = (
    "num_workers", "min_workers", "resize_s", "use_gpu", "device", "max_failures", "micro_batch", "gradient_checkpointing",
    "tracking",
)  # fmt: skip
"""Of `runtime`: what may change when a run goes on, since it changes results by the order of sums only, or not at all."""

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
PATIENT_S, ELASTIC_S = 600, 30
"""Until workers that were asked for and not given are asked for anew. A fixed number waits for nodes to come, and on a busy machine took
longer than Ray's minute. An elastic one must look again: Ray's view of the nodes is up to 20 s old, and the number it is started with
right after a loss is the number before it."""

STATE_VERSION = 2
"""Raise it when what a checkpoint holds changes its meaning; 2: the discriminator has an offset."""


class TrainResult(Frozen):
    bundle_path: str
    bundle_id: str
    run: str = Field(description="name of the run: digest of configuration and data")
    run_path: str = Field(description="folder of metrics.jsonl, TensorBoard and Ray's checkpoints")
    selected: str = Field(description="candidate that was shipped: sft, adversarial 1, filtering 2 …")
    selection: dict[str, float] = Field(description="candidate -> share of validation samples that pass the checks and are accepted")
    metrics: dict[str, float] = Field(description="of the bundle on test, each measure's value")
    digests: dict[str, str] = Field(description="stage -> digest of the adapter it left")
    discriminator_auc: dict[str, float] = Field(default_factory=dict, description="of the first discriminator, on held-out rows")


def run_digest(
    config: TrainConfig,
    *,
    data_digest: str,
    base_digest: str,
    pack_digest: str,
    start: Start | None = None,
    continued: Mapping[str, str] | None = None,
) -> str:
    """Over all that weights and thresholds depend on: the same run may go on elsewhere, with more workers, in another folder, and what was
    begun on another base, pack, prompt or format of states never does."""
    content = config.model_dump(mode="json")
    for name in WHERE_AND_HOW_FAST:
        del content["runtime"][name]
    del content["out"], content["data"]["snapshot"], content["calibration"]["labels_file"]
    del content["base"]["source"]
    if not content["evaluation"]["changes"]:
        del content["evaluation"]["changes"]  # runs from before there were any keep their names
    for name in ("drawn_for", "not_enough", "preference_weight", "preference_beta"):
        if getattr(config.filtering, name) == getattr(FilteringConfig(), name):
            del content["filtering"][name]  # and these
    if content["data"]["pack"] not in shipped_names():
        del content["data"]["pack"]  # `pack_digest` says what it is
    read = {"data": data_digest, "base": base_digest, "pack": pack_digest, "prompt": PROMPT_VERSION, "state": STATE_VERSION}
    share = content.pop("continued")["share"]
    begun: dict[str, object] = {"start": start.digest} if start else {}
    begun |= {"continued": {**continued, "share": share}} if continued else {}
    return sha256_bytes(canonical_json({"config": content, **read, **begun}))


def absolute(config: TrainConfig) -> TrainConfig:
    """Its paths as seen from here, since workers run in a folder of their own, and aliases as the versions they name now, since workers
    that start again would find others. A base that is no path, such as an id, stays."""
    data = config.data.model_copy(update={"snapshot": pinned(located(config.data.snapshot)), "pack": pack_located(config.data.pack)})
    path = Path(config.base.source).expanduser()
    is_path = config.base.source != STARTER and path.exists()
    base = config.base.model_copy(update={"source": str(path.resolve()) if is_path else pinned(config.base.source)})
    going_on = {name: place and pinned(located(place)) for name in ("bundle", "snapshot") for place in [getattr(config.continued, name)]}
    file = config.calibration.labels_file
    continued = config.continued.model_copy(update=going_on)
    calibration = config.calibration.model_copy(update={"labels_file": file and located(file)})
    return config.model_copy(
        update={"data": data, "base": base, "calibration": calibration, "continued": continued, "out": located(config.out)}
    )


class Halted(Frozen):
    """A run that was told to end before its bundle."""

    state: Checkpointed
    run: str
    run_path: str
    validation: dict[str, dict[str, float]] = Field(default_factory=dict, description="candidate -> its figures")
    selected: str | None = Field(None, description="candidate that would ship; null before the stage `selection`")
    stopped: str | None = Field(None, description="why a guard ended the adversarial rounds")
    core_seconds: dict[str, float] = Field(
        default_factory=dict,
        description="stage -> processor seconds of the first worker, up to its checkpoint where it was killed; the first holds the set-up",
    )


def run_inputs(config: TrainConfig, start: Start | None = None) -> str:
    """`run_digest` of what lies where the configuration says. Raises BadInput, ConfigError, ArtifactNotFound."""
    return run_digest(
        config,
        data_digest=Snapshot.open(config.data.snapshot).manifest.digest,
        base_digest=source_digest(config.base.source),
        pack_digest=pack_digest(config),
        start=start,
        continued=begun_with(config),
    )


def fit(
    config: TrainConfig, on_progress: OnProgress | None = None, *, start: Start | None = None, study: StudyRef | None = None
) -> TrainResult:
    """Trains, or goes on where the same configuration on the same data stopped. Ray must be running (cluster.session.connect).

    `start` None: from nothing. `study` is written into the bundle's manifest.
    Raises what the stages raise (BadInput, TrainingDiverged, …) as itself; a worker that died more than `runtime.max_failures` times as
    Unavailable.
    """
    if config.filtering.select_by == "truth":
        raise errors.ConfigError("filtering.select_by: truth is a study's ceiling, and no bundle is made of it; choose discriminator")
    if config.filtering.drawn_for:
        raise errors.ConfigError("filtering.drawn_for: samples are kept for the arms of a study, and no bundle is made of it; leave it out")
    config = absolute(config)
    task = Task(inputs=run_inputs(config, start), pack_digest=pack_digest(config), start=start, study=study)
    returned, _ = _run(config, task, on_progress)
    return TrainResult.model_validate({**returned, "run": task.inputs[:16], "run_path": run_place(config, task.inputs)})


def fit_until(config: TrainConfig, on_progress: OnProgress | None = None, *, until: str, start: Start | None = None) -> Halted:
    """The same run to the end of the stage named `until`; `fit` or another `fit_until` goes on from there. Raises as `fit`."""
    config = absolute(config)
    task = Task(inputs=run_inputs(config, start), pack_digest=pack_digest(config), start=start, until=until)
    returned, checkpoint = _run(config, task, on_progress)
    state, place = Checkpointed(inputs=task.inputs, path=checkpoint), run_place(config, task.inputs)
    return Halted.model_validate({**returned, "state": state, "run": task.inputs[:16], "run_path": place})


def _run(config: TrainConfig, task: Task, on_progress: OnProgress | None) -> tuple[Mapping[str, object], str]:
    """What the first worker returned, and where the last checkpoint lies."""
    assert ray.is_initialized(), "open a session with cluster.session.connect before fit()"
    runtime = config.runtime
    if runtime.on == "cuda":
        _check_cuda()
    place, name = run_place(config, task.inputs), task.inputs[:16]
    refuse_missing(runtime.tracking)
    told = public_config(config, pack=load_pack(config.data.pack).name)
    mailbox = run_mailbox(name)
    also = (lambda folder: opened(runtime.tracking, run=name, folder=folder, config=told)) if runtime.tracking else None
    tracking = Tracking(place, on_progress=on_progress, also=also)
    storage_path, filesystem = for_ray(f"{config.out}/runs")
    payload = {"config": config.model_dump(mode="json"), "task": task.model_dump(mode="json"), "mailbox": mailbox}
    trainer = TorchTrainer(
        train,  # type: ignore[arg-type]  # Ray keeps what it returns; its stubs say it may not
        train_loop_config=payload,
        torch_config=TorchConfig(backend="nccl" if runtime.on == "cuda" else "gloo"),
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg]  # Ray's stubs know the one of the old Ray Train
            num_workers=runtime.num_workers if runtime.min_workers is None else (runtime.min_workers, runtime.num_workers),  # type: ignore[arg-type]
            elastic_resize_monitor_interval_s=runtime.resize_s,
            use_gpu=runtime.use_gpu,
            resources_per_worker={"CPU": 1} | ({"GPU": 1} if runtime.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=place.rpartition("/")[2],
            storage_path=storage_path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=runtime.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=KEPT),
        ),
    )
    try:
        with listening(mailbox, tracking), waiting(PATIENT_S if runtime.min_workers is None else ELASTIC_S):
            result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        logging.getLogger(__name__).exception("training failed")
        raise errors.Unavailable(f"run {place}: the workers failed: {error}") from error
    finally:
        mailbox.shutdown(force=True)  # asked politely, it kept its name for half a minute and longer
    returned: Mapping[str, object] = result.return_value  # type: ignore[attr-defined]  # Ray 2.60 sets it; its stubs do not know
    if "error" in returned:
        raise _error(str(returned["error"]), str(returned["message"]))
    assert result.checkpoint is not None, "every stage ends with a checkpoint"
    return returned, f"s3://{result.checkpoint.path}" if is_bucket(place) else str(result.checkpoint.path)


@contextmanager
def waiting(seconds: float) -> Iterator[None]:
    """START_TIMEOUT for the runs of a block, unless whoever started this process has set it: Ray Train reads the environment."""
    if START_TIMEOUT in os.environ:
        yield
        return
    os.environ[START_TIMEOUT] = str(seconds)
    try:
        yield
    finally:
        del os.environ[START_TIMEOUT]


def _check_cuda() -> None:
    """Ray counts the GPUs it was told of; a torch without CUDA there would cost minutes of failed starts before anybody says so."""

    def found() -> bool:
        import torch

        return torch.cuda.is_available()

    if not ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
        raise errors.NoResources("runtime.use_gpu: no node of the cluster has a GPU; add one, or leave use_gpu out")
    if not ray.get(ray.remote(num_gpus=1)(found).remote()):
        raise errors.ConfigError(
            "runtime.device: a GPU was reserved and CUDA finds none there; take an image with CUDA, or set runtime.device=cpu"
        )


def _error(kind: str, message: str) -> errors.LiyouError:
    """An error of the tree as itself again: workers send it by name, since Ray would wrap it and try again."""
    found = getattr(errors, kind, errors.LiyouError)
    made: errors.LiyouError = found(message)
    return made
