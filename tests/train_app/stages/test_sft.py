from collections import Counter

import pytest
import torch

from common.errors import BadInput
from train_app.config import SftConfig
from train_app.stages.optimisation import Optimiser, cosine_rate
from train_app.stages.sft import batches, ce_step, cross_entropy, encode_rows, num_answer_tokens, sft, validation_loss
from train_app.stages.state import State


def test_an_epoch_visits_every_row_once_and_depends_on_its_seed() -> None:
    lengths = [index * 7 % 50 for index in range(203)]
    epoch = batches(lengths, batch_size=8, seed=1)
    assert Counter(row for batch in epoch for row in batch) == Counter(range(203))
    assert epoch == batches(lengths, batch_size=8, seed=1)
    assert epoch != batches(lengths, batch_size=8, seed=2)


def test_batches_hold_rows_of_like_length() -> None:
    lengths = [index * 37 % 400 for index in range(400)]
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches(lengths, batch_size=8, seed=1)]
    assert sum(spread) / len(spread) < 20


def test_the_loss_is_over_answer_tokens_only_and_a_token_weighs_the_same_in_every_batch(bench) -> None:
    rows = encode_rows(bench, bench.splits.train[:4])
    with torch.no_grad():
        whole = cross_entropy(bench, rows, tokens=num_answer_tokens(rows))
        parts = [cross_entropy(bench, part, tokens=num_answer_tokens(rows)) for part in (rows[:1], rows[1:])]
    assert float(sum(parts)) == pytest.approx(float(whole), abs=1e-5)
    assert num_answer_tokens(rows) == sum(len(bench.real(example).ids) for example in bench.splits.train[:4])


def test_some_rows_are_read_without_codes(bench) -> None:
    asked, free = encode_rows(bench, bench.splits.train), encode_rows(bench, bench.splits.train, code_dropout=0.5)
    changed = [one != other for one, other in zip(asked, free, strict=True)]
    assert 0 < sum(changed) < len(changed)
    assert encode_rows(bench, bench.splits.train, code_dropout=0.5) == free


def test_training_lowers_the_loss(bench) -> None:
    rows = encode_rows(bench, bench.splits.train)
    before = validation_loss(bench, rows)
    optimiser = Optimiser(bench.policy.parameters(), learning_rate=1e-2)
    for step in range(8):
        ce_step(bench, optimiser, rows[:8], stage="sft", step=step, learning_rate=1e-2)
    assert validation_loss(bench, rows) < before - 0.05


def test_it_stops_when_validation_gets_no_better_and_keeps_the_best(bench) -> None:
    config = SftConfig(learning_rate=1.0, batch_size=4, max_epochs=50, evaluate_every=1, patience=2, max_grad_norm=1e6)
    seen = []
    state = sft(State(bench.run), config, seen.append, bench=bench, save=lambda kept: None)
    losses = [one.metrics["validation_loss"] for one in seen if "validation_loss" in one.metrics]
    assert len(losses) < 20, "a rate of 1 does not get better for long"
    assert state.values["sft_best"] == min(losses)
    bench.load(state.group("policy"))
    rows = encode_rows(bench, bench.splits.validation)
    assert validation_loss(bench, rows) == pytest.approx(min(losses), abs=1e-5)


def test_no_rows_is_an_error_that_says_so(bench) -> None:
    bench.splits.train.clear()
    with pytest.raises(BadInput, match="Import more reasons"):
        sft(State(bench.run), SftConfig(), lambda progress: None, bench=bench, save=lambda kept: None)


def test_the_rate_rises_then_falls_to_a_tenth() -> None:
    rates = [cosine_rate(step, total=100, peak=1.0, warmup=0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates.index(max(rates)) in (9, 10)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
