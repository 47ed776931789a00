"""What holds for every kind of adapter, and what AdaLoRA does to its ranks."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file

from common.artifacts.digest import canonical_json
from common.bundle.adapters import adapter_config
from common.bundle.manifest import AdapterRef
from common.language.base_model import teacher_forced
from train_app.config import FilteringConfig, SftConfig
from train_app.stages import adapters
from train_app.stages.filtering.rounds import train_on_best
from train_app.stages.sft import sft
from train_app.stages.state import State, read_state, tensors_digest, write_state

KINDS = ("lora", "adalora", "bottleneck")
SFT = SftConfig(learning_rate=5e-3, batch_size=6, max_steps=20, evaluate_every=4, patience=1)


def quiet(told) -> None:
    pass


def logprobs(model, bench):
    rows = [bench.encoded(bench.real(example)) for example in bench.splits.train[:3]]
    states = teacher_forced(model, [ids for ids, _ in rows], prompt_lens=[start for _, start in rows])
    return torch.cat([state.logprob_T for state in states])


def disturb(policy) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn_like(parameter) * 0.3)


@pytest.fixture(scope="module")
def trained(make_bench):
    """Kind -> its bench, the state that SFT left, all that was saved and told on the way."""
    found = {}
    for kind in KINDS:
        bench, saved, seen = make_bench(adapter=kind), [], []
        found[kind] = (bench, sft(State(bench.run), SFT, seen.append, bench=bench, save=saved.append), saved, seen)
    return found


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_new_adapter_changes_nothing_and_the_copy_that_writes_follows_it(kind, make_bench) -> None:
    bench = make_bench(adapter=kind)
    model, copy = bench.policy.language.model, bench.policy.merged.model
    bare = logprobs(copy, bench)
    assert torch.equal(logprobs(model, bench), bare)
    disturb(bench.policy)
    said = logprobs(model, bench)
    assert not torch.allclose(said, bare, atol=1e-2)
    assert torch.equal(logprobs(copy, bench), bare), "until it is merged"
    bench.merge()
    assert torch.allclose(logprobs(copy, bench), said, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("merged_up_to", [adapters.MERGED_UP_TO, 0])
@torch.no_grad()
def test_base_weights_are_in_memory_once_but_for_small_ones_that_are_merged(kind, merged_up_to, make_bench, monkeypatch) -> None:
    monkeypatch.setattr(adapters, "MERGED_UP_TO", merged_up_to)
    bench = make_bench(adapter=kind)
    model, copy = bench.policy.language.model, bench.policy.merged.model
    frozen = {one.data_ptr() for one in model.parameters() if not one.requires_grad}
    own = {name for name, one in copy.named_parameters() if one.data_ptr() not in frozen}
    merges = kind != "bottleneck" and merged_up_to > 0
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in own} == (
        set(bench.policy.targets()) if merges else {"bottleneck"} if kind == "bottleneck" else set()
    )
    before = {name: one.clone() for name, one in model.named_parameters() if not one.requires_grad}
    bare = logprobs(copy, bench)
    disturb(bench.policy)
    bench.merge()
    assert torch.allclose(logprobs(copy, bench), logprobs(model, bench), atol=1e-5)
    assert not torch.allclose(logprobs(copy, bench), bare, atol=1e-2)
    assert all(torch.equal(one, dict(model.named_parameters())[name]) for name, one in before.items()), "the base is as it was"


@pytest.mark.parametrize("kind", ["lora", "adalora"])
def test_a_large_bases_copy_writes_what_a_merged_one_writes(kind, make_bench, monkeypatch) -> None:
    texts = []
    for limit in (adapters.MERGED_UP_TO, 0):
        monkeypatch.setattr(adapters, "MERGED_UP_TO", limit)
        bench = make_bench(adapter=kind)
        disturb(bench.policy)
        bench.merge()
        contexts = [example.context for example in bench.splits.test]
        texts.append([[one.text for one in group] for group in bench.write(contexts, k=2, stage="t", step=0)])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_reference_is_a_second_adapter_on_the_same_base_and_is_not_copied(kind, make_bench) -> None:
    policy, bench = None, make_bench(adapter=kind)
    policy = bench.policy
    disturb(policy)
    reference, at_reference = policy.adapter(), logprobs(policy.language.model, bench)
    disturb(policy)
    own, said = tensors_digest(policy.adapter()), logprobs(policy.language.model, bench)
    kept = {name: one.data_ptr() for name, one in policy.parameters().items()}
    with policy.holding(reference):
        assert torch.equal(logprobs(policy.language.model, bench), at_reference)
        assert {one.data_ptr() for one in policy.parameters().values()} == {one.data_ptr() for one in reference.values()}
    assert {name: one.data_ptr() for name, one in policy.parameters().items()} == kept
    assert tensors_digest(policy.adapter()) == own
    assert torch.equal(logprobs(policy.language.model, bench), said)
    assert all(parameter.requires_grad for parameter in policy.parameters().values())
    with pytest.raises(AssertionError, match="not this policy's"), policy.holding({}):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_sft_that_was_killed_goes_on_to_the_bit(kind, trained, make_bench, tmp_path) -> None:
    _, done, saved, _ = trained[kind]
    for number, state in enumerate((saved[2], saved[-1])):  # of AdaLoRA: while ranks are taken, and when they are settled
        write_state(state, tmp_path / str(number))
        again = make_bench(adapter=kind)
        ended = sft(read_state(tmp_path / str(number), inputs=again.run), SFT, quiet, bench=again, save=quiet)
        assert ended.values == done.values
        assert all(torch.equal(ended.tensors[name], tensor) for name, tensor in done.tensors.items())


def test_a_step_that_moves_nothing_is_ours_to_mend(make_bench, monkeypatch) -> None:
    bench = make_bench()
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    with pytest.raises(AssertionError, match="moved no parameter"):
        sft(State(bench.run), SFT, quiet, bench=bench, save=quiet)


def living(adapter) -> list[int]:
    return [int((tensor != 0).sum()) for name, tensor in adapter.items() if name.endswith("lora_E")]


def test_adalora_ends_with_the_mean_rank_that_was_asked_for_shared_unevenly(trained) -> None:
    bench, done, saved, seen = trained["adalora"]
    ranks = living(done.group("policy"))
    assert sum(ranks) == bench.policy.rank * len(ranks)
    assert len(set(ranks)) > 1, "layers differ in what they need"
    first = living(saved[0].group("policy"))
    assert set(first) == {bench.policy.ranks.first_rank} == {6}, "while it warms up, all live"
    measured = [one.step for one in seen if "validation_loss" in one.metrics]
    assert measured[-1] == 20, "patience 1 did not end it before its ranks were settled"


def test_ranks_that_were_taken_stay_away_in_later_stages(trained, make_bench) -> None:
    _, done, _, _ = trained["adalora"]
    bench = make_bench(adapter="adalora")
    config = FilteringConfig(steps_per_round=5, batch_size=4, generated_share=0.0, learning_rate=5e-3)
    later = train_on_best(done, config, quiet, stage="filtering 1", collected_in="none", bench=bench, save=quiet)
    assert tensors_digest(later.group("policy")) != tensors_digest(done.group("policy"))
    before, after = ({n: t != 0 for n, t in state.group("policy").items() if n.endswith("lora_E")} for state in (done, later))
    assert all(torch.equal(before[name], alive) for name, alive in after.items())


def test_the_loss_pulls_both_factors_of_adalora_towards_orthogonality(make_bench) -> None:
    bench = make_bench(adapter="adalora")
    ranks, before = bench.policy.ranks, None
    optimiser = torch.optim.SGD(bench.policy.parameters().values(), lr=5.0)
    for _ in range(5):
        optimiser.zero_grad()
        bench.policy.regularise(leads=False)
        assert all(parameter.grad is None for parameter in bench.policy.parameters().values()), "one worker's sum"
        bench.policy.regularise(leads=True)
        gap = float(ranks.orthogonality().detach())
        assert before is None or gap < before
        before = gap
        optimiser.step()


@torch.no_grad()
def test_peft_reads_an_exported_adalora_as_the_lora_that_it_is(trained, bare_base, tmp_path) -> None:
    bench, done, _, _ = trained["adalora"]
    bench.load(done.group("policy"))
    exported = bench.policy.exported(done.group("policy"))
    shape = AdapterRef(rank=bench.policy.ranks.first_rank, alpha=bench.policy.alpha, targets=bench.policy.targets())
    save_file(exported, str(tmp_path / "adapter_model.safetensors"))
    (tmp_path / "adapter_config.json").write_bytes(canonical_json(adapter_config(shape)))
    theirs = PeftModel.from_pretrained(bare_base().model, str(tmp_path))
    assert torch.allclose(logprobs(theirs, bench), logprobs(bench.policy.language.model, bench), atol=1e-5)
