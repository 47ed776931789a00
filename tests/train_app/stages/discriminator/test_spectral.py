from dataclasses import replace

import pytest
import torch

from common.quality.discriminator import Discriminator
from train_app.config import DiscriminatorStageConfig
from train_app.stages.discriminator.spectral import one_power_iteration
from train_app.stages.discriminator.training import discriminator_optimiser, discriminator_step, exhibits
from train_app.stages.workbench import Workbench

CONFIG = DiscriminatorStageConfig(channels=8, spectral_norm=True)


@pytest.fixture
def normed(make_bench) -> Workbench:
    return replace(make_bench(), discriminator=CONFIG)


def largest_singular_values(discriminator: Discriminator) -> list[float]:
    plain = discriminator.eval().plain_state()
    weights = [tensor.flatten(1) for name, tensor in plain.items() if name.endswith("weight")]
    return [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]


def test_every_matrix_is_brought_to_a_largest_singular_value_of_one(normed) -> None:
    discriminator = normed.new_discriminator()
    for _ in range(30):
        one_power_iteration(discriminator)
    assert largest_singular_values(discriminator) == pytest.approx([1.0] * len(largest_singular_values(discriminator)), abs=0.02)
    assert max(largest_singular_values(replace(normed, discriminator=DiscriminatorStageConfig(channels=8)).new_discriminator())) > 1.1


def test_the_estimate_moves_once_a_step_and_not_at_each_forward_pass(normed) -> None:
    discriminator = normed.new_discriminator().train()
    one_power_iteration(discriminator)
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items() if name.endswith(("_u", "_v"))}
    assert before
    features = normed.features([normed.real(normed.splits.train[0])])
    from common.quality.discriminator import features_batch

    discriminator(features_batch(features), discriminator.code_indices([{}]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in discriminator.state_dict().items() if name in before)


def test_a_bundle_gets_plain_weights_that_judge_alike(normed) -> None:
    discriminator = normed.new_discriminator().eval()
    plain = Discriminator(discriminator.config, embedding_VD=discriminator.embedding)
    plain.load_state_dict(discriminator.plain_state())
    plain.eval()
    features = normed.features([normed.real(example) for example in normed.splits.train[:4]])
    assert plain.logits(features, [{}] * 4) == pytest.approx(discriminator.logits(features, [{}] * 4), abs=1e-5)


def test_r1_is_lazy_and_as_heavy_as_the_steps_it_stands_for(make_bench) -> None:
    bench = make_bench()
    fakes = [(index, [bench.real(bench.splits.discriminator[index]).ids]) for index in range(4)]
    shown = exhibits(bench, bench.splits.discriminator, fakes)

    def loss(step: int, **changes: float) -> float:
        config = bench.discriminator.model_copy(update=changes)
        discriminator = bench.new_discriminator()
        optimiser = discriminator_optimiser(discriminator, learning_rate=1e-3, weight_decay=0.0)
        torch.manual_seed(0)
        told = discriminator_step(discriminator, shown, optimiser, config, bench=bench, seed=1, step=step)
        return told["discriminator_loss"]

    plain, every, lazy = loss(4), loss(4, r1=2.0, r1_every=1), loss(4, r1=2.0, r1_every=4)
    assert every > plain
    assert lazy - plain == pytest.approx(4 * (every - plain), rel=1e-3)
    assert loss(5, r1=2.0, r1_every=4) == plain
