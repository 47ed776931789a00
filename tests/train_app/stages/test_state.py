import pytest
import torch

from common.errors import DigestMismatch
from train_app.stages.state import State, pack_rows, read_state, tensors_digest, unpack_rows, write_state


def made() -> State:
    state = State("inputs", "sft", 7).with_group("policy", {"b": torch.randn(2, 3), "a": torch.arange(4)})
    return state.with_group("candidate sft", {"b": torch.ones(1)}).with_values({"best": 0.25, "done": ["sft"], "none": None})


def test_a_state_comes_back_bit_for_bit(tmp_path) -> None:
    state = made()
    write_state(state, tmp_path)
    again = read_state(tmp_path, inputs="inputs")
    assert (again.stage, again.step, again.values, list(again.tensors)) == ("sft", 7, state.values, list(state.tensors))
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in state.tensors.items())


def test_a_state_is_plain_data_and_no_pickle(tmp_path) -> None:
    write_state(made(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]


def test_a_state_of_another_run_is_refused(tmp_path) -> None:
    write_state(made(), tmp_path)
    with pytest.raises(DigestMismatch, match="another `out`"):
        read_state(tmp_path, inputs="others")


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("place", [0.3, 0.99])
def test_a_state_that_was_damaged_where_it_lay_is_refused(tmp_path, name, place) -> None:
    write_state(made(), tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[int(len(data) * place)] ^= 1
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DigestMismatch, match=f"{name}.*begins anew"):
        read_state(tmp_path, inputs="inputs")


def test_a_state_of_an_older_release_is_told_as_such(tmp_path) -> None:
    write_state(made(), tmp_path)
    (tmp_path / "state.json").write_bytes(b'{"inputs": "inputs", "stage": "sft"}')
    with pytest.raises(DigestMismatch, match="older release"):
        read_state(tmp_path, inputs="inputs")


def test_an_empty_state_can_be_saved(tmp_path) -> None:
    write_state(State("inputs"), tmp_path)
    assert read_state(tmp_path, inputs="inputs") == State("inputs")


def test_a_group_is_replaced_as_a_whole_and_holds_its_own_copy() -> None:
    weights = {"x": torch.zeros(2)}
    state = made().with_group("policy", weights)
    weights["x"] += 1
    assert {name: tensor.tolist() for name, tensor in state.group("policy").items()} == {"x": [0, 0]}
    assert state.groups("candidate ") == ["candidate sft"]
    assert state.without_groups("policy").group("policy") == {}


def test_entering_a_stage_starts_it_and_going_on_does_not() -> None:
    assert made().enter("sft").step == 7
    assert made().enter("filtering 1").step == 0


def test_ragged_rows_survive_packing() -> None:
    rows = [[3, 1], [], [5]]
    assert unpack_rows(pack_rows(rows)) == rows
    assert unpack_rows(pack_rows([])) == []


def test_a_digest_sees_one_changed_bit() -> None:
    weights = {"x": torch.zeros(3)}
    changed = {"x": torch.tensor([0.0, 0.0, 1e-45])}
    assert tensors_digest(weights) != tensors_digest(changed)
    assert tensors_digest(weights) == tensors_digest({"x": torch.zeros(3)})
