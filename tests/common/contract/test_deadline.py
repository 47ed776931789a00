"""The deadline header and the time that is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.contract.deadline import Deadline, DeadlineLimits, parse_deadline_ms
from common.errors import BadInput

LIMITS = DeadlineLimits(default_ms=2000, min_ms=100, max_ms=5000)


@pytest.mark.parametrize(("header", "milliseconds"), [(None, 2000), ("100", 100), (" 5000 ", 5000), ("0300", 300)])
def test_a_deadline_within_bounds_is_taken_as_it_is(header: str | None, milliseconds: int) -> None:
    assert parse_deadline_ms(header, limits=LIMITS) == milliseconds


@pytest.mark.parametrize("header", ["99", "5001", "-1", "1e3", "300.0", "", "two", "３００", "9" * 5000])
def test_a_deadline_out_of_bounds_or_not_a_number_is_refused_with_the_bounds(header: str) -> None:
    with pytest.raises(BadInput, match="from 100 to 5000"):
        parse_deadline_ms(header, limits=LIMITS)


@given(st.text())
def test_any_header_is_either_within_bounds_or_refused(header: str) -> None:
    try:
        milliseconds = parse_deadline_ms(header, limits=LIMITS)
    except BadInput:
        return
    assert 100 <= milliseconds <= 5000


def test_time_left_runs_down_to_zero_and_not_below() -> None:
    deadline = Deadline.after(1500, now_s=10.0)
    assert [deadline.left_s(now_s=now) for now in (10.0, 11.0, 11.5, 60.0)] == [1.5, 0.5, 0.0, 0.0]


def test_bounds_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="min_ms <= default_ms"):
        DeadlineLimits(default_ms=10, min_ms=100)
