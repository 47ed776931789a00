from train_app.stages.selection import choose

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
