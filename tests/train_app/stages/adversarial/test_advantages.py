import pytest
import torch

from train_app.stages.adversarial.advantages import advantages
from train_app.stages.parallel import Parallel

ALONE = Parallel()


def test_better_samples_of_a_prompt_get_positive_and_worse_ones_negative_advantages() -> None:
    found = advantages({"facts": torch.tensor([[1.0, 0.0], [0.2, 0.8]])}, {"facts": 1.0}, clip=3, parallel=ALONE)
    assert found.sign().tolist() == [[1, -1], [-1, 1]]


def test_a_prompt_whose_samples_all_earn_the_same_teaches_nothing() -> None:
    found = advantages({"facts": torch.tensor([[1.0, 1.0], [0.0, 1.0]])}, {"facts": 1.0}, clip=3, parallel=ALONE)
    assert found[0].tolist() == [0, 0]
    assert found[1].abs().min() > 0


def test_a_reward_counts_by_its_weight_and_not_by_its_scale() -> None:
    small = {"facts": torch.tensor([[1.0, 0.0, 1.0, 0.0]]), "realism": torch.tensor([[-3.0, -1.0, -2.0, -4.0]])}
    large = small | {"realism": small["realism"] * 100}
    weights = {"facts": 1.0, "realism": 1.0}
    one, other = (advantages(rewards, weights, clip=3, parallel=ALONE) for rewards in (small, large))
    assert torch.allclose(one, other, atol=0.02)


def test_different_mixtures_of_rewards_keep_different_advantages() -> None:
    """Summed before normalising, the first two would be equal."""
    rewards = {"a": torch.tensor([[1.0, 0.0, 0.0, 0.0]]), "b": torch.tensor([[0.0, 1.0, 1.0, 0.0]])}
    found = advantages(rewards, {"a": 1.0, "b": 1.0}, clip=3, parallel=ALONE)[0]
    assert found[0] != pytest.approx(float(found[1]))


def test_advantages_are_clipped_and_a_zero_weight_only_logs() -> None:
    rewards = {"facts": torch.tensor([[1.0] + [0.0] * 15]), "codes": torch.randn(1, 16)}
    found = advantages(rewards, {"facts": 1.0, "codes": 0.0}, clip=2, parallel=ALONE)
    assert found.max() == 2
    assert torch.equal(found, advantages({"facts": rewards["facts"]}, {"facts": 1.0}, clip=2, parallel=ALONE))
