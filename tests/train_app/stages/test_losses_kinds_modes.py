"""The table: every loss of every kind of discriminator in both modes trains, is saved, is loaded, and writes the same text."""

import itertools
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from common.domain.decoding import DecodingParams
from train_app.config import AdversarialConfig, DiscriminatorStageConfig
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.training import GROUP, train_discriminator
from train_app.stages.pool import collect
from train_app.stages.state import State, read_state, tensors_digest, write_state
from train_app.stages.workbench import Workbench

LOSSES, KINDS, MODES = ("bce", "hinge", "bt", "wgan"), ("features", "ids", "lora_head"), ("policy_gradient", "gumbel")
STEPS = 20
REFUSED = [(loss, kind, mode) for loss, kind, mode in itertools.product(LOSSES, KINDS, MODES) if (loss, kind) == ("wgan", "lora_head")]
TRAINED = [combination for combination in itertools.product(LOSSES, KINDS, MODES) if combination not in REFUSED]


def bench_of(make_bench, loss: str, kind: str) -> Workbench:
    shape = {"rows": 12, "fakes_per_row": 1, "batch_size": 6, "channels": 8, "evaluate_every": 5, "abort_auc": 0.5, "lora_rank": 2}
    bound = {"spectral_norm": True} if loss == "wgan" else {}
    config = DiscriminatorStageConfig(loss=loss, kind=kind, **shape, **bound)
    return replace(make_bench(), discriminator=config, decoding=DecodingParams(max_new_tokens=6))


def adversarial(mode: str) -> AdversarialConfig:
    return AdversarialConfig(
        mode=mode,
        steps_per_round=STEPS,
        prompts=2,
        samples=2,
        ce_rows=2,
        learning_rate=1e-3,
        min_distinct=0,
        min_unique=0,
        min_auc=0,
        min_entropy=0,
        throttle_low=0,
        throttle_high=1,
        throttle_certain=1,
    )


def quiet(progress) -> None:
    pass


@pytest.mark.parametrize(("loss", "kind", "mode"), TRAINED)
def test_it_trains_saves_loads_and_writes_the_same_text(loss, kind, mode, make_bench, tmp_path) -> None:
    bench = bench_of(make_bench, loss, kind)
    adapter = bench.policy.adapter()
    state = State(bench.run).with_group("policy", adapter).with_group("reference", adapter)
    rows = bench.splits.discriminator
    state = collect(state, rows, quiet, stage="samples", k=1, bench=bench, save=quiet)
    fitted = train_discriminator(state, bench.discriminator, quiet, stage="discriminator", steps=4, bench=bench, save=quiet)
    seen = []
    done = adversarial_round(fitted, adversarial(mode), seen.append, stage="adversarial 1", bench=bench, save=quiet)

    assert done.values["stopped"] is None
    assert len(seen) == STEPS
    assert seen[0].metrics["kl"] == 0
    assert tensors_digest(done.group("policy")) != tensors_digest(adapter), "the policy moved"
    assert tensors_digest(done.group(GROUP)) != tensors_digest(fitted.group(GROUP)), "so did the discriminator"

    write_state(done, tmp_path)
    again = bench_of(make_bench, loss, kind)
    loaded = read_state(tmp_path, inputs=again.run)
    again.load(loaded.group("policy"))
    contexts = [example.context for example in bench.splits.test]
    written = [[[one.text for one in group] for group in b.write(contexts, k=1, stage="t", step=0)] for b in (bench, again)]
    assert written[0] == written[1]
    scores = []
    for one in (bench, again):
        discriminator = one.new_discriminator()
        discriminator.load_state_dict(loaded.group(GROUP))
        judged = one.features([one.real(example) for example in one.splits.test])
        scores.append(discriminator.eval().logits(judged, [context.controls for context in contexts]))
    assert scores[0] == scores[1]
    assert len(set(scores[0])) > 1
    assert torch.tensor(scores[0]).isfinite().all()


@pytest.mark.parametrize(("loss", "kind", "mode"), REFUSED)
def test_the_rest_is_refused_by_name(loss, kind, mode) -> None:
    with pytest.raises(ValidationError, match=r"discriminator\.loss: got wgan with kind lora_head"):
        DiscriminatorStageConfig(loss=loss, kind=kind)


@pytest.mark.parametrize("bound", [{"gradient_penalty": 10.0}, {"r1": 1.0, "r1_every": 2}, {"spectral_norm": True}])
@pytest.mark.parametrize("kind", ["features", "ids"])
def test_every_bound_on_the_slope_trains_and_goes_on_to_the_bit_after_a_kill(bound, kind, make_bench, tmp_path) -> None:
    def opened() -> Workbench:
        bench = bench_of(make_bench, "bce", kind)
        return replace(
            bench, discriminator=DiscriminatorStageConfig.model_validate(bench.discriminator.model_dump() | {"loss": "wgan"} | bound)
        )

    bench, saved = opened(), []
    state = State(bench.run).with_group("policy", bench.policy.adapter())
    state = collect(state, bench.splits.discriminator, quiet, stage="samples", k=1, bench=bench, save=quiet)
    done = train_discriminator(state, bench.discriminator, quiet, stage="discriminator", steps=5, bench=bench, save=saved.append)
    write_state(saved[0], tmp_path)
    again = opened()
    resumed = read_state(tmp_path, inputs=again.run)
    again.load(resumed.group("policy"))
    ended = train_discriminator(resumed, again.discriminator, quiet, stage="discriminator", steps=5, bench=again, save=quiet)
    assert ended.values == done.values
    assert all(torch.equal(ended.tensors[name], tensor) for name, tensor in done.tensors.items())


def test_a_head_on_the_base_tells_real_texts_from_samples_of_an_untrained_policy(make_bench) -> None:
    """The update is in the base only while the discriminator reads: the policy's own likelihoods stay what they were."""
    bench = bench_of(make_bench, "bce", "lora_head")
    state = State(bench.run).with_group("policy", bench.policy.adapter())
    state = collect(state, bench.splits.discriminator, quiet, stage="samples", k=1, bench=bench, save=quiet)
    answers = [bench.real(example) for example in bench.splits.discriminator]
    before = [one.log_likelihood for one in bench.features(answers)]
    config = bench.discriminator.model_copy(update={"learning_rate": 1e-2})
    done = train_discriminator(state, config, quiet, stage="discriminator", steps=15, bench=bench, save=quiet)
    assert done.values["discriminator_auc"]["auc_fake"] > 0.9
    assert [one.log_likelihood for one in bench.features(answers)] == before
