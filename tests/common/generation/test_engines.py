"""The contract of a decode engine, held against Hugging Face's own `generate`: one for both. The second runs where vLLM is installed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from common.domain.decoding import DecodingParams
from common.errors import BadInput, PromptTooLong
from common.generation.engine import Engine, Generated, Sequence, generate
from common.generation.hf import HfEngine

EOS, MAX_LEN, NEW = 96, 96, 16
GREEDY = DecodingParams(max_new_tokens=NEW, temperature=0)
SAMPLED = DecodingParams(max_new_tokens=NEW, temperature=0.9, top_k=20, top_p=0.95)
FREE = DecodingParams(max_new_tokens=NEW, temperature=2)
VLLM = pytest.mark.vllm


def made(
    kind: str, model: PreTrainedModel, *, slots: int = 2, keep_features: bool = False, eos: int = EOS, max_len: int = MAX_LEN
) -> Engine:
    if kind == "hf":
        return HfEngine(model, eos_ids=[eos], max_len=max_len, slots=slots, keep_features=keep_features)
    from common.generation.vllm.engine import VllmEngine

    return VllmEngine(model, eos_ids=[eos], max_len=max_len, slots=slots, keep_features=keep_features)


@dataclass
class Subject:
    """An engine's kind and a model that it decodes."""

    kind: str
    model: PreTrainedModel
    kept: dict[tuple[object, ...], Engine] = field(default_factory=dict)

    def engine(self, slots: int = 16, keep_features: bool = False, eos: int = EOS) -> Engine:
        """Of vLLM's, which take seconds to start, each is made once."""
        if self.kind == "hf":
            return made(self.kind, self.model, slots=slots, keep_features=keep_features, eos=eos)
        key = (slots, keep_features, eos)
        if key not in self.kept:
            self.kept[key] = made(self.kind, self.model, slots=slots, keep_features=keep_features, eos=eos)
        assert not self.kept[key].busy, "an earlier test left sequences"
        return self.kept[key]


PAIRS = [("hf", "qwen2"), ("hf", "qwen2_windowed"), ("hf", "llama"), ("hf", "gemma3"), ("vllm", "qwen2"), ("vllm", "llama")]


@pytest.fixture(scope="module", params=[pytest.param(pair, id="-".join(pair), marks=VLLM if pair[0] == "vllm" else ()) for pair in PAIRS])
def subject(request: pytest.FixtureRequest, build: Callable[..., PreTrainedModel]) -> Subject:
    """Each architecture that an engine promises."""
    kind, name = request.param
    return Subject(kind, build(name))


@pytest.fixture(scope="module", params=["hf", pytest.param("vllm", marks=VLLM)])
def one(request: pytest.FixtureRequest, build: Callable[..., PreTrainedModel]) -> Subject:
    """For what does not depend on the architecture."""
    return Subject(request.param, build("qwen2"))


def plain(prompts: list[tuple[int, ...]], prefix_len: int = 0, seed: int = 0) -> list[Sequence]:
    return [Sequence(prompt_ids=ids, prefix_len=prefix_len, seed=seed + i) for i, ids in enumerate(prompts)]


def ids_of(results: list[Generated]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


def drained(engine: Engine) -> dict[int, Generated]:
    results: dict[int, Generated] = {}
    while engine.busy:
        results |= dict(engine.step())
    return results


def by_hand(model: PreTrainedModel, prompt: tuple[int, ...], allowed: Callable[[torch.Tensor, list[int]], None]) -> list[int]:
    """Greedy ids of NEW forwards, where `allowed` changes the logits, given what was drawn."""
    answer: list[int] = []
    for _ in range(NEW):
        with torch.no_grad():
            logits_V = model(torch.tensor([[*prompt, *answer]])).logits[0, -1]
        allowed(logits_V, answer)
        answer.append(int(logits_V.argmax()))
    return answer


def test_a_plain_batch_decodes_what_generate_decodes(subject, prompts, reference):
    assert ids_of(generate(subject.engine(), plain(prompts), decoding=GREEDY)) == [reference(subject.model, p) for p in prompts]


def test_reused_slots_decode_what_generate_decodes(subject, prompts, reference):
    engine = subject.engine(slots=3)
    expected = [reference(subject.model, p) for p in prompts]
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == expected
    assert ids_of(generate(engine, plain(prompts[::-1]), decoding=GREEDY)) == expected[::-1]


def test_a_sequence_that_joins_late_decodes_what_generate_decodes(subject, prompts, reference):
    engine = subject.engine()
    results, order = {}, {}
    for index, sequence in enumerate(plain(prompts)):
        order[engine.submit(sequence, decoding=GREEDY)] = index
        results |= dict(engine.step())
    results |= drained(engine)
    got = {order[i]: generated.ids for i, generated in results.items()}
    assert [got[i] for i in range(len(prompts))] == [reference(subject.model, p) for p in prompts]


@pytest.mark.parametrize("slots", [16, 3])
def test_a_shared_prefix_decodes_what_generate_decodes(subject, page, slots, reference):
    prefix, prompts = page
    results = generate(subject.engine(slots=slots), plain(prompts, prefix_len=len(prefix)), decoding=GREEDY)
    assert ids_of(results) == [reference(subject.model, p) for p in prompts]


def test_prompts_of_full_length_beside_short_ones_decode_what_generate_decodes(subject, reference):
    draw = random.Random(2)
    prompts = [tuple(draw.randrange(1, EOS) for _ in range(n)) for n in (MAX_LEN - NEW, 6, MAX_LEN - NEW - 1, 60)]
    sequences = [Sequence(prompt_ids=p, prefix_len=min(70, len(p) - 2), seed=0) for p in prompts]
    assert ids_of(generate(subject.engine(), sequences, decoding=GREEDY)) == [reference(subject.model, p) for p in prompts]


def test_a_sampled_text_is_the_same_alone_in_a_page_of_20_and_among_32(subject):
    draw = random.Random(1)
    prefix = tuple(draw.randrange(1, EOS) for _ in range(15))
    page = plain([prefix + tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(3, 25))) for _ in range(20)], 15, seed=9)
    others = plain([tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(5, 40))) for _ in range(12)], 4, seed=800)
    lonely = subject.engine()
    alone = [generate(lonely, [sequence], decoding=SAMPLED)[0].ids for sequence in page]
    in_page = ids_of(generate(subject.engine(slots=20), page, decoding=SAMPLED))
    mixed = [*others, *page]
    draw.shuffle(mixed)
    among = dict(zip(mixed, ids_of(generate(subject.engine(slots=32), mixed, decoding=SAMPLED)), strict=True))
    assert in_page == alone
    assert [among[sequence] for sequence in page] == alone
    assert len(set(alone)) > 15


