"""`fit`: one training run from a configuration to a bundle, on whatever Ray session is open. Knows no stage."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import ray.train
from pydantic import Field
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from common import errors
from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.features.snapshot import Snapshot
from common.language.base_model import STARTER, source_digest
from common.language.prompt import PROMPT_VERSION
from common.packs.load import load_pack
from train_app.config import TrainConfig
from train_app.runtime.loop import train
from train_app.runtime.tracking import Tracking, listening
from train_app.stages.state import OnProgress

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


def run_digest(config: TrainConfig, *, data_digest: str, base_digest: str, pack_digest: str) -> str:
    """Over all that weights and thresholds depend on: the same run may go on elsewhere, with more workers, in another folder, and what was
    begun on another base, pack, prompt or format of states never does."""
    content = config.model_dump(mode="json")
    for name in ("num_workers", "use_gpu", "max_failures"):
        del content["runtime"][name]
    del content["out"], content["data"]["snapshot"]
    del content["base"]["source"]
    versions = {"prompt": PROMPT_VERSION, "state": STATE_VERSION}
    return sha256_bytes(canonical_json({"config": content, "data": data_digest, "base": base_digest, "pack": pack_digest, **versions}))


def absolute(config: TrainConfig) -> TrainConfig:
    """Its paths as seen from here: workers run in a folder of their own. A base that is no path, such as an id, stays."""
    data = config.data.model_copy(update={"snapshot": str(Path(config.data.snapshot).resolve())})
    path = Path(config.base.source).expanduser()
    is_path = config.base.source != STARTER and path.exists()
    base = config.base.model_copy(update={"source": str(path.resolve())}) if is_path else config.base
    return config.model_copy(update={"data": data, "base": base, "out": str(Path(config.out).resolve())})


def fit(config: TrainConfig, on_progress: OnProgress | None = None) -> TrainResult:
    """Trains, or goes on where the same configuration on the same data stopped. Ray must be running (cluster.session.connect).

    Raises what the stages raise (BadInput, TrainingDiverged, …) as itself; a worker that died more than `runtime.max_failures` times as
    Unavailable.
    """
    assert ray.is_initialized(), "open a session with cluster.session.connect before fit()"
    # Workers import torch and transformers first: on a busy machine that took longer than Ray's minute.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    inputs = run_digest(
        config,
        data_digest=Snapshot.open(Path(config.data.snapshot)).manifest.digest,
        base_digest=source_digest(config.base.source),
        pack_digest=load_pack(config.data.pack).digest,
    )
    out = Path(config.out).resolve()
    name, folder = inputs[:16], out / "runs" / inputs[:16]
    tracking = Tracking(folder, on_progress=on_progress)
    mailbox = Queue(actor_options={"num_cpus": 0})
    trainer = TorchTrainer(
        train,  # type: ignore[arg-type]  # Ray keeps what it returns; its stubs say it may not
        train_loop_config={"config": absolute(config).model_dump(mode="json"), "inputs": inputs, "mailbox": mailbox},
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.runtime.num_workers,
            use_gpu=config.runtime.use_gpu,
            resources_per_worker={"CPU": 1} | ({"GPU": 1} if config.runtime.use_gpu else {}),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=str(out / "runs"),
            failure_config=ray.train.FailureConfig(max_failures=config.runtime.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )
    with listening(mailbox, tracking):
        try:
            result = trainer.fit()
        except ray.train.TrainingFailedError as error:
            logging.getLogger(__name__).exception("training failed")
            raise errors.Unavailable(f"run {name}: the workers failed: {error}") from error
    mailbox.shutdown()
    returned: Mapping[str, object] = result.return_value  # type: ignore[attr-defined]  # Ray 2.60 sets it; its stubs do not know
    if "error" in returned:
        raise _error(str(returned["error"]), str(returned["message"]))
    return TrainResult.model_validate({**returned, "run": name, "run_path": str(folder)})


def _error(kind: str, message: str) -> errors.LiyouError:
    """An error of the tree as itself again: workers send it by name, since Ray would wrap it and try again."""
    found = getattr(errors, kind, errors.LiyouError)
    made: errors.LiyouError = found(message)
    return made
