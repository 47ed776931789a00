"""A study from its configuration to a bundle: Optuna's TPE proposes, ASHA stops, the winner's run goes on. Trains nothing itself."""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
import orjson
import ray.tune
from pydantic import JsonValue
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch
from ray.util.queue import Queue

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.storage import Storage, for_ray, open_storage
from common.bundle.manifest import StudyRef
from common.errors import ArtifactNotFound, ConfigError, Unavailable
from train_app.runtime.loop import run_place
from train_app.runtime.run import absolute, fit
from train_app.runtime.tracking import on_this_node, read_story
from train_app.stages.sft import STAGE as SFT_STAGE
from train_app.stages.state import Progress
from tune_app.config import TuneConfig
from tune_app.objective import INFEASIBLE, OBJECTIVE
from tune_app.report import render
from tune_app.result import TrialResult, TuneResult, best, in_order, trial_result
from tune_app.space import distributions, trial_config
from tune_app.starts import SharedStarts, starts_actor
from tune_app.trial import run_trial
from tune_app.watching import ROUND, Row, Watcher

CONFIG, RESULT, REPORT, STATE = "study.json", "result.json", "report.html", "tune"
SAVED_EVERY_S = "5"
"""Tune's own guess grows with the length of a trial; what a killed driver forgets is what happened since."""

OnEvent = Callable[[Sequence[Row], Mapping[str, Progress]], None]
"""Called with all trials, and with what each that runs (or the start that it waits for) is at."""


class Rungs(ASHAScheduler):
    """ASHA, but for the two fixed trials: what the winner is held against runs to its end."""

    def __init__(self, config: TuneConfig) -> None:
        super().__init__(
            time_attr=ROUND,
            metric=OBJECTIVE,
            mode="max",
            max_t=config.num_rounds + 2,  # above the last report's: only a bad rank ends a trial
            grace_period=config.grace_rounds,
            reduction_factor=config.reduction,
        )
        self._fixed = [config.default, config.no_discriminator]

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, JsonValue]) -> str:
        decision: str = super().on_trial_result(tune_controller, trial, result)
        return self.CONTINUE if trial.config in self._fixed else decision


def tune(config: TuneConfig, on_event: OnEvent | None = None, *, resume: bool = False, clock: Callable[[], float]) -> TuneResult:
    """Ray must be running (cluster.session.connect). `resume` goes on with a study whose driver died: finished trials stand.

    Raises ConfigError where a study of that name is there (or, resuming, is not, or is another), Unavailable when every trial failed,
    and what `fit` raises.
    """
    began = clock()
    config = config.model_copy(update={"train": absolute(config.train)})
    storage = open_storage(config.uri)
    digest = claimed(config, storage, resume=resume)
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", SAVED_EVERY_S)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its header is printed whatever `verbose` says; the old one keeps quiet
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mailbox = Queue(actor_options=on_this_node())
    starts = SharedStarts(starts_actor(config, mailbox))
    trainable = ray.tune.with_resources(ray.tune.with_parameters(run_trial, config=config, starts=starts, mailbox=mailbox), {"CPU": 1})
    with watched(config.name, mailbox, on_event):
        grid = tuner(config, trainable, resume=resume).fit()
    trials = [trial_result(number, result, config) for number, result in enumerate(in_order(grid), start=1)]
    if not any(trial.rounds for trial in trials):
        raise Unavailable(
            f"study {config.name}: no trial came to its first round; the first error: {grid.errors[0] if grid.errors else '?'}"
        )
    winner = best(trials)
    chosen = winner or next(trial for trial in trials if trial.kind == "default")
    train = trial_config(config, chosen.values)
    start = starts.start_of(train)

    def on_progress(progress: Progress) -> None:
        if on_event:
            on_event([], {f"winner {chosen.number}": progress})

    bundle = fit(train, on_progress, start=start, study=study_ref(config, digest, trials, chosen))
    result = TuneResult(
        name=config.name,
        digest=digest,
        uri=storage.uri,
        seconds=clock() - began,
        trials=tuple(trials),
        sft_begun=sft_begun(config, trials),
        winner=winner.number if winner else None,
        bundle=bundle,
        report=f"{storage.uri}/{REPORT}",
    )
    storage.put(RESULT, result.model_dump_json(indent=1).encode())
    storage.put(REPORT, render(config, result).encode())
    ray.kill(starts.actor)
    mailbox.shutdown()
    return result


