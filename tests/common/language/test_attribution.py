"""What a code had to do with a text: figures against plain forward passes, places against the text."""

from pathlib import Path

import pytest

from common import starter
from common.bundle.canaries import logprobs
from common.bundle.load import LoadedBundle, load_bundle
from common.domain.context import Context
from common.errors import BadControl
from common.language import attribution
from common.language.attribution import attributed
from common.language.prompt import build_prompt
from common.language.tokens import encode_example


@pytest.fixture(scope="module")
def bundle() -> LoadedBundle:
    return load_bundle(Path(starter.__file__).parent / "bundle", verify=False)


@pytest.fixture(scope="module")
def written(bundle: LoadedBundle) -> tuple[Context, str]:
    """A text that the bundle was shipped with, whose codes are all asked for."""
    return next((one.context, one.text) for one in bundle.manifest.canaries if {"style", "topic", "emotion"} <= set(one.context.controls))


def log_likelihood(bundle: LoadedBundle, context: Context, text: str) -> float:
    return sum(
        logprobs(bundle.language, [encode_example(build_prompt(context, vocabulary=bundle.pack.vocabulary), text, bundle.language)])[0]
    )


def found(bundle: LoadedBundle, context: Context, text: str):
    return attributed(text, context, language=bundle.language, vocabulary=bundle.pack.vocabulary)


def test_each_figure_is_the_difference_of_two_likelihoods_that_differ_in_one_code(bundle, written) -> None:
    context, text = written
    as_asked = log_likelihood(bundle, context, text)
    told = found(bundle, context, text)
    assert [one.control for one in told] == list(bundle.pack.vocabulary.check(context.controls))
    for one in told:
        others = {name: value for name, value in context.controls.items() if name != one.control}
        free = log_likelihood(bundle, context.model_copy(update={"controls": others}), text)
        assert one.free_nats == pytest.approx(as_asked - free, abs=0.01)
        for value, nats in one.against.items():
            changed = context.model_copy(update={"controls": others | {one.control: value}})
            assert nats == pytest.approx(as_asked - log_likelihood(bundle, changed, text), abs=0.01)
        assert one.value not in one.against


def test_what_a_text_shows_is_recovered_and_what_it_does_not_show_is_not(bundle, written) -> None:
    context, text = written
    shown = {one.control: one for one in found(bundle, context, text)}["style"]
    other = next(iter(shown.against))
    misread = context.model_copy(update={"controls": context.controls | {"style": other}})
    denied = {one.control: one for one in found(bundle, misread, text)}["style"]
    assert shown.recovered > 0.9 > 0.1 > denied.recovered
    assert shown.recovered + denied.recovered == pytest.approx(1, abs=0.01), "style has two values"


def test_places_lie_in_the_text_one_after_the_other_and_hold_what_they_say(bundle, written, monkeypatch) -> None:
    context, text = written
    told = found(bundle, context, text)
    assert any(one.due_to for one in told)
    for one in told:
        ends = [0]
        for due in one.due_to:
            start, end = due.span
            assert ends[-1] <= start < end <= len(text)
            assert due.nats >= attribution.LEAST_NATS
            ends.append(end)
    monkeypatch.setattr(attribution, "LEAST_NATS", float("-inf"))
    (whole,) = found(bundle, context, text)[0].due_to
    assert whole.span == (0, len(text))


def test_rows_are_read_in_parts_without_a_difference(bundle, written, monkeypatch) -> None:
    context, text = written
    whole = found(bundle, context, text)
    monkeypatch.setattr(attribution, "ROWS", 3)
    for one, other in zip(whole, found(bundle, context, text), strict=True):
        assert one.against == pytest.approx(other.against, abs=0.01)


def test_without_codes_there_is_nothing_to_attribute_and_an_unknown_code_is_refused(bundle, written) -> None:
    context, text = written
    assert found(bundle, context.model_copy(update={"controls": {}}), text) == []
    with pytest.raises(BadControl, match="mood"):
        found(bundle, context.model_copy(update={"controls": {"mood": "x"}}), text)
