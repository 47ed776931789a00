"""One seed of a study with all its arms: the shared start, the trainings, their measures. What is done is kept and not done again."""

import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import ray

from common.artifacts.storage import Storage, open_storage
from common.config import Frozen
from common.errors import ArtifactNotFound
from common.features.snapshot import Snapshot
from common.language.base_model import source_digest
from train_app.config import TrainConfig
from train_app.runtime.loop import run_place
from train_app.runtime.run import absolute, fit_until, run_inputs
from train_app.runtime.setting_up import open_workbench
from train_app.runtime.start import DRAWN_UNTIL, SHARED_UNTIL, Checkpointed, Start, drawn_part, read, shared_part
from train_app.runtime.tracking import read_story
from train_app.stages.parallel import Parallel
from train_app.stages.selection import STAGE as SELECTION
from train_app.stages.state import Progress, State
from train_app.stages.validation import SFT, candidate, mapped, stage_of
from train_app.study.config import StudyConfig
from train_app.study.figures import DRAWN, ArmResult, SeedResult, Texts
from train_app.study.measuring import Measured, measure, reference

START, REFERENCE = "start", "reference"
ON_FAKES = ("taken_for_real", "auc_fake")
"""Of a story: what the report draws of the discriminator over the rounds."""

Tell = Callable[[str, Progress], None]
"""(arm, or the start, the samples of several arms, the reference; what it is at)"""


def run_seed(config: StudyConfig, *, seed: int, tell: Tell, commit: str) -> SeedResult:
    """Ray must be running. A seed that was killed goes on: trainings from their checkpoints, measured arms stand.

    Raises what `fit` raises.
    """
    began = time.monotonic()
    train = absolute(config.train.model_copy(update={"seed": seed}))
    config = config.model_copy(update={"train": train})
    workers = train.runtime.model_copy(update={"num_workers": config.concurrent})
    started = fit_until(shared_part(train.model_copy(update={"runtime": workers})), partial(tell, START), until=SHARED_UNTIL)
    storage = open_storage(f"{train.out}/studies/{config.name}/seed-{seed}-{config.digest[:12]}-{started.state.inputs[:12]}")
    start = Start(state=started.state, ruler=started.state, ruler_alpha=train.lora.alpha)
    begins = {name: _Begin(start=start, story=read_story(started.run_path)) for name in config.arms}
    for drawing, names in shared_drawings(config, seed=seed):
        drawn = fit_until(drawing.model_copy(update={"runtime": workers}), partial(tell, DRAWN), until=DRAWN_UNTIL, start=start)
        own = start.model_copy(update={"state": drawn.state})
        cost = {f"{DRAWN} {stage}": drawn.core_seconds[stage] * config.concurrent for stage in (stage_of(SFT), DRAWN_UNTIL)}
        begins |= {name: _Begin(start=own, story=begins[name].story, core_seconds=cost) for name in names}
    told = _kept(storage, REFERENCE, _Reference, lambda: _reference(config, started.state, seed=seed, tell=tell))

    def arm(name: str) -> ArmResult:
        return _kept(
            storage,
            name.replace("'", "-prime"),
            ArmResult,
            lambda: _arm(config, name, seed=seed, begin=begins[name], tell=tell),
        )

    with ThreadPoolExecutor(max_workers=config.concurrent) as pool:
        arms = dict(zip(config.arms, pool.map(arm, config.arms), strict=True))
    return SeedResult(
        study=config.digest,
        data=Snapshot.open(train.data.snapshot).manifest.digest,
        base=source_digest(train.base.source),
        start=started.state.inputs,
        seed=seed,
        commit=commit,
        machine=f"{platform.machine()}, {int(ray.cluster_resources().get('CPU', 0))} logical cores",  # type: ignore[no-untyped-call]
        seconds=round(time.monotonic() - began, 1),
        start_core_seconds={stage: seconds * config.concurrent for stage, seconds in started.core_seconds.items()},
        prompts=told.prompts,
        reference=told.texts,
        arms=arms,
    )


def start_digest(config: StudyConfig, *, seed: int) -> str:
    """Of the start that all arms of `seed` would share, from the data, base and pack that lie there now."""
    return run_inputs(shared_part(absolute(config.train.model_copy(update={"seed": seed}))))


