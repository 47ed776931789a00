"""What the discriminator minimises and what the generator is paid. Formulas on logits; knows no model and no text.

D(.) is a logit, sp softplus, sigma the logistic function.
"""

from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, relu, softplus

from common.quality.discriminator import Discriminator, FeatureBatch
from train_app.config import DiscriminatorLoss

REWARD_CLIP = 5.0
"""Logits beyond it say nothing more; keeps an overconfident discriminator from drowning the other rewards."""


def discriminator_loss(kind: DiscriminatorLoss, real_B: Tensor, fake_B: Tensor, *, real_target: float = 0.9) -> Tensor:
    """Smaller when real texts score above generated ones.

    bce    t sp(-D(y)) + (1 - t) sp(D(y)) + sp(D(f)), t = `real_target` on real texts only (Goodfellow 2014; Salimans 2016, 3.4)
    hinge  max(0, 1 - D(y)) + max(0, 1 + D(f)) (Lim & Ye 2017)
    bt     -log sigma(D(y) - D(f)), pairs of one context (Bradley-Terry; GAD 2025, RelGAN's RSGAN 2019)
    wgan   D(f) - D(y) (Arjovsky et al. 2017); wants a slope bounded by `gradient_penalty`, `r1_penalty` or spectral norm
    """
    match kind:
        case "bce":
            return (real_target * softplus(-real_B) + (1 - real_target) * softplus(real_B)).mean() + softplus(fake_B).mean()
        case "hinge":
            return relu(1 - real_B).mean() + relu(1 + fake_B).mean()
        case "bt":
            return -logsigmoid(real_B - fake_B).mean()
        case "wgan":
            return fake_B.mean() - real_B.mean()
        case _:
            assert_never(kind)


def wrong_text_loss(kind: DiscriminatorLoss, wrong_B: Tensor, real_B: Tensor) -> Tensor:
    """For texts that a person wrote and that are wrong here (perturbed, mismatched): the fake half of `discriminator_loss`; of bt and wgan,
    whose logits mean something beside each other only, against the real text."""
    match kind:
        case "bce":
            return softplus(wrong_B).mean()
        case "hinge":
            return relu(1 + wrong_B).mean()
        case "bt":
            return -logsigmoid(real_B - wrong_B).mean()
        case "wgan":
            return (wrong_B - real_B).mean()
        case _:
            assert_never(kind)


def generator_reward(kind: DiscriminatorLoss, fake_B: Tensor) -> Tensor:
    """Larger for texts that the discriminator takes for real.

    bce pays log sigma(D(f)), the non-saturating form: the brief asks for it, and -BCE(D(f), 0) = -sp(D(f)) has no slope where
    the generator is worst. hinge pays the logit, bt and wgan how far it lies above the others of its prompt. All are clipped at +-5.
    `fake_B`: [..., samples of one prompt].
    """
    match kind:
        case "bce":
            return logsigmoid(fake_B).clamp(min=-REWARD_CLIP)
        case "hinge":
            return fake_B.clamp(-REWARD_CLIP, REWARD_CLIP)
        case "bt" | "wgan":
            return (fake_B - fake_B.mean(-1, keepdim=True)).clamp(-REWARD_CLIP, REWARD_CLIP)
        case _:
            assert_never(kind)


def generator_loss(kind: DiscriminatorLoss, fake_B: Tensor) -> Tensor:
    """What a generator minimises through the discriminator, one value a text; its slope pushes every logit up.

    bce is the non-saturating sp(-D(f)) = -log sigma(D(f)) (Goodfellow et al. 2014, section 3). hinge, wgan: -D(f) (Lim & Ye 2017;
    Arjovsky et al. 2017). bt: -D(f) too, since the real half of its pair does not depend on the generator.
    """
    match kind:
        case "bce":
            return softplus(-fake_B)
        case "hinge" | "bt" | "wgan":
            return -fake_B
        case _:
            assert_never(kind)


def gradient_penalty(discriminator: Discriminator, real: FeatureBatch, fake: FeatureBatch, codes_BC: Tensor, *, mix_B: Tensor) -> Tensor:
    """(|dD/dx| - 1)^2 at points between real and generated inputs (Gulrajani et al. 2017); `mix_B` in [0, 1] is the real share of each."""
    length = max(real.ids_BT.shape[1], fake.ids_BT.shape[1])
    real_BTF, fake_BTF = _padded(discriminator.inputs(real), length), _padded(discriminator.inputs(fake), length)
    mask_BT = torch.maximum(_padded(real.mask_BT[..., None], length), _padded(fake.mask_BT[..., None], length))[..., 0]
    share = mix_B[:, None, None]
    between = (share * real_BTF + (1 - share) * fake_BTF).detach().requires_grad_(True)
    logit_B = discriminator.judge(between, mask_BT, codes_BC).logit_B
    (slope,) = torch.autograd.grad(logit_B.sum(), between, create_graph=True)
    penalty: Tensor = ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    return penalty


def r1_penalty(discriminator: Discriminator, real: FeatureBatch, codes_BC: Tensor) -> Tensor:
    """|dD/dx|^2 / 2 on real inputs, mean over texts (Mescheder et al. 2018, equation 9): at a real text the discriminator is to be flat."""
    at_real = discriminator.inputs(real).detach().requires_grad_(True)
    logit_B = discriminator.judge(at_real, real.mask_BT, codes_BC).logit_B
    (slope,) = torch.autograd.grad(logit_B.sum(), at_real, create_graph=True)
    penalty: Tensor = (slope**2).flatten(1).sum(1).mean() / 2
    return penalty


def kl_k3(logprob_T: Tensor, reference_T: Tensor) -> Tensor:
    """Per token estimate of KL(policy, reference) on the policy's own samples: r - 1 - log r with r = reference / policy (Schulman 2020).

    Never negative; zero with zero slope where the two agree.
    """
    log_ratio_T = reference_T - logprob_T
    return log_ratio_T.exp() - 1 - log_ratio_T


def policy_loss(logprobs: list[Tensor], advantage_B: Tensor, *, max_tokens: int, num_texts: int) -> Tensor:
    """-(1 / (N L)) sum_i A_i sum_t log p(y_it): one gradient step a rollout, so the ratio of PPO is 1.

    A constant divisor instead of each text's length: the mean over tokens would favour short good and long bad texts (Dr. GRPO 2025).
    """
    weighted = [advantage * logprob_T.sum() for advantage, logprob_T in zip(advantage_B, logprobs, strict=True)]
    return -torch.stack(weighted).sum() / (max_tokens * num_texts)


def _padded(values_BTF: Tensor, length: int) -> Tensor:
    return pad(values_BTF, (0, 0, 0, length - values_BTF.shape[1]))
