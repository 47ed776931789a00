"""What a study found: every trial with its rounds, the winner, the bundle. Read off what trials reported; searches nothing."""

from collections.abc import Sequence

import ray.tune
from pydantic import Field, JsonValue

from common.config import Frozen
from train_app.runtime.run import TrainResult
from tune_app.config import TuneConfig
from tune_app.objective import INFEASIBLE, OBJECTIVE
from tune_app.watching import FINAL, ROUND, Status


class Round(Frozen):
    round: int = Field(ge=1)
    candidate: str
    joint: float
    broken: str = Field(description="guard rails; empty: feasible")


class TrialResult(Frozen):
    number: int = Field(ge=1)
    trial_id: str
    kind: str = Field(description="default, no discriminator, or search")
    values: dict[str, JsonValue]
    run: str = Field(description="name of its run; empty: it failed before it had one")
    start: str = Field(description="run of the shared start that it went on from")
    status: Status
    rounds: tuple[Round, ...]
    objective: float
    sft: float | None = Field(None, description="SFT's joint success on the same rows")
    selected: str | None = Field(None, description="candidate that it would ship; null: it was stopped before")


class TuneResult(Frozen):
    name: str
    digest: str = Field(description="of the study's configuration")
    uri: str
    seconds: float = Field(ge=0, description="that this call took; a resumed study took more")
    trials: tuple[TrialResult, ...]
    sft_begun: dict[str, int] = Field(description="run -> times that SFT was begun in it, as its own story tells; shared starts and trials")
    winner: int | None = Field(description="number of the trial that was gone on with; null: none kept the rails, the default was")
    bundle: TrainResult
    report: str

    def num(self, status: Status) -> int:
        return sum(trial.status == status for trial in self.trials)


def in_order(grid: ray.tune.ResultGrid) -> list[ray.tune.Result]:
    """As they were begun: a restored study lists its trials in another order. Those that told nothing come last."""

    def first_told(result: ray.tune.Result) -> float:
        frame = result.metrics_dataframe
        return float("inf") if frame is None or frame.empty else float(frame["timestamp"].min())

    return sorted((grid[index] for index in range(len(grid))), key=first_told)


def trial_result(number: int, result: ray.tune.Result, config: TuneConfig) -> TrialResult:
    """From what the trial reported; a round that a killed trial reported again stands as it was told last."""
    last = result.metrics or {}
    frame = result.metrics_dataframe
    rows = [] if frame is None else [row for row in frame.to_dict("records") if not row.get(FINAL)]
    rounds = {
        int(row[ROUND]): Round(round=int(row[ROUND]), candidate=row["candidate"], joint=row["joint"], broken=_text(row.get("broken")))
        for row in rows
    }
    values = {name: value for name, value in (result.config or {}).items() if name in config.space}
    kind = "default" if values == config.default else "no discriminator" if values == config.no_discriminator else "search"
    done: Status = "finished" if last.get(FINAL) else "stopped early"
    return TrialResult(
        number=number,
        trial_id=str(last.get("trial_id", number)),
        kind=kind,
        values=values,
        run=_text(last.get("run")),
        start=_text(last.get("start")),
        status="failed" if result.error else done,
        rounds=tuple(rounds[key] for key in sorted(rounds)),
        objective=float(last.get(OBJECTIVE, INFEASIBLE)),
        sft=last.get("sft"),
        selected=last.get("selected"),
    )


def _text(value: object) -> str:
    """pandas reads an empty field of Tune's own file as not a number."""
    return value if isinstance(value, str) else ""


def best(trials: Sequence[TrialResult]) -> TrialResult | None:
    """Of those that ran to their end; the earlier one of two equals. None where no trial kept the rails."""
    finished = [trial for trial in trials if trial.status == "finished" and trial.objective > INFEASIBLE]
    return max(finished, key=lambda trial: trial.objective, default=None)
