"""What a submitted job runs: reads its kind and configuration from its metadata, checks both again, does the work, tells it in lines.

Nothing else of the submitter's counts: no command, no environment, no code. Paths in the configuration are the cluster's.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ray
from pydantic import BaseModel

from cluster.client.jobs import CONFIG, ERROR, KIND, PROGRESS, RELEASE, RESULT, EvaluateConfig, release
from cluster.session import connect
from common.config import Frozen, parse
from common.errors import BadInput, ConfigError, LiyouError, NoResources, VersionMismatch
from train_app.config import TrainConfig
from train_app.runtime.config import RuntimeConfig
from train_app.stages.state import Progress
from tune_app.config import TuneConfig
from tune_app.watching import Row

METADATA = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Where Ray hands a driver its job's configuration, metadata included (ray/dashboard/modules/job/job_supervisor.py)."""

Tell = Callable[[BaseModel], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """`needs` and `run` get the configuration as `model` read it."""

    model: type[Frozen]
    needs: Callable[..., dict[str, float]]
    run: Callable[..., BaseModel]
    threads: Callable[..., int] = lambda config: 1


def workers(runtime: RuntimeConfig) -> dict[str, float]:
    """What it takes to begin."""
    return {"CPU": float(runtime.fewest_workers)} | ({"GPU": float(runtime.fewest_workers)} if runtime.use_gpu else {})


def train(config: TrainConfig, tell: Tell) -> BaseModel:
    from train_app.runtime.run import fit

    return fit(config, tell)


def tune(config: TuneConfig, tell: Tell) -> BaseModel:
    """A study that was begun goes on: the submission id is the configuration's digest, so it is the same study."""
    import time

    from common.artifacts.storage import open_storage
    from tune_app.search import CONFIG as BEGUN
    from tune_app.search import tune as search

    begun = open_storage(config.uri).exists(BEGUN)

    last: dict[str, Progress] = {}

    def on_event(rows: Sequence[Row], now: Mapping[str, Progress]) -> None:
        """What changed since the last time, each with whose it is."""
        trials = {
            f"trial {row.number}": Progress(
                stage=f"trial {row.number}", step=row.round, total=config.num_rounds + 1, note=f"{row.status}, objective {row.objective}"
            )
            for row in rows
        }
        running = {f"{who}, now": progress.model_copy(update={"stage": f"{who}: {progress.stage}"}) for who, progress in now.items()}
        for who, progress in {**trials, **running}.items():
            if last.get(who) != progress:
                last[who] = progress
                tell(progress)

    return search(config, on_event, resume=begun, clock=time.monotonic)


def evaluate(config: EvaluateConfig, tell: Tell) -> BaseModel:
    """On a worker: the driver's node has the cluster's own processes to look after, and on Kubernetes no core to give."""
    try:
        measured: BaseModel = ray.get(ray.remote(num_cpus=1)(measure).remote(config))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, LiyouError) else error from None
    return measured


def measure(config: EvaluateConfig) -> BaseModel:
    from cluster.commands.evaluate import measured
    from common.bundle.load import load_bundle
    from common.bundle.published import bundle_folder

    bundle = load_bundle(bundle_folder(config.bundle, config.registry), policy=config.pack)
    return measured(bundle, config.snapshot, rows=config.rows, quiet=True)


KINDS = {
    "train": Kind(TrainConfig, lambda config: workers(config.runtime), train, lambda config: config.runtime.threads_per_worker),
    "tune": Kind(
        TuneConfig,
        lambda config: {name: config.max_concurrent * (n + (name == "CPU")) for name, n in workers(config.train.runtime).items()},
        tune,
        lambda config: config.train.runtime.threads_per_worker,
    ),
    "evaluate": Kind(EvaluateConfig, lambda config: {"CPU": 1.0}, evaluate),
}


def main() -> None:
    """Exit code 0 with a result line, 1 with an error line."""

    def tell(progress: BaseModel) -> None:
        print(f"{PROGRESS}{progress.model_dump_json()}", flush=True)

    try:
        metadata = json.loads(os.environ.get(METADATA, "{}")).get("metadata") or {}
        print(f"{RESULT}{work(metadata, tell).model_dump_json()}", flush=True)
    except LiyouError as error:
        print(f"{ERROR}{json.dumps({'code': error.code, 'message': str(error)}, ensure_ascii=False)}", flush=True)
        sys.exit(1)


def work(metadata: Mapping[str, str], tell: Tell) -> BaseModel:
    """Raises BadInput, VersionMismatch, NoResources, and what the work itself raises."""
    if metadata.get(RELEASE) != release():
        raise VersionMismatch(
            f"the job was submitted by release {metadata.get(RELEASE)}; the cluster runs {release()}. Take the cluster's."
        )
    kind = KINDS.get(metadata.get(KIND, ""))
    if kind is None:
        raise BadInput(f"kind: got {metadata.get(KIND)!r}; expected one of {', '.join(KINDS)}")
    try:
        content = json.loads(metadata.get(CONFIG, ""))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{CONFIG}: expected the configuration as JSON in the job's metadata; {error}") from error
    config = parse(content, kind.model, source=str(metadata[KIND]))
    with connect(address="auto", num_threads=kind.threads(config)):
        enough(kind.needs(config), ray.cluster_resources())  # type: ignore[no-untyped-call]
        return kind.run(config, tell)


def enough(asked: Mapping[str, float], there: Mapping[str, float]) -> None:
    """Ray would wait for ever. An autoscaler that would add nodes has to have them ready: RayCluster's minReplicas."""
    short = {name: amount for name, amount in asked.items() if there.get(name, 0.0) < amount}
    if short:
        told = ", ".join(f"{amount:g} {name} asked for and {there.get(name, 0.0):g} there" for name, amount in short.items())
        mend = "leave runtime.use_gpu out" if "GPU" in short and not there.get("GPU") else "lower runtime.num_workers"
        raise NoResources(f"the cluster is too small: {told}; {mend}, or add nodes")


if __name__ == "__main__":
    main()
