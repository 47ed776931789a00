"""Test is read once: by the bundle, and by what it is compared with."""

import torch

from common.bundle.manifest import Answering
from common.domain.decoding import DecodingParams
from common.packs.load import load_pack
from train_app.config import EvaluationConfig
from train_app.runtime.final_evaluation import final_evaluation
from train_app.stages.state import State

PACK = load_pack("shop")
ANSWERING = Answering(decoding=DecodingParams(max_new_tokens=8), k=2, max_attempts=1, threshold=0.0)


def test_a_bundle_that_is_plain_sft_is_not_measured_twice(bench, tmp_path) -> None:
    sft = {name: torch.full_like(tensor, 0.05) for name, tensor in bench.policy.adapter().items()}
    state = State(bench.run).with_group("policy", sft).with_group("candidate sft", sft)
    config = EvaluationConfig(rows=2, compare=("base", "sft"))
    others = {"bench": bench, "answering": ANSWERING, "scorer": None, "pack": PACK, "place": str(tmp_path)}
    assert list(final_evaluation(state, config, lambda progress: None, **others)) == ["base", "chosen"]


def test_base_sft_and_bundle_answer_the_same_rows_and_what_was_measured_is_not_measured_again(bench, tmp_path) -> None:
    sft = {name: torch.full_like(tensor, 0.05) for name, tensor in bench.policy.adapter().items()}
    chosen = {name: torch.full_like(tensor, 0.2) for name, tensor in sft.items()}
    state = State(bench.run).with_group("policy", chosen).with_group("candidate sft", sft)
    seen = []

    def measured():
        return final_evaluation(
            state, EvaluationConfig(rows=4, compare=("base", "sft")), seen.append, bench=bench, answering=ANSWERING, scorer=None,
            pack=PACK, place=str(tmp_path),
        )  # fmt: skip

    found = measured()
    assert list(found) == ["base", "sft", "chosen"]
    rows = [example.example_id for example in bench.splits.test[:4]]
    assert all([sample.example_id for sample in one.samples] == rows for one in found.values())
    assert (found["base"].k, found["sft"].k, found["chosen"].k) == (1, 1, 2)
    perplexities = {one.measures["reference.perplexity_token"].value for one in found.values()}
    assert len(perplexities) == 3, "three generators"
    told = len(seen)
    assert measured() == found
    assert len(seen) == told, "the second time nothing was written"


def test_with_changes_the_bundle_alone_is_asked_again_for_other_users(bench, tmp_path) -> None:
    """Twins at least: the tiny shop's reasons are of users without a history."""
    adapter = bench.policy.adapter()
    state = State(bench.run).with_group("policy", {name: torch.full_like(tensor, 0.2) for name, tensor in adapter.items()})
    state = state.with_group("candidate sft", adapter)

    def measured(changes: int) -> dict:
        config = EvaluationConfig(rows=3, compare=("sft",), changes=changes)
        place = str(tmp_path / str(changes))
        return final_evaluation(state, config, lambda progress: None, bench=bench, answering=ANSWERING, scorer=None, pack=PACK, place=place)

    found = measured(2)
    assert found["chosen"].measures["changes.gender_checks"].n == 2
    assert not any(name.startswith("changes.") for name in found["sft"].measures)
    without = measured(0)["chosen"].measures
    assert {name: one for name, one in found["chosen"].measures.items() if not name.startswith("changes.")} == without
