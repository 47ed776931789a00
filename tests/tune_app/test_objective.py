from tune_app.config import Rails
from tune_app.objective import INFEASIBLE, broken, objective

SFT = {"joint": 0.5, "check_facts": 0.9, "check_compliance": 1.0, "distinct_2": 0.4, "chars": 40.0}
RAILS = Rails()


def judged(**changed: float) -> list[str]:
    return broken({**SFT, **changed}, SFT, rails=RAILS, rows=100)


def test_each_rail_is_broken_by_what_it_guards_against() -> None:
    assert judged() == []
    assert judged(joint=0.0, check_controls=0.0) == []
    assert judged(check_facts=0.82) == ["facts 0.82, SFT 0.90"]
    assert judged(check_compliance=0.97) == ["compliance 0.97, SFT 1.00"]
    assert judged(distinct_2=0.37) == ["distinct-2 0.37, SFT 0.40"]
    assert judged(chars=50) == ["length 50, SFT 40 characters"]
    assert judged(chars=30) == ["length 30, SFT 40 characters"]


def test_a_share_may_fall_within_two_standard_errors_of_sfts() -> None:
    assert judged(check_facts=0.85) == []  # two standard errors of .9 on 100 rows are .06
    assert broken({**SFT, "check_facts": 0.85}, SFT, rails=RAILS, rows=10_000) == ["facts 0.85, SFT 0.90"]


def test_the_best_feasible_candidate_counts_and_sft_does_not() -> None:
    found = {"sft": SFT, "adversarial 1": {**SFT, "joint": 0.4}, "filtering 1": {**SFT, "joint": 0.9, "distinct_2": 0.1}}
    assert objective(found, rails=RAILS, rows=100) == 0.4
    assert objective({"sft": SFT}, rails=RAILS, rows=100) == INFEASIBLE
    assert objective({"sft": SFT, "filtering 1": found["filtering 1"]}, rails=RAILS, rows=100) == INFEASIBLE
