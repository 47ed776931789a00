"""Which candidate ships: the best on validation, if it clearly beats plain SFT, which is always in the list."""

from collections.abc import Mapping, Sequence
from math import sqrt

from pydantic import JsonValue

from train_app.config import SelectionConfig
from train_app.stages.state import OnProgress, Progress, State
from train_app.stages.validation import SFT, candidate, mapped
from train_app.stages.workbench import Workbench

STAGE = "selection"


def choose(successes: Mapping[str, Sequence[bool]], *, standard_errors: float) -> str:
    """The best name, or SFT where nothing beats it by more than `standard_errors` of the paired difference. Ties go to the earlier one."""
    shares = {name: sum(rows) / len(rows) for name, rows in successes.items()}
    best = max(shares, key=lambda name: shares[name])
    difference = [float(one) - float(other) for one, other in zip(successes[best], successes[SFT], strict=True)]
    mean = sum(difference) / len(difference)
    error = sqrt(sum((value - mean) ** 2 for value in difference) / max(1, len(difference) - 1) / len(difference))
    return best if mean > standard_errors * error else SFT


def select(state: State, config: SelectionConfig, on_progress: OnProgress, *, stage: str, bench: Workbench) -> State:
    """Among the candidates that were measured. Group `policy` becomes the chosen one's adapter; the value `selected` names it."""
    state = state.enter(stage)
    successes = {
        name: [bool(value) for value in rows] for name, rows in mapped(state.values["successes"]).items() if isinstance(rows, list)
    }
    selected = choose(successes, standard_errors=config.standard_errors)
    shares: dict[str, JsonValue] = {name: sum(rows) / len(rows) for name, rows in successes.items()}
    told = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    note = f"{selected} is taken; passes the checks and is accepted: {told}"
    if selected == SFT:
        bar = f"more than {config.standard_errors:g} standard errors of the paired difference"
        note = f"nothing that was trained after SFT beats it by {bar}, so plain SFT ships; passes the checks and is accepted: {told}"
    on_progress(Progress(stage=stage, step=1, total=1, note=note))
    bench.load(state.group(candidate(selected)))
    done = state.with_group("policy", state.group(candidate(selected)))
    return done.with_values({"selected": selected, "selection": shares}).at(1)
