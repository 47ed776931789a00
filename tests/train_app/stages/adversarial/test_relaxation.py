import pytest
import torch

from common.language.base_model import teacher_forced
from train_app.config import AdversarialConfig, DiscriminatorStageConfig
from train_app.stages.adversarial.relaxation import gumbel_loss, held_still, relaxed, temperature_at


def test_the_drawn_token_is_the_most_likely_of_its_relaxation() -> None:
    logits = torch.randn(40, 12, generator=torch.Generator().manual_seed(1)) * 3
    ids = torch.distributions.Categorical(logits=logits).sample()
    for temperature in (1.0, 0.5, 0.1):
        soft = relaxed(logits, ids, temperature=temperature, seed=3)
        assert torch.equal(soft.argmax(-1), ids)
        torch.testing.assert_close(soft.sum(-1), torch.ones(40))
    assert soft.amax(-1).mean() > relaxed(logits, ids, temperature=1.0, seed=3).amax(-1).mean(), "colder is nearer to one token"


def test_the_noise_is_gumbel_noise_once_its_winner_is_drawn_from_the_distribution() -> None:
    """Of all keys over many draws: mean .5772 above the log-probability, as unconditional Gumbel noise has it."""
    logits = torch.tensor([1.0, 0.0, -1.0]).log_softmax(-1).expand(40_000, 3)
    ids = torch.multinomial(logits[0].exp(), 40_000, replacement=True, generator=torch.Generator().manual_seed(5))
    soft = relaxed(logits, ids, temperature=1.0, seed=2)
    difference = soft.log()[:, 0] - soft.log()[:, 1]
    assert float(difference.mean()) == pytest.approx(1.0, abs=0.05), (
        "the difference of two Gumbel variables is logistic around that of logits"
    )
    assert float(difference.std()) == pytest.approx(1.814, abs=0.05)


def test_the_temperature_falls_from_start_to_end() -> None:
    config = AdversarialConfig(mode="gumbel", steps_per_round=3, gumbel_start=1.0, gumbel_end=0.25)
    assert [temperature_at(step, config) for step in range(3)] == pytest.approx([1.0, 0.5, 0.25])
    assert temperature_at(0, AdversarialConfig(mode="gumbel", steps_per_round=1)) == 1.0


@pytest.fixture(params=["features", "ids", "lora_head"])
def relaxation(request, make_bench):
    """A discriminator of each kind, the policy's samples, and the loss that a tensor of token scores gets through it."""
    from dataclasses import replace

    bench = make_bench()
    bench = replace(bench, discriminator=DiscriminatorStageConfig(kind=request.param, channels=8, lora_rank=2))
    discriminator = bench.new_discriminator()
    contexts = [example.context for example in bench.splits.discriminator[:2]]
    candidates = [one for group in bench.write(contexts, k=2, stage="t", step=0) for one in group]
    features = [one.features for one in candidates]
    controls = [context.controls for context in contexts for _ in range(2)]
    return bench, discriminator, features, controls


def loss_of(relaxation):
    bench, discriminator, features, controls = relaxation
    model = bench.policy.language.model
    ids = [(*one.prompt_ids_P.tolist(), *one.ids_T.tolist()) for one in features]
    states = teacher_forced(model, ids, prompt_lens=[len(one.prompt_ids_P) for one in features])
    return gumbel_loss(
        model, discriminator, states, features, controls, kind="hinge", temperature=0.7, drawn_at=1.0, seeds=list(range(len(ids)))
    )


def test_the_discriminator_sees_the_very_tokens_that_were_drawn(relaxation) -> None:
    _, discriminator, features, controls = relaxation
    plain = discriminator.logits(features, controls)
    assert float(-loss_of(relaxation).detach()) == pytest.approx(sum(plain), abs=1e-3)


def test_the_policy_gets_a_gradient_that_raises_its_logits_and_the_discriminator_none(relaxation) -> None:
    bench, discriminator, _, _ = relaxation
    if discriminator.config.kind == "lora_head":
        torch.nn.init.normal_(discriminator.head.weight)
    parameters = bench.policy.parameters()
    torch.manual_seed(0)
    for parameter in parameters.values():
        torch.nn.init.normal_(parameter, std=0.1)
    loss = loss_of(relaxation)
    loss.backward()
    assert any(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in parameters.values())
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert all(parameter.requires_grad for parameter in discriminator.parameters()), "and it can learn again afterwards"
    assert not discriminator.training


def test_a_discriminator_that_is_held_still_keeps_its_spectral_estimates(make_bench) -> None:
    from dataclasses import replace

    bench = make_bench()
    bench = replace(bench, discriminator=DiscriminatorStageConfig(channels=8, spectral_norm=True))
    discriminator = bench.new_discriminator().train()
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    with held_still(discriminator):
        discriminator.logits(bench.features([bench.real(bench.splits.train[0])]), [{}])
    assert all(torch.equal(tensor, before[name]) for name, tensor in discriminator.state_dict().items())
