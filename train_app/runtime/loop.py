"""What each worker of a Ray run does: open the workbench, go through the stages, evaluate once, write the bundle. Stages meet Ray here."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import ray.train
import ray.train.torch
from pydantic import Field, JsonValue
from ray.util.queue import Queue

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.registry import Registry
from common.artifacts.storage import is_bucket, open_storage
from common.bundle.canaries import CanaryExample
from common.bundle.manifest import Answering, Calibration, DataRef, Origin, Risk, StudyRef
from common.bundle.write import write_bundle
from common.config import Frozen
from common.errors import DigestMismatch, LiyouError
from common.features.snapshot import Snapshot
from common.language.base_model import load_base
from common.packs.load import load_pack
from train_app.config import TrainConfig
from train_app.evaluation.measures import RISK, as_metrics
from train_app.evaluation.report.render import facts_of, render
from train_app.runtime.checkpoint import report, resumed, settled
from train_app.runtime.continuing import begun_with, regenerated, writes_again
from train_app.runtime.final_evaluation import CHOSEN, final_evaluation
from train_app.runtime.setting_up import open_workbench, pack_digest
from train_app.runtime.start import COST, Start, begun
from train_app.runtime.tracking import read_story
from train_app.stages.discriminator.training import GROUP
from train_app.stages.parallel import CPU, Parallel
from train_app.stages.plan import run_stages
from train_app.stages.state import OnProgress, Progress, State
from train_app.stages.validation import mapped
from train_app.stages.workbench import Workbench

SETTING_UP = "setting up"
NUM_CANARIES = 4
NUM_SAMPLES = 20
"""Requests shown in the report."""


class Task(Frozen):
    """What a run is besides its configuration."""

    inputs: str = Field(description="digest of configuration, data and start: the run's name")
    pack_digest: str = Field(description="of the pack as `inputs` counts it; its files may change while the run goes on")
    start: Start | None = Field(None, description="null: from nothing")
    until: str | None = Field(None, description="stage after which it halts; null: to the bundle")
    study: StudyRef | None = Field(None, description="the search that chose this configuration, for the manifest")


def train(payload: dict[str, object]) -> dict[str, JsonValue]:
    """Ray Train calls it on every worker; the first one's answer is the run's. Our own errors are answers: trying again mends nothing."""
    config, task = TrainConfig.model_validate(payload["config"]), Task.model_validate(payload["task"])
    inputs, mailbox = task.inputs, payload["mailbox"]
    assert isinstance(mailbox, Queue)
    context = ray.train.get_context()
    device = ray.train.torch.get_device() if config.runtime.on == "cuda" else CPU
    parallel = Parallel(context.get_world_rank(), context.get_world_size(), device)

    story = read_story(run_place(config, inputs))
    cost: dict[str, float] = {}
    spent_s = time.process_time()

    def on_progress(progress: Progress) -> None:
        nonlocal spent_s
        now_s = time.process_time()
        cost[progress.stage] = cost.get(progress.stage, 0.0) + now_s - spent_s
        spent_s = now_s
        story.append(progress)
        if parallel.leads:
            mailbox.put(progress.model_dump_json())

    try:
        if (found := pack_digest(config)) != task.pack_digest:
            raise DigestMismatch(f"data.pack: {config.data.pack} had digest {task.pack_digest} when the run began and has {found} now")
        old = partial(regenerated, config, on_progress=on_progress, place=run_place(config, inputs), parallel=parallel)
        bench = open_workbench(config, inputs=inputs, parallel=parallel, old=old if writes_again(config) else None)
        if config.runtime.bf16 and not bench.bf16:
            told = "runtime.bf16 was asked for and this processor has none: training goes on in float32"
            on_progress(Progress(stage=SETTING_UP, step=0, total=0, note=told))
        state, told = resumed(inputs=inputs, parallel=parallel, start=lambda: begun(task.start, inputs=inputs))
        for stage, seconds in mapped(state.values.get(COST)).items():
            cost[stage] = cost.get(stage, 0.0) + float(str(seconds))
        for progress in started(state, story, workers=parallel.world_size, most=config.runtime.num_workers, told=told):
            on_progress(progress)

        def save(state: State) -> None:
            report(state.with_values({COST: {**cost}}), parallel=parallel)

        state = run_stages(state, config, on_progress, bench=bench, save=save, until=task.until)
        settled()
        if not parallel.leads:
            return {}
        return halt(state, cost) if task.until else finish(state, config, story, on_progress, bench=bench, study=task.study)
    except LiyouError as error:
        return {"error": type(error).__name__, "message": str(error)}


def started(state: State, story: Sequence[Progress], *, workers: int, most: int, told: str) -> list[Progress]:
    """What to say when workers begin together: how many they are and where they go on. Nothing of one that begins a run alone."""
    if most == 1 and not state.stage:
        return []
    start = 1 + sum("workers" in one.metrics for one in story)
    where = f"go on behind step {state.step} of {state.stage}" if state.stage else "begin"
    note = f"{workers} of {most} workers {where}" + (f"; {told}" if told else "")
    return [Progress(stage=SETTING_UP, step=start, total=start, metrics={"workers": float(workers)}, note=note)]


def halt(state: State, cost: Mapping[str, float]) -> dict[str, JsonValue]:
    """The answer of a run that ends before its bundle."""
    kept = ("validation", "selected", "stopped")
    core_seconds: dict[str, JsonValue] = {stage: round(seconds, 2) for stage, seconds in cost.items()}
    return {name: state.values[name] for name in kept if name in state.values} | {"core_seconds": core_seconds}


def finish(
    state: State, config: TrainConfig, story: Sequence[Progress], on_progress: OnProgress, *, bench: Workbench, study: StudyRef | None
) -> dict[str, JsonValue]:
    """Evaluation on test, and the bundle under `out`/bundles: the answer of a run. Doing it twice gives the same bundle."""
    pack = load_pack(config.data.pack)
    bench.load(state.group("policy"))
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(state.group(GROUP))
    discriminator.eval()
    threshold = float(str(state.values["threshold"]))
    answering = Answering(
        decoding=config.decoding, k=config.evaluation.candidates, max_attempts=config.evaluation.max_attempts, threshold=threshold
    )
    place = run_place(config, state.inputs)
    found = final_evaluation(
        state, config.evaluation, on_progress, bench=bench, answering=answering, scorer=discriminator, pack=pack, place=place
    )
    evaluation, measures = found[CHOSEN], found[CHOSEN].measures
    on_progress(Progress(stage="evaluation", step=1, total=1, metrics={name: measure.value for name, measure in measures.items()}))
    snapshot = Snapshot.open(config.data.snapshot)
    figures = {str(name): float(str(value)) for name, value in _mapping(state.values["calibration"]).items()}
    measured_on = [example.example_id for example in bench.splits.test[: config.evaluation.rows]]
    data = DataRef(
        digest=snapshot.digest,
        licences=(config.data.licence,),
        num_examples=len(bench.splits.train),
        test_digest=sha256_bytes(canonical_json(measured_on)),
    )
    origin = Origin(
        config=public_config(config, pack=pack.name),
        data=data,
        code_version=version("liyou"),
        study=study,
        run={"name": state.inputs[:16]},
        created_at=datetime.now(UTC),
    )
    examples = bench.splits.validation[:NUM_CANARIES]
    risk = Risk.model_validate(state.values["risk"]).model_copy(update={"realised": as_metrics(measures).get(RISK)})
    facts = {"run": state.inputs[:16], "base": config.base.source, "selected": str(state.values["selected"]), "data": snapshot.digest[:16]}
    shown = evaluation.model_copy(update={"samples": evaluation.samples[:NUM_SAMPLES]})
    page = render(story, title="Training run", facts=facts | facts_of(risk, threshold=threshold), evaluation=shown)
    bundles = f"{config.out}/bundles"
    beside = None if is_bucket(bundles) else bundles
    if beside:
        Path(beside).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=beside) as folder:
        temporary = Path(folder) / "bundle"
        bundle_id = write_bundle(
            temporary,
            language=load_base(config.base.source, dtype=config.base.dtype),
            base_licence=config.base.licence,
            adapter=bench.policy.exported(state.group("policy")),
            alpha=bench.policy.alpha,
            discriminator=discriminator,
            pack=pack,
            answering=answering,
            calibration=Calibration(
                temperature=float(discriminator.temperature),
                offset=float(discriminator.offset),
                num_examples=min(config.calibration.rows, len(bench.splits.calibration)),
                measures=figures,
                risk=risk,
            ),
            metrics=as_metrics(measures),
            origin=origin,
            canaries=[CanaryExample(context=example.context, text=example.text) for example in examples],
            report={"index.html": page.encode()},
        )
        path = _put(temporary, bundles, bundle_id)
    return {
        "bundle_path": path,
        "bundle_id": bundle_id,
        "selected": state.values["selected"],
        "selection": state.values["selection"],
        "metrics": {name: measure.value for name, measure in measures.items()},
        "digests": state.values["digests"],
        "discriminator_auc": state.values["discriminator_auc"],
    }


def public_config(config: TrainConfig, *, pack: str) -> dict[str, JsonValue]:
    """What the manifest tells of the configuration: no path, and nothing that says where or how fast it ran."""
    named = config.model_copy(update={"data": config.data.model_copy(update={"pack": pack})})
    content = named.model_dump(
        mode="json",
        exclude={
            "out": True,
            "runtime": True,
            "continued": True,
            "data": {"snapshot"},
            "base": {"source"},
            "calibration": {"labels_file"},
        },
    )
    if config.continued.bundle is not None:
        content["continued"] = {"share": config.continued.share, **begun_with(config)}
    return content


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value


def run_place(config: TrainConfig, inputs: str) -> str:
    """The folder or s3:// prefix of a run's metrics, evaluations and checkpoints."""
    return f"{config.out}/runs/{inputs[:16]}"


def _put(folder: Path, bundles: str, bundle_id: str) -> str:
    """The folder under its id, which says where it is now; the same bundle may be there already. In a bucket, `bundles` is a registry."""
    path = Path(bundles) / bundle_id
    if is_bucket(bundles):
        Registry(open_storage(bundles)).publish(folder, version=bundle_id)
        return f"{bundles}/{bundle_id}"
    if not path.exists():
        folder.rename(path)
    return str(path)
