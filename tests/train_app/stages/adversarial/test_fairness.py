"""A policy that tells women one thing and men another unlearns it where it is paid to, and not otherwise; what it says stays a sentence."""

from dataclasses import replace

import pytest
import torch

from common.domain.decoding import DecodingParams
from common.generation.hf import HfEngine
from common.language.base_model import LanguageModel, answer_logprobs
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from common.packs.load import load_pack
from common.packs.schema import Traits
from common.quality.verdict import Checker
from train_app.config import AdversarialConfig, RewardWeights
from train_app.data.examples import Example
from train_app.data.traits import twins, with_trait
from train_app.stages.adversarial.rewards import Asked, asked_for, fairness_rewards
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.training import GROUP, weights_of
from train_app.stages.policy import Policy
from train_app.stages.state import State
from train_app.stages.workbench import Answer, Workbench, written

TRAITS = Traits(traits={"gender": {"female": ("女",), "male": ("男",)}})
TOLD = {"female": "颜色很好看。", "male": "电池很耐用。"}
UNPAID = RewardWeights(realism=0, codes=0, controls=0, facts=0, compliance=0, form=0, variety=0)
CONFIG = AdversarialConfig(
    steps_per_round=120, prompts=8, samples=8, learning_rate=1e-3, ce_weight=0, ce_rows=1, max_kl=1e6, min_distinct=0, min_unique=0,
    min_entropy=0, min_auc=0, throttle_low=0, collapse_patience=1000,
)  # fmt: skip


def biased(examples: list[Example]) -> list[Example]:
    made = []
    for row, one in enumerate(examples):
        value = list(TOLD)[row % 2]
        context = with_trait(one.context.model_copy(update={"controls": {}}), TRAITS.traits["gender"], value)
        made.append(replace(one, context=context, text=TOLD[value], labels={}))
    return made


def teach(language: LanguageModel, rows: list[Example], *, steps: int = 80) -> None:
    """All weights: the frozen base of the policy is what is biased."""
    pack = load_pack("shop")
    encoded = [encode_example(build_prompt(one.context, vocabulary=pack.vocabulary), one.text, language) for one in rows]
    language.model.requires_grad_(True)
    adam = torch.optim.Adam(language.model.parameters(), lr=1e-2)
    for _ in range(steps):
        logprobs = answer_logprobs(language.model, [one.ids for one in encoded], prompt_lens=[one.prompt_len for one in encoded])
        adam.zero_grad()
        (-torch.cat(logprobs).mean()).backward()
        adam.step()
    language.model.requires_grad_(False)


@pytest.fixture(scope="module")
def bench(make_bench, base_of) -> Workbench:
    made = make_bench()
    splits = replace(made.splits, **{name: biased(getattr(made.splits, name)) for name in ("train", "discriminator")})
    language = base_of([*splits.train, *splits.discriminator, *splits.test])
    teach(language, splits.train)
    policy = Policy(language, kind="lora", seed=1, rank=8, alpha=16, dropout=0.0)
    pack = load_pack("shop").model_copy(update={"traits": TRAITS})
    return replace(
        made,
        splits=splits,
        policy=policy,
        engine=HfEngine(policy.merged.model, eos_ids=[0], max_len=384, slots=32, keep_features=True),
        checker=Checker(pack),
        decoding=DecodingParams(max_new_tokens=10),
        checkpoint_every=1000,
    )


@pytest.fixture(scope="module")
def start(bench: Workbench) -> State:
    adapter = bench.policy.adapter()
    state = State(bench.run).with_group("policy", adapter).with_group("reference", adapter)
    return state.with_group(GROUP, weights_of(bench.new_discriminator()))


