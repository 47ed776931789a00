"""Direct preference optimisation: the formula's sign and size, and that a step tells what is better from what is worse."""

import math
from dataclasses import replace

import pytest
import torch

from train_app.stages.filtering.preference import Pair, Preference, preference_loss, preference_step
from train_app.stages.optimisation import Optimiser


def test_the_loss_is_log_2_where_nothing_was_learnt_and_falls_as_the_better_gains() -> None:
    better = torch.tensor([0.0, 2.0, -2.0], requires_grad=True)
    loss = preference_loss(better, torch.zeros(3), beta=0.5)
    assert loss.tolist() == pytest.approx([math.log(2), math.log1p(math.exp(-1)), math.log1p(math.exp(1))])
    loss.sum().backward()
    assert better.grad is not None
    assert better.grad.tolist() == pytest.approx([-0.5 * 0.5, -0.5 / (1 + math.e), -0.5 / (1 + 1 / math.e)])


@pytest.mark.parametrize(("micro_batch", "bf16"), [(None, False), (1, False), (2, True)])
def test_steps_put_what_is_better_above_what_is_worse_and_begin_at_the_reference(bench, micro_batch, bf16) -> None:
    bench = replace(bench, micro_batch=micro_batch, bf16=bf16)
    rows = [bench.encoded(bench.real(one)) for one in bench.splits.train[:4]]
    texts = [other.text for other in bench.splits.train[4:8]]
    others = [bench.encoded(bench.real(one, text=text)) for one, text in zip(bench.splits.train[:4], texts, strict=True)]
    moved = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
        for name, tensor in bench.policy.adapter().items()
    }
    bench.load(moved)  # dropout then tells passes apart, and a reference that is not read shows
    pairs = [*(Pair(better, worse) for better, worse in zip(rows[:3], others[:3], strict=True)), Pair(rows[3], None)]
    preference = Preference(reference=bench.policy.adapter(), beta=0.1, weight=1.0)
    optimiser = Optimiser(bench.policy.parameters(), learning_rate=1e-2)
    told = [
        preference_step(bench, optimiser, pairs, rows[:1], preference, stage="filtering 1", step=step, learning_rate=1e-2)
        for step in range(6)
    ]
    assert told[0]["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert told[-1]["preference_loss"] < told[0]["preference_loss"]
    assert told[-1]["preferred"] == 1
    assert told[-1]["loss"] < told[0]["loss"]
