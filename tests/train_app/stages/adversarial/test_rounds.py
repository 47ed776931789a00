"""Rounds that are broken on purpose: what the guards say, and that the last good state is what comes back."""

from dataclasses import replace

import pytest
import torch

from train_app.config import AdversarialConfig, DiscriminatorStageConfig
from train_app.stages.adversarial import rounds
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.adversarial.vitals import Vitals
from train_app.stages.discriminator.training import GROUP, weights_of
from train_app.stages.state import State, read_state, tensors_digest, write_state

CONFIG = AdversarialConfig(
    steps_per_round=6,
    prompts=3,
    samples=3,
    ce_rows=4,
    learning_rate=1e-3,
    min_distinct=0,
    min_unique=0,
    throttle_low=0,
    max_kl=1e6,
    collapse_patience=2,
    min_auc=0,
)
BREAKS_AT = 4
"""Step that goes wrong; checkpoints are kept every two, so the last good state is that of step 4."""


@pytest.fixture
def begun(make_bench):
    bench = make_bench()
    adapter = bench.policy.adapter()
    state = State(bench.run).with_group("policy", adapter).with_group("reference", adapter)
    return bench, state.with_group(GROUP, weights_of(bench.new_discriminator()))


def go(begun, config: AdversarialConfig):
    """The final state, the states saved on the way and all progress."""
    bench, state = begun
    saved, seen = [], []
    return adversarial_round(state, config, seen.append, stage="adversarial 1", bench=bench, save=saved.append), saved, seen


def after_policy_steps(monkeypatch, spoil) -> None:
    """`spoil(bench, discriminator, metrics)` once step BREAKS_AT of the generator is done, and at each after it."""
    step_of = rounds.policy_step

    def broken(bench, rollout, discriminator, *args, step, **kwargs):
        metrics = step_of(bench, rollout, discriminator, *args, step=step, **kwargs)
        if step >= BREAKS_AT:
            spoil(bench, discriminator, metrics)
        return metrics

    monkeypatch.setattr(rounds, "policy_step", broken)


def stopped_as_it_was_at_its_last_checkpoint(final: State, saved: list[State], bench) -> None:
    assert saved[-1].step == BREAKS_AT
    for group in ("policy", GROUP, "replay"):
        assert tensors_digest(final.group(group)) == tensors_digest(saved[-1].group(group)), group
    assert final.values["vitals"] == saved[-1].values["vitals"]
    assert tensors_digest(bench.policy.adapter()) == tensors_digest(final.group("policy"))


def test_a_healthy_round_is_not_stopped(begun) -> None:
    final, saved, seen = go(begun, CONFIG)
    assert final.values["stopped"] is None
    assert [state.step for state in saved] == [2, 4]
    assert len(seen) == CONFIG.steps_per_round


def test_the_discriminator_is_shown_a_sample_of_each_prompt_and_as_many_replayed_ones(begun, monkeypatch) -> None:
    shown, exhibits = [], rounds.exhibits
    monkeypatch.setattr(rounds, "exhibits", lambda bench, examples, fakes: shown.append(fakes) or exhibits(bench, examples, fakes))
    go(begun, CONFIG)
    assert [len(fakes) for fakes in shown] == [CONFIG.prompts] + [2 * CONFIG.prompts] * (CONFIG.steps_per_round - 1)
    assert all(len(samples) == 1 for fakes in shown for _, samples in fakes)
    before = {(index, tuple(samples)) for fakes in shown[:1] for index, samples in fakes}
    assert before & {(index, tuple(samples)) for fakes in shown[1:] for index, samples in fakes[CONFIG.prompts :]}


def test_a_policy_that_grows_too_sure_is_brought_back(begun, monkeypatch) -> None:
    def certain(bench, discriminator, metrics) -> None:
        head = bench.policy.language.model.get_output_embeddings().weight
        bench.policy.merged.model.get_output_embeddings().weight.copy_(head.mul_(50))

    after_policy_steps(monkeypatch, lambda *given: torch.no_grad()(certain)(*given))
    final, saved, seen = go(begun, replace_in(CONFIG, steps_per_round=7))
    assert "the entropy of a token fell from" in final.values["stopped"]
    stopped_as_it_was_at_its_last_checkpoint(final, saved, begun[0])
    assert seen[-1].note == f"stopped: {final.values['stopped']}; the last good state, that of step 4, is kept"