def told(bench: Workbench) -> tuple[float, dict[str, float]]:
    """Nats by which a text is likelier for its reader than for the twin; share of each value's readers who get the men's text."""
    pairs = [twins(one.context, TRAITS, "gender", seed=row) for row, one in enumerate(bench.splits.discriminator)]
    gaps, shares = [], {}
    for side, value in enumerate(TOLD):
        groups = bench.write([pair[side] for pair in pairs], k=16, stage="told", step=0)
        asked = [Asked(pair[side], pair[1 - side]) for pair in pairs]
        gaps.append(-float(fairness_rewards(bench, asked, groups).mean()))
        shares[value] = sum(one.text == TOLD["male"] for group in groups for one in group) / sum(map(len, groups))
    return sum(gaps) / len(gaps), shares


def after(bench: Workbench, start: State, config: AdversarialConfig) -> tuple[float, dict[str, float]]:
    end = adversarial_round(start, config, lambda progress: None, stage="adversarial 1", bench=bench, save=lambda state: None)
    assert end.values["stopped"] is None
    bench.load(end.group("policy"))
    return told(bench)


def test_paid_for_fairness_a_biased_policy_tells_both_the_same_sentence(bench: Workbench, start: State) -> None:
    bench.load(start.group("policy"))
    before, shares = told(bench)
    assert before > 5
    assert shares["male"] > shares["female"] + 0.5
    gap, shares = after(bench, start, CONFIG.model_copy(update={"weights": UNPAID.model_copy(update={"fairness": 1.0})}))
    assert gap < before / 10
    assert min(shares.values()) > 0.75


def test_unpaid_it_stays_as_it_was(bench: Workbench, start: State) -> None:
    bench.load(start.group("policy"))
    before, _ = told(bench)
    config = CONFIG.model_copy(update={"weights": UNPAID.model_copy(update={"form": 1.0}), "steps_per_round": 4})
    assert after(bench, start, config)[0] > before / 2


def test_what_a_twin_would_be_told_too_earns_more_and_an_untold_trait_earns_nothing(bench: Workbench, start: State) -> None:
    bench.load(start.group("policy"))
    woman, man = twins(bench.splits.discriminator[0].context, TRAITS, "gender", seed=0)
    groups = bench.write([woman, man], k=4, stage="rewards", step=0)
    rewards = fairness_rewards(bench, [Asked(woman, man), Asked(man, woman)], groups)
    assert rewards.shape == (2, 4)
    usual = [reward for group, row in zip(groups, rewards.tolist(), strict=True) for one, reward in zip(group, row, strict=True)
             if one.text in TOLD.values()]  # fmt: skip
    assert usual
    assert max(usual) < 0
    crossed = fairness_rewards(bench, [Asked(man, woman), Asked(woman, man)], groups)
    assert torch.allclose(crossed, -rewards, atol=1e-4), "a text of the other twin's is worth what it costs there"
    assert (fairness_rewards(bench, [Asked(woman, woman), Asked(man, man)], groups) == 0).all()


def test_half_of_the_users_have_a_trait_told_and_the_rest_stay_what_they_are(bench: Workbench) -> None:
    contexts = [one.context for one in bench.splits.test] * 50
    asked = asked_for(contexts, TRAITS, seeds=list(range(len(contexts))))
    assert asked == asked_for(contexts, TRAITS, seeds=list(range(len(contexts))))
    plain = [one for one in asked if one.context == one.twin]
    assert 0.35 < len(plain) / len(asked) < 0.65
    assert {one.context.persona for one in plain} == {None}
    assert {(one.context.persona, one.twin.persona) for one in asked if one not in plain} == {("女", "男"), ("男", "女")}


def test_a_sample_is_kept_with_what_it_was_drawn_for(bench: Workbench) -> None:
    """The likelihoods that the rewards compare are those of the ids as drawn, the end included."""
    woman, man = twins(bench.splits.discriminator[1].context, TRAITS, "gender", seed=1)
    ((one,),) = bench.write([woman], k=1, stage="kept", step=0)
    own, other = (bench.features([Answer(side, written(one))])[0].log_likelihood for side in (woman, man))
    assert fairness_rewards(bench, [Asked(woman, man)], [[one]]).item() == pytest.approx(other - own, abs=1e-5)
