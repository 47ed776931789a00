from tune_app.objective import INFEASIBLE
from tune_app.report import importances, render


def test_the_page_shows_the_winner_what_it_is_held_against_and_how_often_sft_was_trained(study, result) -> None:
    page = render(study, result)
    assert "8: 6 finished, 2 stopped early, 0 failed" in page
    assert "SFT was begun 2 times for 8 trials" in page
    assert "start16 1× (7 trials)" in page
    assert "5 winner" in page
    for label in ("1 default", "2 no discriminator"):
        assert label in page
    assert page.count("<svg") == 3
    assert all(name in page for name in study.space)


def test_the_page_is_the_same_for_the_same_study(study, result) -> None:
    assert render(study, result) == render(study, result)


def test_what_a_stranger_wrote_is_escaped(study, result) -> None:
    failed = result.trials[2].model_copy(update={"selected": "<script>"})
    page = render(study, result.model_copy(update={"trials": (*result.trials[:2], failed, *result.trials[3:])}))
    assert "<script>" not in page


def test_importance_is_of_what_was_searched_and_of_enough_trials(study, result) -> None:
    found = importances(study, result.trials)
    assert set(found) <= set(study.space)
    assert next(iter(found)) == "adversarial.kl_weight", "the only field that differs between most trials"
    broken = tuple(trial.model_copy(update={"objective": INFEASIBLE}) for trial in result.trials[3:])
    assert importances(study, (*result.trials[:3], *broken)) == {}


def test_a_study_without_a_winner_says_so(study, result) -> None:
    assert "no trial kept the guard rails" in render(study, result.model_copy(update={"winner": None}))