def shared_drawings(config: StudyConfig, *, seed: int) -> list[tuple[TrainConfig, list[str]]]:
    """Arms that draw the same samples in their first round and only choose otherwise: (the run that draws for them, their names)."""
    alike: dict[str, list[str]] = {}
    arms = {name: config.arm(name, seed=seed) for name in config.arms}
    for name, train in arms.items():
        if part := drawn_part(train):
            alike.setdefault(part.model_dump_json(), []).append(name)
    shared = []
    for names in alike.values():
        ways = tuple(sorted({arms[name].filtering.select_by for name in names}))
        part = drawn_part(arms[names[0]], drawn_for=ways)
        if part and len(names) > 1:
            shared.append((part, names))
    return shared


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where an arm begins, what was told of it until then, and what it cost since the start."""

    start: Start
    story: list[Progress]
    core_seconds: dict[str, float] = field(default_factory=dict)


class _Reference(Frozen):
    prompts: list[str]
    texts: Texts


Kept = TypeVar("Kept", bound=Frozen)


def _kept(storage: Storage, name: str, kind: type[Kept], make: Callable[[], Kept]) -> Kept:
    key = f"{name}.json"
    try:
        return kind.model_validate_json(storage.get(key))
    except ArtifactNotFound:
        made = make()
        storage.put(key, made.model_dump_json().encode())
        return made


def _arm(config: StudyConfig, name: str, *, seed: int, begin: _Begin, tell: Tell) -> ArmResult:
    train = config.arm(name, seed=seed)
    halted = fit_until(train, partial(tell, name), until=SELECTION, start=begin.start)
    story = read_story(run_place(train, run_inputs(train, begin.start)))
    made, policy, core_seconds = _remotely(config, halted.state, train, seed=seed, who=name, tell=tell)
    return ArmResult(
        run=halted.run,
        selected=halted.selected or SFT,
        policy=policy,
        core_seconds=begin.core_seconds | halted.core_seconds,
        validation=halted.validation,
        discriminator=_on_fakes([*begin.story, *story]),
        search=made.search,
        decoding=made.decoding,
        varied=made.varied,
        texts=made.texts,
        measuring_core_seconds=round(core_seconds, 1),
        auc=made.auc,
        likelihood_auc=made.likelihood_auc,
        reliability=made.reliability,
        shown=made.shown,
    )


def _on_fakes(story: list[Progress]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for progress in story:
        for name in ON_FAKES:
            if name in progress.metrics:
                found.setdefault(f"{progress.stage}: {name}", []).append(round(progress.metrics[name], 4))
    return found


def _remotely(
    config: StudyConfig, state: Checkpointed, train: TrainConfig, *, seed: int, who: str, tell: Tell
) -> tuple[Measured, str, float]:
    """On a core of its own, wherever the cluster has one: the measures, the candidate that they are of, processor seconds."""

    def task(config: StudyConfig, train: TrainConfig, state: Checkpointed) -> tuple[Measured, str, float]:
        began = time.process_time()
        bench = open_workbench(train, inputs=state.inputs, parallel=Parallel())
        name, last = trained(read(state))
        return measure(last, config, bench=bench, seed=seed, truth=train.evaluation.truth), name, time.process_time() - began

    tell(who, Progress(stage="test", step=0, total=1))
    made: tuple[Measured, str, float] = ray.get(ray.remote(num_cpus=1)(task).remote(config, train, state))
    tell(who, Progress(stage="test", step=1, total=1))
    return made


def trained(state: State) -> tuple[str, State]:
    """The candidate that the arm's last round left, as the policy, whatever selection ships: an arm that ships SFT would be SFT in its own
    name."""
    made = list(mapped(state.values.get("successes")))
    last = made[-1] if made else SFT
    return last, state.with_group("policy", state.group(candidate(last)))


def _reference(config: StudyConfig, state: Checkpointed, *, seed: int, tell: Tell) -> _Reference:
    def task(config: StudyConfig) -> _Reference:
        bench = open_workbench(config.train, inputs=state.inputs, parallel=Parallel())
        texts = reference(config, bench=bench, seed=seed, truth=config.train.evaluation.truth)
        return _Reference(prompts=[one.example_id for one in bench.splits.test[: config.prompts]], texts=texts)

    tell(REFERENCE, Progress(stage="test", step=0, total=1))
    made: _Reference = ray.get(ray.remote(num_cpus=1)(task).remote(config))
    tell(REFERENCE, Progress(stage="test", step=1, total=1))
    return made