def test_a_seed_gives_the_same_text_twice_and_another_seed_another(one, prompts):
    engine = one.engine()
    first = ids_of(generate(engine, plain(prompts, seed=2**64 - 5), decoding=FREE))
    assert ids_of(generate(engine, plain(prompts, seed=2**64 - 5), decoding=FREE)) == first
    assert all(a != b for a, b in zip(ids_of(generate(engine, plain(prompts, seed=50), decoding=FREE)), first, strict=True))


def test_features_equal_a_teacher_forced_pass(subject, prompts):
    results = generate(subject.engine(keep_features=True), plain(prompts), decoding=SAMPLED)
    for prompt, result in zip(prompts, results, strict=True):
        features = result.features
        ended = result.finish_reason == "stop"
        assert features.ids_T.tolist() == [*result.ids, *[EOS] * ended]
        assert features.prompt_ids_P.tolist() == list(prompt)
        with torch.no_grad():
            output = subject.model(torch.tensor([[*prompt, *features.ids_T.tolist()]]), output_hidden_states=True)
        span = slice(len(prompt) - 1, -1)
        logp = output.logits[0, span].log_softmax(-1)
        own = logp.gather(-1, torch.tensor(features.ids_T[:, None], dtype=torch.int64))[:, 0]
        expected = torch.stack([own, -(logp.exp() * logp).sum(-1), logp.amax(-1) - own], -1)
        np.testing.assert_allclose(features.stats_T3, expected, atol=2e-4)
        np.testing.assert_allclose(features.hidden_TD.astype(np.float32), output.hidden_states[-1][0, span], atol=4e-3, rtol=2e-3)
        np.testing.assert_allclose(result.logprobs, expected[:, 0], atol=2e-4)


def test_no_features_are_kept_unasked(one, prompts):
    assert generate(one.engine(), plain(prompts[:1]), decoding=GREEDY)[0].features is None


def test_sequences_with_different_parameters_share_a_batch(one, prompts, reference):
    decodings = [
        GREEDY,
        SAMPLED,
        DecodingParams(max_new_tokens=9, temperature=1.5),
        DecodingParams(max_new_tokens=NEW, temperature=1.2, top_p=0.7),
        DecodingParams(max_new_tokens=NEW, temperature=1.2, top_k=3),
        DecodingParams(max_new_tokens=NEW, temperature=0, repetition_penalty=1.8),
        DecodingParams(max_new_tokens=NEW, temperature=2, min_new_tokens=12),
    ]
    engine = one.engine()
    alone = [generate(engine, [s], decoding=d)[0] for s, d in zip(plain(prompts), decodings, strict=False)]
    order = [engine.submit(s, decoding=d) for s, d in zip(plain(prompts), decodings, strict=False)]
    together = drained(engine)
    assert [together[i].ids for i in order] == [result.ids for result in alone]
    assert together[order[0]].ids == reference(one.model, prompts[0])
    assert len(together[order[2]].logprobs) <= 9


def test_the_end_token_ends_an_answer_and_is_no_part_of_it(one, prompts, reference):
    whole = reference(one.model, prompts[0])
    at = next(at for at in range(2, NEW) if whole[at] not in whole[:at])
    result = generate(one.engine(eos=whole[at]), plain(prompts[:1]), decoding=GREEDY)[0]
    assert (result.ids, len(result.logprobs), result.finish_reason) == (whole[:at], at + 1, "stop")


