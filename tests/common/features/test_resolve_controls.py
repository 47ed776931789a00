import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.errors import BadControl
from common.features.preferences import Estimate
from common.features.resolve_controls import resolve

VALUES = {"topic": ("quality", "value", "look"), "style": ("concise", "detailed")}
VOCABULARY = ControlVocabulary(
    controls=tuple(
        Control(
            name=name,
            word=name,
            values=tuple(ControlValue(name=value, word=value) for value in values),
            default="quality" if name == "topic" else None,
        )
        for name, values in VALUES.items()
    )
)


def sure(value: str, confidence: float = 0.9) -> Estimate:
    return Estimate(probabilities={value: 0.8, "other": 0.2}, confidence=confidence)


def test_request_beats_choice_beats_estimate_beats_default_beats_no_code() -> None:
    estimate = {"topic": sure("look"), "style": sure("detailed")}
    assert resolve({"style": "concise"}, explicit={"style": "detailed"}, estimate={}, vocabulary=VOCABULARY)["style"] == "concise"
    assert resolve({}, explicit={"style": "concise"}, estimate=estimate, vocabulary=VOCABULARY)["style"] == "concise"
    assert resolve({}, explicit={}, estimate=estimate, vocabulary=VOCABULARY) == {"topic": "look", "style": "detailed"}
    assert resolve({}, explicit={}, estimate={}, vocabulary=VOCABULARY) == {"topic": "quality"}


def test_a_channel_stands_behind_the_users_tastes_and_before_the_default() -> None:
    channel = {"topic": "value", "style": "concise", "mood": "of another bundle"}
    assert resolve({}, explicit={}, estimate={}, vocabulary=VOCABULARY, channel=channel) == {"topic": "value", "style": "concise"}
    estimate = {"topic": sure("look"), "style": sure("detailed", 0.7)}
    assert resolve({}, explicit={}, estimate=estimate, vocabulary=VOCABULARY, channel=channel) == {"topic": "look", "style": "concise"}


def test_what_is_passed_over_is_the_next_ones_turn_and_a_request_may_ask_for_it() -> None:
    choice, out = {"style": "detailed"}, {("style", "detailed")}
    channel = {"style": "concise"}
    assert resolve({}, explicit=choice, estimate={}, vocabulary=VOCABULARY, channel=channel, passed_over=out)["style"] == "concise"
    assert "style" not in resolve({}, explicit=choice, estimate={}, vocabulary=VOCABULARY, passed_over=out)
    assert resolve(choice, explicit={}, estimate={}, vocabulary=VOCABULARY, passed_over=out)["style"] == "detailed"


def test_an_estimate_below_the_margin_is_no_code() -> None:
    assert "style" not in resolve({}, explicit={}, estimate={"style": sure("detailed", 0.7)}, vocabulary=VOCABULARY)


def test_a_request_outside_the_vocabulary_is_refused_by_name() -> None:
    with pytest.raises(BadControl, match=r"controls\.style: got 'loud'; expected one of concise, detailed"):
        resolve({"style": "loud"}, explicit={}, estimate={}, vocabulary=VOCABULARY)


def test_a_stored_choice_of_another_bundle_is_passed_over() -> None:
    assert (
        resolve({}, explicit={"style": "loud", "mood": "warm"}, estimate={"style": sure("concise")}, vocabulary=VOCABULARY)["style"]
        == "concise"
    )


def codes(values: list[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(list(VALUES)), st.sampled_from(values))


@given(
    codes(["concise", "quality", "loud"]),
    st.dictionaries(st.sampled_from(list(VALUES)), st.sampled_from([sure("look"), sure("detailed", 0.76)])),
)
def test_what_is_resolved_is_always_in_the_vocabulary_and_in_its_order(explicit: dict[str, str], estimate: dict[str, Estimate]) -> None:
    resolved = resolve({}, explicit=explicit, estimate=estimate, vocabulary=VOCABULARY)
    assert list(resolved) == list(VOCABULARY.check(resolved))
