"""Who is let in, and who is next."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serve_app.graph.admission import SHARE, Admission


def ask(line: Admission[str], tenant: str, num: int, *, within_s: float = 10.0, seconds_a_sequence: float = 0.1) -> int:
    """Adds what there is room for."""
    room = line.room(num, tenant=tenant, within_s=within_s, seconds_a_sequence=seconds_a_sequence)
    for _ in range(room):
        line.add(f"{tenant}{len(line)}", tenant=tenant)
    return room


def test_no_more_is_let_in_than_ends_in_time() -> None:
    line: Admission[str] = Admission(slots=4)
    assert ask(line, "a", 60) == 60
    assert ask(line, "a", 60) == 10 * 10 * SHARE - 60, "the rest would end behind ten seconds"
    assert ask(line, "a", 1) == 0
    assert ask(line, "a", 60, within_s=20) == 60, "who has more time may wait longer"


def test_an_engine_with_free_slots_refuses_nobody() -> None:
    line: Admission[str] = Admission(slots=4)
    assert ask(line, "a", 9, within_s=0.01) == 4
    assert ask(line, "a", 9, seconds_a_sequence=0.0) == 9, "nor does one whose pace nobody knows"


def test_a_tenant_that_comes_late_gets_its_share_of_the_time_and_its_turns() -> None:
    line: Admission[str] = Admission(slots=4)
    flood = ask(line, "a", 200)
    for _ in range(20):
        line.done(line.next())
    assert ask(line, "b", 100) == flood // 2, "of two, one may use half of the time"
    begun = Counter(line.next()[0] for _ in range(40))
    assert begun == {"a": 20, "b": 20}


def test_a_tenants_own_come_in_the_order_in_which_they_were_asked_for() -> None:
    line: Admission[str] = Admission(slots=4)
    for number in range(3):
        line.add(f"a{number}", tenant="a")
        line.add(f"b{number}", tenant="b")
    assert [line.next() for _ in range(7)] == ["a0", "b0", "a1", "b1", "a2", "b2", None]


def test_what_was_not_asked_for_earlier_is_no_claim() -> None:
    line: Admission[str] = Admission(slots=4)
    for number in range(50):
        line.add(f"a{number}", tenant="a")
    for _ in range(30):
        line.next()
    for number in range(10):
        line.add(f"b{number}", tenant="b")
    assert Counter(line.next()[0] for _ in range(10)) == {"a": 5, "b": 5}


def test_a_tenant_that_was_never_quite_idle_has_no_claim_either() -> None:
    line: Admission[str] = Admission(slots=4)
    line.add("a0", tenant="a")
    assert line.next() == "a0", "it runs on while others are served"
    for number in range(200):
        line.add(f"b{number}", tenant="b")
    for _ in range(150):
        line.next()
    for number in range(1, 50):
        line.add(f"a{number}", tenant="a")
    assert Counter(line.next()[0] for _ in range(20)) == {"a": 10, "b": 10}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "next", "withdraw", "done"])), max_size=80))
def test_nothing_is_lost_or_begun_twice(steps: list[tuple[str, str]]) -> None:
    line: Admission[str] = Admission(slots=2)
    waiting: list[str] = []
    begun: list[str] = []
    for number, (tenant, step) in enumerate(steps):
        if step == "add":
            waiting.append(f"{tenant}{number}")
            line.add(waiting[-1], tenant=tenant)
        elif step == "next":
            thing = line.next()
            assert (thing is None) == (not waiting)
            if thing is not None:
                waiting.remove(thing)
                begun.append(thing)
        elif step == "withdraw" and waiting:
            assert line.withdraw(waiting.pop())
        elif step == "done" and begun:
            assert not line.withdraw(begun[-1]), "what has begun is not withdrawn"
            line.done(begun.pop())
        assert (len(line), line.num_waiting) == (len(waiting) + len(begun), len(waiting))
