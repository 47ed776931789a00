from copy import deepcopy

import pytest
import torch
from peft.tuners.lora import Linear as LoraLinear

from common.language.base_model import teacher_forced
from train_app.stages.policy import Policy
from train_app.stages.sft import backward_of, num_answer_tokens
from train_app.stages.state import tensors_digest


def logprobs(model, rows):
    return torch.cat(
        [state.logprob_T for state in teacher_forced(model, [ids for ids, _ in rows], prompt_lens=[start for _, start in rows])]
    )


@pytest.fixture
def rows(bench):
    return [bench.encoded(bench.real(example)) for example in bench.splits.train[:3]]


def disturb(policy) -> None:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters().values():
            parameter.add_(torch.randn_like(parameter) * 0.3)


def test_only_the_adapter_is_trained(bench) -> None:
    names = bench.policy.parameters()
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert bench.policy.targets() == ("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    assert not any(parameter.requires_grad for parameter in bench.policy.merged.model.parameters())


def test_a_new_adapter_changes_nothing(bench, rows) -> None:
    with torch.no_grad():
        assert torch.equal(logprobs(bench.policy.language.model, rows), logprobs(bench.policy.merged.model, rows))


@torch.no_grad()
def test_the_merged_copy_says_what_the_adapted_model_says_once_it_is_brought_up_to_date(bench, rows) -> None:
    disturb(bench.policy)
    adapted = logprobs(bench.policy.language.model, rows)
    assert not torch.allclose(adapted, logprobs(bench.policy.merged.model, rows), atol=1e-3)
    bench.merge()
    assert torch.allclose(adapted, logprobs(bench.policy.merged.model, rows), atol=1e-5)


@torch.no_grad()
def test_the_reference_is_held_for_a_block_and_the_policy_is_back_after_it(bench, rows) -> None:
    reference = bench.policy.adapter()
    at_reference = logprobs(bench.policy.language.model, rows)
    disturb(bench.policy)
    own, said = bench.policy.adapter(), logprobs(bench.policy.language.model, rows)
    with bench.policy.holding(reference):
        assert torch.equal(logprobs(bench.policy.language.model, rows), at_reference)
    assert tensors_digest(bench.policy.adapter()) == tensors_digest(own)
    assert torch.equal(logprobs(bench.policy.language.model, rows), said)
    assert all(parameter.requires_grad for parameter in bench.policy.parameters().values()), "holding a reference froze the policy"


def test_another_models_adapter_is_refused(bench) -> None:
    with pytest.raises(AssertionError, match="not this policy"):
        bench.policy.load({"base_model.model.x.lora_A.weight": torch.zeros(1)})


def test_names_are_those_that_peft_saves(bench) -> None:
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in bench.policy.adapter()


@pytest.mark.parametrize("adapter", ["lora", "adalora", "bottleneck"])
@pytest.mark.parametrize("training", [True, False])
def test_layers_that_are_computed_again_give_the_same_gradients_with_dropout_and_without(make_bench, training, adapter) -> None:
    def gradients(bench) -> tuple[dict[str, torch.Tensor], int]:
        disturb(bench.policy)
        passes = []
        first = next(module for name, module in bench.policy.language.model.named_modules() if name.endswith("layers.0.mlp.gate_proj"))
        first.register_forward_hook(lambda *called: passes.append(1))
        bench.policy.train(training)
        torch.manual_seed(4)
        rows = [bench.encoded(bench.real(example)) for example in bench.splits.train[:3]]
        backward_of(bench, rows, tokens=num_answer_tokens(rows))
        return {name: parameter.grad for name, parameter in bench.policy.parameters().items()}, len(passes)

    plain, bench = gradients(make_bench(adapter=adapter)), make_bench(adapter=adapter)
    bench.policy.recompute_layers()
    again = gradients(bench)
    assert (plain[1], again[1]) == (1, 2), "its layers ran a second time"
    assert all(torch.equal(again[0][name], gradient) for name, gradient in plain[0].items())
    assert any(gradient.abs().max() > 0 for gradient in plain[0].values())


def test_without_dropout_a_layer_sums_its_weights_first_and_says_and_learns_the_same(bench, rows) -> None:
    policy = Policy(deepcopy(bench.policy.merged), rank=4, alpha=8, dropout=0.0, seed=1)
    disturb(policy)

    def gradients():
        policy.language.model.zero_grad()
        said = logprobs(policy.language.model, rows)
        said.sum().backward()
        return said.detach(), {name: parameter.grad.clone() for name, parameter in policy.parameters().items()}

    said, learnt = gradients()
    summed = [layer for layer in policy.language.model.modules() if isinstance(layer, LoraLinear) and "forward" in vars(layer)]
    assert len(summed) == 14
    for layer in summed:
        del layer.forward
    as_peft, learnt_as_peft = gradients()
    assert torch.allclose(said, as_peft, atol=1e-5)
    assert all(torch.allclose(grad, learnt_as_peft[name], atol=1e-3, rtol=1e-3) for name, grad in learnt.items())
