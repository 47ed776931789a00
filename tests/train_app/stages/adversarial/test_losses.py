from types import SimpleNamespace

import pytest
import torch

from common.quality.discriminator import FeatureBatch
from train_app.stages.adversarial.losses import (
    discriminator_loss,
    generator_loss,
    generator_reward,
    gradient_penalty,
    kl_k3,
    policy_loss,
    r1_penalty,
    wrong_text_loss,
)

KINDS = ("bce", "hinge", "bt", "wgan")


@pytest.mark.parametrize("kind", KINDS)
def test_discriminator_is_pushed_up_on_real_and_down_on_generated_texts(kind) -> None:
    real, fake = torch.tensor([0.1, -0.3], requires_grad=True), torch.tensor([0.2, -0.1], requires_grad=True)
    discriminator_loss(kind, real, fake).backward()
    assert (real.grad < 0).all(), "a step against the gradient raises real logits"
    assert (fake.grad > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_discriminator_is_pushed_down_on_wrong_texts(kind) -> None:
    wrong = torch.tensor([0.2, -0.1], requires_grad=True)
    wrong_text_loss(kind, wrong, torch.tensor([0.0, 0.0])).backward()
    assert (wrong.grad > 0).all()


def test_bce_is_the_cross_entropy_with_one_sided_smoothing() -> None:
    real, fake = torch.tensor([1.5]), torch.tensor([-0.5])
    p, q = torch.sigmoid(real), torch.sigmoid(fake)
    expected = -(0.9 * p.log() + 0.1 * (1 - p).log()) - (1 - q).log()
    assert float(discriminator_loss("bce", real, fake)) == pytest.approx(float(expected), abs=1e-6)
    best = torch.tensor([0.9]).logit()
    assert float(discriminator_loss("bce", best, fake)) < float(discriminator_loss("bce", best + 3, fake)), "certainty is not rewarded"


@pytest.mark.parametrize("kind", ["bt", "wgan"])
def test_logits_without_an_anchor_are_compared_only_so_none_drifts(kind) -> None:
    real, fake, wrong = torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.5]), torch.tensor([-0.4, 0.2])
    for shift in (-100.0, 100.0):
        moved = [one + shift for one in (real, fake, wrong)]
        assert float(discriminator_loss(kind, *moved[:2])) == pytest.approx(float(discriminator_loss(kind, real, fake)), abs=1e-4)
        assert float(wrong_text_loss(kind, moved[2], moved[0])) == pytest.approx(float(wrong_text_loss(kind, wrong, real)), abs=1e-4)
        assert generator_reward(kind, moved[1]).tolist() == pytest.approx(generator_reward(kind, fake).tolist(), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_generator_is_paid_more_for_what_is_taken_for_real(kind) -> None:
    rewards = generator_reward(kind, torch.tensor([-4.0, 0.0, 2.0]))
    assert rewards.diff().min() > 0


def test_bce_reward_does_not_saturate_where_the_generator_is_worst() -> None:
    logit = torch.tensor([-3.0], requires_grad=True)
    generator_reward("bce", logit).sum().backward()
    assert float(logit.grad) > 0.9, "log sigma keeps its slope; log(1 - sigma), the saturating loss, has .05 here"


def test_an_overconfident_discriminator_cannot_drown_other_rewards() -> None:
    assert float(generator_reward("bce", torch.tensor([-1e6]))) == -5
    assert generator_reward("hinge", torch.tensor([-1e6, 1e6])).tolist() == [-5, 5]


def test_kl_is_zero_with_zero_slope_where_policy_and_reference_agree_and_positive_elsewhere() -> None:
    logprob = torch.tensor([-0.5, -1.0], requires_grad=True)
    equal = kl_k3(logprob, logprob.detach()).sum()
    equal.backward()
    assert float(equal.detach()) == 0
    assert logprob.grad.abs().max() == 0
    assert kl_k3(torch.tensor([-0.5, -1.0]), torch.tensor([-1.5, -0.2])).min() > 0


def test_policy_gradient_raises_good_samples_and_lowers_bad_ones() -> None:
    good, bad = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([-1.0], requires_grad=True)
    policy_loss([good, bad], torch.tensor([1.0, -1.0]), max_tokens=10, num_texts=2).backward()
    assert (good.grad < 0).all()
    assert (bad.grad > 0).all()
    assert good.grad[0] == -bad.grad[0], "a long text's tokens count as much as a short one's"


@pytest.mark.parametrize("kind", KINDS)
def test_a_generator_that_learns_through_the_discriminator_pushes_its_logits_up(kind) -> None:
    fake = torch.tensor([-3.0, 0.5], requires_grad=True)
    generator_loss(kind, fake).sum().backward()
    assert (fake.grad < 0).all(), "a step against the gradient raises the logit"


def test_the_generators_bce_does_not_saturate_where_it_is_worst() -> None:
    fake = torch.tensor([-6.0], requires_grad=True)
    loss = generator_loss("bce", fake)
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(6.0025, abs=1e-3), "sp(-D), not -BCE(D, 0), which is -.0025 here"
    assert float(fake.grad) < -0.99


def linear(weight: torch.Tensor) -> SimpleNamespace:
    """A discriminator whose logit is `weight` times the first input, whatever else there is."""
    return SimpleNamespace(
        inputs=lambda batch: batch.hidden_BTD.float(),
        judge=lambda inputs_BTF, mask_BT, codes_BC: SimpleNamespace(logit_B=weight * inputs_BTF[:, 0, 0]),
    )


def texts(length: int) -> FeatureBatch:
    ids, mask = torch.zeros(1, length, dtype=torch.long), torch.ones(1, length)
    return FeatureBatch(ids, torch.randn(1, length, 4), torch.zeros(1, length, 3), mask, ids, mask)


@pytest.mark.parametrize("slope", [2.0, -0.5])
def test_r1_is_half_the_squared_slope_at_real_texts_and_flattens_it(slope: float) -> None:
    weight = torch.tensor(slope, requires_grad=True)
    penalty = r1_penalty(linear(weight), texts(3), torch.zeros(1, 0))
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(slope**2 / 2)
    assert float(weight.grad) == pytest.approx(slope), "a step against it brings the slope towards 0, not towards 1"


@pytest.mark.parametrize(("slope", "penalty"), [(1.0, 0.0), (2.0, 1.0), (0.5, 0.25)])
def test_gradient_penalty_is_the_square_of_how_far_the_slope_is_from_one(slope: float, penalty: float) -> None:
    weight = torch.tensor(slope, requires_grad=True)
    found = gradient_penalty(linear(weight), texts(3), texts(5), torch.zeros(1, 0), mix_B=torch.tensor([0.5]))
    found.backward()
    assert float(found.detach()) == pytest.approx(penalty)
    assert float(weight.grad) == pytest.approx(2 * (slope - 1)), "what the discriminator's weights learn from it"
