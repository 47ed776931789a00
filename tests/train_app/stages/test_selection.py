from train_app.config import SelectionConfig
from train_app.stages.selection import choose, select
from train_app.stages.state import State

SFT = [True, False] * 50


def better(by: int) -> list[bool]:
    """SFT's outcomes with `by` failures turned into successes."""
    outcomes, left = list(SFT), by
    for index, value in enumerate(outcomes):
        if not value and left:
            outcomes[index], left = True, left - 1
    return outcomes


def test_a_clearly_better_candidate_ships() -> None:
    assert choose({"sft": SFT, "filtering 1": better(12)}, standard_errors=1.0) == "filtering 1"


def test_sft_stays_where_nothing_beats_it_by_more_than_the_error() -> None:
    noise = [not value if index % 10 < 2 else value for index, value in enumerate(better(1))]
    assert choose({"sft": SFT, "adversarial 1": noise}, standard_errors=1.0) == "sft"
    assert choose({"sft": SFT, "adversarial 1": list(SFT)}, standard_errors=1.0) == "sft"
    assert choose({"sft": SFT, "adversarial 1": [False] * 100}, standard_errors=1.0) == "sft"


def test_of_two_better_ones_the_best_ships() -> None:
    assert choose({"sft": SFT, "adversarial 1": better(10), "filtering 1": better(20)}, standard_errors=1.0) == "filtering 1"


def test_sft_alone_is_chosen() -> None:
    assert choose({"sft": SFT}, standard_errors=1.0) == "sft"


def test_a_run_that_is_no_better_than_sft_ships_sft_and_says_so(bench) -> None:
    state = State(bench.run).with_values({"successes": {"sft": SFT, "filtering 1": better(1)}})
    for name in ("sft", "filtering 1"):
        state = state.with_group(f"candidate {name}", bench.policy.adapter())
    seen = []
    done = select(state, SelectionConfig(standard_errors=2), seen.append, stage="selection", bench=bench)
    assert done.values["selected"] == "sft"
    assert "nothing that was trained after SFT beats it by more than 2 standard errors" in seen[0].note
    assert "plain SFT ships" in seen[0].note
    won = state.with_values({"successes": {"sft": SFT, "filtering 1": better(30)}})
    select(won, SelectionConfig(standard_errors=2), seen.append, stage="selection", bench=bench)
    assert seen[1].note.startswith("filtering 1 is taken")
