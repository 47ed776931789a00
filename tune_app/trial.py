"""One trial: a run of `fit` with other weightings, from a shared start to its selection, that reports every round. Test is not read."""

from collections.abc import Mapping

import ray.tune
from pydantic import JsonValue

from train_app.runtime.loop import run_place
from train_app.runtime.run import fit_until, run_inputs
from train_app.runtime.tracking import read_story
from train_app.stages.state import Progress
from train_app.stages.validation import SFT, stage_of
from tune_app.config import TuneConfig
from tune_app.objective import OBJECTIVE, broken, objective
from tune_app.space import trial_config
from tune_app.starts import SharedStarts
from tune_app.watching import FINAL, ROUND, Mailbox, told

UNTIL = "selection"
"""The stage that ends a trial. The winner alone goes on: to calibration, to test, to a bundle."""


class Rounds:
    """What a trial has told. A round is told once, in its order, also where a killed trial goes through it again."""

    def __init__(self, config: TuneConfig, *, run: str, start: str) -> None:
        self.config, self.run, self.start = config, run, start
        train = config.train
        self.names = [f"adversarial {i}" for i in range(1, train.adversarial.rounds + 1)]
        self.names += [f"filtering {i}" for i in range(1, train.filtering.rounds + 1)]
        self.validation: dict[str, Mapping[str, float]] = {}

    def learn(self, progress: Progress) -> dict[str, JsonValue] | None:
        """What to report after this progress; None: nothing that was not reported already."""
        name = next((name for name in (SFT, *self.names) if progress.stage == stage_of(name)), None)
        if name is None or name in self.validation:
            return None
        self.validation[name] = progress.metrics
        return None if name == SFT else self.report(name)

    def report(self, name: str) -> dict[str, JsonValue]:
        figures, sft = self.validation[name], self.validation[SFT]
        rails, rows = self.config.rails, self.config.train.selection.prompts
        return {
            ROUND: [SFT, *self.names].index(name),
            OBJECTIVE: objective(self.validation, rails=rails, rows=rows),
            "candidate": name,
            "joint": figures["joint"],
            "sft": sft["joint"],
            "broken": "; ".join(broken(figures, sft, rails=rails, rows=rows)) if name != SFT else "nothing came after SFT",
            "run": self.run,
            "start": self.start,
            FINAL: False,
        }


def run_trial(values: dict[str, JsonValue], config: TuneConfig, starts: SharedStarts, mailbox: Mailbox) -> None:
    """Ray Tune calls it with a point of the space. A trial that was killed goes on from its run's last checkpoint."""
    trial_id = ray.tune.get_context().get_trial_id()
    train = trial_config(config, values)
    start = starts.start_of(train)
    inputs = run_inputs(train, start)
    rounds = Rounds(config, run=inputs[:16], start=start.state.inputs[:16])

    def on_progress(progress: Progress) -> None:
        told(mailbox, trial_id, progress)
        if (report := rounds.learn(progress)) is not None:
            ray.tune.report(report)

    for progress in read_story(run_place(train, inputs)):
        on_progress(progress)
    halted = fit_until(train, on_progress, until=UNTIL, start=start)
    # The state's own figures: what the story tells may lack lines where a process was killed.
    known = {**rounds.validation, **halted.validation}
    rounds.validation = {name: known[name] for name in (SFT, *rounds.names) if name in known}
    last = rounds.report(list(rounds.validation)[-1])
    ray.tune.report({**last, ROUND: config.num_rounds + 1, FINAL: True, "selected": halted.selected or SFT})