def test_a_discriminator_that_says_the_same_of_all_texts_is_brought_back(begun, monkeypatch) -> None:
    def numb(bench, discriminator, metrics) -> None:
        for name, parameter in discriminator.named_parameters():
            if name.startswith(("head", "token_logit", "codes")):
                parameter.data.zero_()

    after_policy_steps(monkeypatch, numb)
    final, saved, seen = go(begun, CONFIG)
    assert "it gives every text of a pair the same logit" in final.values["stopped"]
    stopped_as_it_was_at_its_last_checkpoint(final, saved, begun[0])
    assert "is kept" in seen[-1].note


def test_a_discriminator_that_is_always_right_is_brought_back(begun, monkeypatch) -> None:
    bench, state = begun
    reading_of = rounds.discriminator_reading
    monkeypatch.setattr(rounds, "discriminator_reading", lambda *args, **kwargs: reading_of(*args, **kwargs) | {"accuracy": 1.0})
    final, _, seen = go((bench, state.with_values(Vitals(accuracy=0.9999).values())), CONFIG)
    assert "its accuracy stood above 0.98 for 2 steps" in final.values["stopped"]
    assert tensors_digest(final.group("policy")) == tensors_digest(state.group("policy"))
    assert seen[-1].note.endswith("the last good state, that of step 0, is kept")


def test_a_figure_that_is_no_number_is_named_and_brought_back(begun, monkeypatch) -> None:
    after_policy_steps(monkeypatch, lambda bench, discriminator, metrics: metrics.update(entropy=float("nan")))
    final, saved, _ = go(begun, CONFIG)
    assert final.values["stopped"].startswith("entropy is nan")
    stopped_as_it_was_at_its_last_checkpoint(final, saved, begun[0])


def test_a_discriminator_that_is_too_sure_rests_and_pays_nothing(begun) -> None:
    bench, state = begun
    sure = state.with_values(Vitals(accuracy=0.999).values())
    final, _, seen = go((bench, sure), replace_in(CONFIG, steps_per_round=1))
    assert "discriminator_loss" not in seen[0].metrics
    assert {"accuracy", "ordered_samples", "ordered_wrong"} <= seen[0].metrics.keys(), (
        "it is measured nevertheless, or it would rest for ever"
    )
    assert tensors_digest(final.group(GROUP)) == tensors_digest(state.group(GROUP))
    unsure, _, learning = go((bench, state), replace_in(CONFIG, steps_per_round=1))
    assert "discriminator_loss" in learning[0].metrics
    assert tensors_digest(unsure.group(GROUP)) != tensors_digest(state.group(GROUP))


@pytest.mark.parametrize("mode", ["policy_gradient", "gumbel"])
def test_a_killed_round_with_everything_switched_on_ends_to_the_bit_like_an_undisturbed_one(mode, make_bench, tmp_path) -> None:
    critic = DiscriminatorStageConfig(channels=8, rows=12, loss="wgan", spectral_norm=True, r1=1.0, r1_every=2)
    config = replace_in(CONFIG, mode=mode, contrastive_weight=0.5, steps_per_round=4, weights={"fairness": 0.5})

    def opened():
        return replace(make_bench(), discriminator=critic)

    bench = opened()
    adapter = bench.policy.adapter()
    state = State(bench.run).with_group("policy", adapter).with_group("reference", adapter)
    state = state.with_group(GROUP, weights_of(bench.new_discriminator()))
    done, saved, seen = go((bench, state), config)
    assert seen[0].metrics["contrastive_loss"] > 0
    write_state(saved[0], tmp_path)
    again = opened()
    ended, _, _ = go((again, read_state(tmp_path, inputs=again.run)), config)
    assert ended.values == done.values
    assert all(torch.equal(ended.tensors[name], tensor) for name, tensor in done.tensors.items())


def replace_in(config: AdversarialConfig, **changes: object) -> AdversarialConfig:
    return AdversarialConfig.model_validate(config.model_dump() | changes)
