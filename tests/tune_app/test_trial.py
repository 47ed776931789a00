from train_app.stages.state import Progress
from tune_app.objective import OBJECTIVE
from tune_app.trial import Rounds

FIGURES = {"joint": 0.5, "check_facts": 0.9, "check_compliance": 1.0, "distinct_2": 0.4, "chars": 40.0}


def measured(name: str, joint: float) -> Progress:
    return Progress(stage=f"validation of {name}", step=1, total=1, metrics={**FIGURES, "joint": joint})


def test_a_round_is_reported_once_with_the_best_so_far(study) -> None:
    rounds = Rounds(study, run="r", start="s")
    assert rounds.learn(Progress(stage="adversarial 1", step=1, total=5, metrics={"loss": 1.0})) is None
    assert rounds.learn(measured("sft", 0.5)) is None, "SFT is shared: there is nothing to stop or to prefer yet"
    first = rounds.learn(measured("adversarial 1", 0.6))
    assert first is not None
    assert (first["round"], first[OBJECTIVE], first["sft"], first["run"], first["start"]) == (1, 0.6, 0.5, "r", "s")
    assert rounds.learn(measured("adversarial 1", 0.6)) is None, "a killed trial goes through it again"
    last = rounds.learn(measured("filtering 1", 0.4))
    assert last is not None
    assert (last["round"], last["joint"], last[OBJECTIVE]) == (3, 0.4, 0.6), "a round that was passed over keeps its number"