def test_the_end_token_waits_for_the_minimum_length(one, prompts, reference):
    whole = reference(one.model, prompts[0])
    at = next(at for at in range(2, NEW) if whole[at] not in whole[:at])
    end, least = whole[at], at + 3

    def later(logits_V: torch.Tensor, answer: list[int]) -> None:
        if len(answer) < least:
            logits_V[end] = -torch.inf

    expected = by_hand(one.model, prompts[0], later)
    expected = expected[: expected.index(end)] if end in expected else expected
    result = generate(one.engine(eos=end), plain(prompts[:1]), decoding=GREEDY.model_copy(update={"min_new_tokens": least}))[0]
    assert list(result.ids) == expected
    assert len(result.ids) >= least


def test_an_answer_ends_at_its_longest_and_counts_the_end_token(one, prompts, reference):
    whole = reference(one.model, prompts[0])
    at = next(at for at in range(2, NEW) if whole[at] not in whole[:at])
    for longest, reason in ((at, "length"), (at + 1, "stop")):
        decoding = GREEDY.model_copy(update={"max_new_tokens": longest})
        result = generate(one.engine(eos=whole[at]), plain(prompts[:1]), decoding=decoding)[0]
        assert (result.ids, len(result.logprobs), result.finish_reason) == (whole[:at], longest, reason)


def test_log_probabilities_are_the_models_own_whatever_the_filters(one, prompts):
    shaped = SAMPLED.model_copy(update={"temperature": 2.0, "top_k": 3, "repetition_penalty": 1.5})
    for prompt, result in zip(prompts, generate(one.engine(), plain(prompts), decoding=shaped), strict=True):
        with torch.no_grad():
            logp = one.model(torch.tensor([[*prompt, *result.ids]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        own = logp.gather(-1, torch.tensor(result.ids)[:, None])[:, 0]
        np.testing.assert_allclose(result.logprobs[: len(result.ids)], own, atol=2e-4)


def test_a_repetition_penalty_counts_the_answer_and_not_the_prompt(one, prompts):
    result = generate(one.engine(), plain(prompts[:1]), decoding=GREEDY.model_copy(update={"repetition_penalty": 1.7}))[0]

    def penalised(logits_V: torch.Tensor, answer: list[int]) -> None:
        for seen in set(answer):
            logits_V[seen] = logits_V[seen] * 1.7 if logits_V[seen] < 0 else logits_V[seen] / 1.7

    assert list(result.ids) == by_hand(one.model, prompts[0], penalised)[: len(result.ids)]
    assert len(result.ids) > 8, "the test could have failed for more tokens"


def test_guidance_without_a_null_prompt_or_at_all_is_refused(one, prompts):
    with pytest.raises(BadInput, match=r"decoding\.guidance.*(null_prompt_ids|engine hf)"):
        one.engine().submit(plain(prompts)[0], decoding=GREEDY.model_copy(update={"guidance": 1.5}))


def test_a_cancelled_sequence_stops_at_the_next_token_and_others_go_on(one, prompts, reference):
    engine = one.engine(slots=4)
    order = [engine.submit(s, decoding=GREEDY) for s in plain(prompts[:6])]
    engine.step()
    engine.cancel(order[1])  # running
    engine.cancel(order[5])  # waiting
    engine.cancel(10_000)  # unknown
    results = dict(engine.step())
    cancelled = results[order[1]]
    assert cancelled.finish_reason == "cancelled"
    assert 1 <= len(cancelled.ids) == len(cancelled.logprobs) <= 2
    assert cancelled.ids == reference(one.model, prompts[1])[: len(cancelled.ids)]
    assert results[order[5]] == Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled")
    results |= drained(engine)
    for i in (0, 2, 3, 4):
        assert results[order[i]].ids == reference(one.model, prompts[i])


def test_a_prompt_that_cannot_fit_is_refused_at_submit_and_costs_its_neighbours_nothing(one, prompts, reference):
    engine = one.engine()
    fits = Sequence(prompt_ids=(1,) * (MAX_LEN - NEW), prefix_len=4, seed=0)
    assert len(generate(engine, [fits], decoding=GREEDY)) == 1
    neighbour = engine.submit(plain(prompts)[0], decoding=GREEDY)
    engine.step()
    with pytest.raises(PromptTooLong, match="81 prompt tokens and 16 new ones do not fit the engine's 96"):
        engine.submit(Sequence(prompt_ids=(1,) * (MAX_LEN - NEW + 1), prefix_len=4, seed=0), decoding=GREEDY)
    assert drained(engine)[neighbour].ids == reference(one.model, prompts[0])
    assert not engine.busy


def test_more_positions_than_the_model_has_are_refused(one):
    with pytest.raises(BadInput, match="got 257; a qwen2 of this size has 256 positions"):
        made(one.kind, one.model, max_len=257)
