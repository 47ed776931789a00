from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc

from common.features.preferences import count, estimate, explicit_choices, probability_greater
from common.features.rows import PreferenceRow, ShownReason

SOURCES = ("explicit", "questionnaire", "ab_test")


def said(source: str, value: str, control: str = "style", **more: object) -> PreferenceRow:
    return PreferenceRow(user_id="u1", source=source, control=control, value=value, **more)


def test_an_explicit_choice_outweighs_answers_and_an_answer_outweighs_a_click() -> None:
    population = {"style": {"concise": 50.0, "detailed": 50.0}}
    against_one_answer = estimate([said("ab_test", "concise"), said("questionnaire", "detailed")], population=population)
    assert against_one_answer["style"].value == "detailed"
    against_three = estimate([said("explicit", "concise")] + [said("questionnaire", "detailed")] * 3, population=population)
    assert against_three["style"].value == "concise"


def test_the_population_decides_what_thin_evidence_leaves_open() -> None:
    population = {"topic": {"quality": 80.0, "value": 10.0, "look": 10.0}}
    one_click = estimate([said("ab_test", "look", "topic")], population=population)["topic"]
    assert one_click.value == "quality"
    assert one_click.confidence < 0.9
    many = estimate([said("ab_test", "look", "topic")] * 12, population=population)["topic"]
    assert many.value == "look"
    assert many.confidence > 0.95


def test_one_click_on_the_only_value_anybody_ever_saw_is_no_certainty() -> None:
    found = estimate([said("ab_test", "concise")], population={})["style"]
    assert found.value == "concise"
    assert found.confidence < 0.9


def test_a_control_the_user_said_nothing_about_has_no_estimate() -> None:
    assert estimate([said("ab_test", "concise")], population={"topic": {"quality": 9.0}}).keys() == {"style"}


def test_a_pair_counts_for_the_winner_only_where_the_two_differ() -> None:
    pair = PreferenceRow(
        user_id="u1",
        source="ab_test",
        winner=ShownReason(labels={"style": "concise", "topic": "look", "emotion": "warm"}),
        loser=ShownReason(labels={"style": "detailed", "topic": "value", "emotion": "warm"}),
    )
    assert count([pair]) == {"style": {"concise": 0.5}, "topic": {"look": 0.5}}


def test_a_row_is_a_choice_or_a_pair_and_never_both_or_neither() -> None:
    with pytest.raises(ValueError, match="winner and loser"):
        PreferenceRow(user_id="u1", source="explicit", control="style")
    with pytest.raises(ValueError, match="not both"):
        said("explicit", "concise", winner=ShownReason(labels={}), loser=ShownReason(labels={}))


def test_the_last_explicit_choice_counts_and_clicks_are_no_choice() -> None:
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    rows = [
        said("explicit", "detailed", at=late),
        said("explicit", "concise", at=early),
        said("explicit", "concise"),
        said("ab_test", "concise"),
    ]
    assert explicit_choices(rows) == {"style": "detailed"}


@given(st.floats(0.05, 300), st.floats(0.05, 300))
def test_probability_greater_is_the_beta_tail(alpha: float, beta: float) -> None:
    assert probability_greater(alpha, beta) == pytest.approx(1 - betainc(alpha, beta, 0.5), abs=1e-9)


evidence = st.lists(st.builds(said, st.sampled_from(SOURCES), st.sampled_from(["concise", "detailed", "plain"])), min_size=1, max_size=12)


@given(evidence, st.dictionaries(st.sampled_from(["concise", "detailed", "plain"]), st.floats(0, 1e6)))
def test_probabilities_sum_to_one_and_the_first_is_the_most_likely(rows: list[PreferenceRow], population: dict[str, float]) -> None:
    found = estimate(rows, population={"style": population})["style"]
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.probabilities[found.value] == max(found.probabilities.values())
    assert 0.5 - 1e-9 <= found.confidence <= 1 + 1e-9
