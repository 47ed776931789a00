from hypothesis import given
from hypothesis import strategies as st

from common.domain.decoding import DecodingParams
from common.generation.engine import Sequence
from common.generation.hf.scheduler import Waiting, WaitingLine, shared_prefix


def waiting(number: int, prefix: int = 0, guided: bool = False) -> Waiting:
    sequence = Sequence(prompt_ids=(prefix, number), prefix_len=1, seed=0, null_prompt_ids=(prefix, 9))
    return Waiting(number, sequence, DecodingParams(guidance=2.0 if guided else 1.0), (prefix,))


def line_of(*entries: Waiting) -> WaitingLine:
    line = WaitingLine()
    for entry in entries:
        line.add(entry)
    return line


def ids(taken: list[Waiting]) -> list[int]:
    return [entry.sequence_id for entry in taken]


def test_who_came_first_goes_first():
    line = line_of(*(waiting(n, prefix=n) for n in range(5)))
    assert [ids(line.take(2)), ids(line.take(2)), ids(line.take(2)), ids(line.take(2))] == [[0, 1], [2, 3], [4], []]


def test_who_shares_the_first_ones_prefix_goes_along():
    line = line_of(waiting(0, prefix=7), waiting(1, prefix=8), waiting(2, prefix=7), waiting(3, prefix=8))
    assert ids(line.take(3)) == [0, 2, 1]
    assert ids(line.take(3)) == [3]


def test_a_guided_sequence_waits_for_two_rows_and_is_not_overtaken_for_ever():
    line = line_of(waiting(0, guided=True), waiting(1))
    assert ids(line.take(1)) == []
    assert ids(line.take(3)) == [0, 1]


def test_a_removed_sequence_is_not_admitted():
    line = line_of(waiting(0), waiting(1))
    assert line.remove(0)
    assert not line.remove(0)
    assert ids(line.take(9)) == [1]
    assert len(line) == 0


def test_a_prefix_leaves_at_least_one_token_to_feed():
    assert shared_prefix((1, 2, 3), 2) == (1, 2)
    assert shared_prefix((1, 2, 3), 3) == (1, 2)
    assert shared_prefix((1,), 1) == ()


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30), st.lists(st.integers(0, 6), min_size=1, max_size=8))
def test_everybody_is_admitted_once_and_the_first_in_line_always_first(entries, rooms):
    line = line_of(*(waiting(n, prefix=prefix, guided=guided) for n, (prefix, guided) in enumerate(entries)))
    left, admitted = list(range(len(entries))), []
    for room in [*rooms, *[2] * len(entries)]:
        taken = line.take(room)
        assert sum(entry.num_rows for entry in taken) <= room
        if taken:
            assert taken[0].sequence_id == left[0]
        left = [number for number in left if number not in ids(taken)]
        admitted += ids(taken)
    assert sorted(admitted) == list(range(len(entries)))
