"""The table: every adapter and kind of discriminator with every loss in both modes trains, is saved, is loaded and writes the same."""

import itertools
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from common.bundle.canaries import CanaryExample
from common.bundle.load import load_bundle
from common.bundle.manifest import Answering, DataRef, Origin
from common.bundle.write import write_bundle
from common.config import parse
from common.domain.decoding import DecodingParams
from common.errors import ConfigError
from common.generation.candidates import Writer
from common.generation.hf import HfEngine
from common.packs.load import load_pack
from train_app.config import AdversarialConfig, DiscriminatorStageConfig, SftConfig, TrainConfig
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.training import GROUP, train_discriminator
from train_app.stages.pool import collect
from train_app.stages.sft import sft
from train_app.stages.state import State, read_state, tensors_digest, write_state
from train_app.stages.workbench import Workbench

LOSSES, KINDS, MODES = ("bce", "hinge", "bt", "wgan"), ("features", "ids", "lora_head"), ("policy_gradient", "gumbel")
STEPS = 20
REFUSED = [(loss, kind, mode) for loss, kind, mode in itertools.product(LOSSES, KINDS, MODES) if (loss, kind) == ("wgan", "lora_head")]
LORA = [("lora", *combination) for combination in itertools.product(LOSSES, KINDS, MODES) if combination not in REFUSED]
OTHERS = [(adapter, loss, "features", mode) for adapter in ("adalora", "bottleneck") for loss in LOSSES for mode in MODES]
TRAINED = LORA + OTHERS + [("adalora", "bce", "lora_head", "policy_gradient"), ("bottleneck", "bce", "lora_head", "policy_gradient")]
SFT = SftConfig(learning_rate=5e-3, batch_size=4, max_steps=STEPS, evaluate_every=10, patience=9)


def bench_of(make_bench, loss: str, kind: str, adapter: str = "lora") -> Workbench:
    shape = {"rows": 12, "fakes_per_row": 1, "batch_size": 6, "channels": 8, "evaluate_every": 5, "abort_auc": 0.5, "lora_rank": 2}
    bound = {"spectral_norm": True} if loss == "wgan" else {}
    config = DiscriminatorStageConfig(loss=loss, kind=kind, **shape, **bound)
    return replace(make_bench(adapter=adapter), discriminator=config, decoding=DecodingParams(max_new_tokens=6))


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


@pytest.mark.parametrize(("adapter", "loss", "kind", "mode"), TRAINED)
def test_it_trains_saves_loads_and_writes_the_same_text(adapter, loss, kind, mode, make_bench, bare_base, tmp_path) -> None:
    bench = bench_of(make_bench, loss, kind, adapter)
    fresh = State(bench.run)
    if adapter == "lora":  # the others learn to write first: a new AdaLoRA has no ranks
        start = bench.policy.adapter()
        state = fresh.with_group("policy", start).with_group("reference", start)
    else:
        new = bench.policy.adapter()
        state = sft(fresh, SFT, quiet, bench=bench, save=quiet)
        start = state.group("policy")
        assert tensors_digest(start) != tensors_digest(new)
    rows = bench.splits.discriminator
    state = collect(state, rows, quiet, stage="samples", k=1, bench=bench, save=quiet)
    fitted = train_discriminator(state, bench.discriminator, quiet, stage="discriminator", steps=4, bench=bench, save=quiet)
    seen = []
    done = adversarial_round(fitted, adversarial(mode), seen.append, stage="adversarial 1", bench=bench, save=quiet)

    assert done.values["stopped"] is None
    assert len(seen) == STEPS
    assert seen[0].metrics["kl"] == 0
    assert tensors_digest(done.group("policy")) != tensors_digest(start), "the policy moved"
    assert tensors_digest(done.group(GROUP)) != tensors_digest(fitted.group(GROUP)), "so did the discriminator"

    write_state(done, tmp_path / "state")
    again = bench_of(make_bench, loss, kind, adapter)
    loaded = read_state(tmp_path / "state", inputs=again.run)
    again.load(loaded.group("policy"))
    contexts = [example.context for example in bench.splits.test]
    written = [texts(one, one.policy.merged, one.engine, contexts) for one in (bench, again)]
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

    bundle = as_bundle(again, loaded, discriminator.eval(), bare_base(), tmp_path / "bundle")
    engine = HfEngine(bundle.language.model, eos_ids=[0], max_len=384, slots=16)
    assert texts(bench, bundle.language, engine, contexts) == written[0], "as a bundle it writes the same"
    judged = bundle.discriminator.logits(judged, [context.controls for context in contexts])
    assert torch.allclose(torch.tensor(judged), torch.tensor(scores[0]), atol=1e-4)


def texts(bench: Workbench, language, engine, contexts) -> list[list[str]]:
    writer = Writer(language, engine, bench.vocabulary, bench.decoding, bench.run)
    return [[one.text for one in group] for group in writer.write(contexts, k=2, attempt=0)]


def as_bundle(bench: Workbench, state: State, discriminator, base, folder):
    """Written and loaded again, on a base that nothing was put into."""
    write_bundle(
        folder,
        language=base,
        base_licence="none",
        adapter=bench.policy.exported(state.group("policy")),
        alpha=bench.policy.alpha,
        discriminator=discriminator,
        pack=load_pack("shop"),
        answering=Answering(decoding=bench.decoding, k=1, max_attempts=1, threshold=0.0),
        calibration=None,
        metrics={},
        origin=Origin(config={}, data=DataRef(digest="d" * 64, licences=("none",), num_examples=1), code_version="0"),
        canaries=[CanaryExample(context=one.context, text=one.text) for one in bench.splits.test[:1]],
    )
    return load_bundle(folder, base=base)


@pytest.mark.parametrize(("loss", "kind", "mode"), REFUSED)
def test_the_rest_is_refused_by_name(loss, kind, mode) -> None:
    with pytest.raises(ValidationError, match=r"discriminator\.loss: got wgan with kind lora_head"):
        DiscriminatorStageConfig(loss=loss, kind=kind)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"adapter": "adalora"}, r"adapter: got adalora with sft\.max_steps None; ranks are shared out over a number of steps"),
        ({"adapter": "adalora", "sft": {"max_steps": 9}}, r"adapter: got adalora with sft\.max_steps 9"),
        ({"adapter": "adalora", "sft": {"max_steps": 99}, "lora": {"rank": 200}}, r"lora\.rank: got 200 with adapter adalora"),
        ({"adapter": "dora"}, "adapter"),
        ({"bottleneck": {"places": "everywhere"}}, r"bottleneck\.places"),
    ],
)
def test_an_adapter_that_cannot_be_trained_is_refused_by_name(changes, named) -> None:
    with pytest.raises(ConfigError, match=named):
        parse({"data": {"snapshot": "x"}, "out": "y", **changes}, TrainConfig, source="test")


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
    bench = replace(bench, splits=replace(bench.splits, discriminator=[*bench.splits.train, *bench.splits.discriminator]))
    state = State(bench.run).with_group("policy", bench.policy.adapter())
    state = collect(state, bench.splits.discriminator, quiet, stage="samples", k=1, bench=bench, save=quiet)
    answers = [bench.real(example) for example in bench.splits.discriminator]
    before = [one.log_likelihood for one in bench.features(answers)]
    config = bench.discriminator.model_copy(update={"learning_rate": 1e-2, "rows": len(bench.splits.discriminator)})
    done = train_discriminator(state, config, quiet, stage="discriminator", steps=30, bench=bench, save=quiet)
    assert done.values["discriminator_auc"]["auc_fake"] > 0.9
    assert [one.log_likelihood for one in bench.features(answers)] == before