def claimed(config: TuneConfig, storage: Storage, *, resume: bool) -> str:
    """The study's digest, with its configuration written down when it is begun."""
    content = config.model_dump(mode="json", exclude={"train": {"out", "runtime"}})
    digest = sha256_bytes(canonical_json(content))
    try:
        there = orjson.loads(storage.get(CONFIG))
    except ArtifactNotFound:
        if resume:
            raise ConfigError(f"{storage.uri}: no study there to resume; leave --resume out to begin it") from None
        storage.put(CONFIG, orjson.dumps({"digest": digest, "config": content}, option=orjson.OPT_INDENT_2), create_only=True)
        return digest
    if there["digest"] != digest:
        fields = [name for name in content if content[name] != there["config"].get(name)]
        raise ConfigError(f"{storage.uri}: a study with another {', '.join(fields)} has that name; give this one another")
    if not resume:
        raise ConfigError(f"{storage.uri}: this study was begun; --resume goes on with it, another name begins anew")
    return digest


def tuner(config: TuneConfig, trainable: Callable[..., None], *, resume: bool) -> ray.tune.Tuner:
    storage_path, filesystem = for_ray(config.uri)
    path = f"{storage_path}/{STATE}"
    if resume and ray.tune.Tuner.can_restore(path, storage_filesystem=filesystem):
        return ray.tune.Tuner.restore(path, trainable=trainable, resume_unfinished=True, resume_errored=True, storage_filesystem=filesystem)
    sampler = optuna.samplers.TPESampler(seed=config.seed, n_startup_trials=config.startup_trials, multivariate=True)
    search = OptunaSearch(
        space=distributions(config),
        metric=OBJECTIVE,
        mode="max",
        points_to_evaluate=[config.default, config.no_discriminator],
        sampler=sampler,
    )
    return ray.tune.Tuner(
        trainable,
        tune_config=ray.tune.TuneConfig(
            search_alg=search,
            scheduler=Rungs(config),
            num_samples=config.num_trials,
            max_concurrent_trials=config.max_concurrent,
        ),
        run_config=ray.tune.RunConfig(
            name=STATE,
            storage_path=storage_path,
            storage_filesystem=filesystem,
            failure_config=ray.tune.FailureConfig(max_failures=config.max_failures),
            callbacks=[Watcher(config.name)],
            verbose=0,
        ),
    )


@contextmanager
def watched(study: str, mailbox: Queue, on_event: OnEvent | None) -> Iterator[None]:
    """Tells `on_event` of trials and of their progress, from one thread at a time."""
    rows: list[Row] = []
    now: dict[str, Progress] = {}
    lock = threading.Lock()

    def tell() -> None:
        if on_event:
            on_event(list(rows), dict(now))

    def on_rows(seen: Sequence[Row]) -> None:
        with lock:
            rows[:] = seen
            running = {row.trial_id for row in seen if row.status == "running"}
            for who in [who for who in now if not who.startswith("start ") and who not in running]:
                del now[who]
            tell()

    def listen() -> None:
        while item := mailbox.get():
            event = orjson.loads(item)
            progress = Progress.model_validate(event["progress"])
            with lock:
                now[event["who"]] = progress
                if event["who"].startswith("start ") and progress.step == progress.total and progress.stage != SFT_STAGE:
                    del now[event["who"]]
                tell()

    Watcher.watching[study] = on_rows
    thread = threading.Thread(target=listen, name="study", daemon=True)
    thread.start()
    try:
        yield
    finally:
        mailbox.put(b"")
        thread.join()
        del Watcher.watching[study]


def study_ref(config: TuneConfig, digest: str, trials: Sequence[TrialResult], chosen: TrialResult) -> StudyRef:
    of_kind = {trial.kind: trial.objective for trial in trials if trial.objective > INFEASIBLE}
    return StudyRef(
        name=config.name,
        digest=digest,
        num_trials=len(trials),
        num_stopped_early=sum(trial.status == "stopped early" for trial in trials),
        objective="joint success on validation, guard rails kept",
        values=chosen.values,
        winner=chosen.objective if chosen.objective > INFEASIBLE else None,
        default=of_kind.get("default"),
        no_discriminator=of_kind.get("no discriminator"),
    )


def sft_begun(config: TuneConfig, trials: Sequence[TrialResult]) -> dict[str, int]:
    """Counted in what the runs wrote down themselves, trials included: a shared start was trained once if nobody else has a first step."""
    runs = dict.fromkeys([trial.start for trial in trials] + [trial.run for trial in trials])
    stories = {run: read_story(run_place(config.train, run)) for run in runs if run}
    begun = {run: sum(one.stage == SFT_STAGE and one.step == 1 for one in story) for run, story in stories.items()}
    return {run: times for run, times in begun.items() if times}
