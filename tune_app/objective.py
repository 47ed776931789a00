"""What a study maximises: validation joint success of the best candidate that keeps the guard rails. Reads figures; draws nothing."""

from collections.abc import Mapping
from math import sqrt

from train_app.stages.validation import SFT
from tune_app.config import Rails

OBJECTIVE = "objective"
INFEASIBLE = -1.0
"""Below every share, so that whoever maximises needs to know of nothing else."""

Figures = Mapping[str, float]


def broken(figures: Figures, sft: Figures, *, rails: Rails, rows: int) -> list[str]:
    """The rails that a candidate breaks against SFT, which was measured on the same `rows` texts: one phrase each."""
    found = []
    for check in rails.checks:
        name = f"check_{check}"
        if name not in figures:
            continue
        allowed = max(rails.check_drop, 2 * sqrt(sft[name] * (1 - sft[name]) / rows))
        if figures[name] < sft[name] - allowed:
            found.append(f"{check} {figures[name]:.2f}, SFT {sft[name]:.2f}")
    if figures["distinct_2"] < rails.distinct_2 * sft["distinct_2"]:
        found.append(f"distinct-2 {figures['distinct_2']:.2f}, SFT {sft['distinct_2']:.2f}")
    if abs(figures["chars"] - sft["chars"]) > rails.chars * sft["chars"]:
        found.append(f"length {figures['chars']:.0f}, SFT {sft['chars']:.0f} characters")
    return found


def objective(validation: Mapping[str, Figures], *, rails: Rails, rows: int) -> float:
    """Joint success of the best feasible candidate made after SFT, in [0, 1]; INFEASIBLE where there is none yet.

    SFT itself does not count: trials that share it would all have its figure, and the search could not tell them apart.
    """
    feasible = [
        figures["joint"]
        for name, figures in validation.items()
        if name != SFT and not broken(figures, validation[SFT], rails=rails, rows=rows)
    ]
    return max(feasible, default=INFEASIBLE)
