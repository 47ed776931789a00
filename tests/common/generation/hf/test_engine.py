"""The contract of a decode engine, held against Hugging Face's own `generate`."""

import random

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel, Qwen3NextConfig, Qwen3NextForCausalLM

from common.domain.decoding import DecodingParams
from common.errors import BadInput, PromptTooLong, UnsupportedModel
from common.generation.engine import Generated, Sequence, generate
from common.generation.hf import HfEngine

EOS, VOCAB_SIZE, MAX_LEN, NEW = 96, 97, 96, 16
GREEDY = DecodingParams(max_new_tokens=NEW, temperature=0)
SAMPLED = DecodingParams(max_new_tokens=NEW, temperature=0.9, top_k=20, top_p=0.95)
KNOWN: dict[tuple[object, ...], tuple[int, ...]] = {}


def engine_of(model: PreTrainedModel, slots: int = 16, keep_features: bool = False) -> HfEngine:
    return HfEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=slots, keep_features=keep_features)


def plain(prompts: list[tuple[int, ...]], prefix_len: int = 0, seed: int = 0) -> list[Sequence]:
    return [Sequence(prompt_ids=ids, prefix_len=prefix_len, seed=seed + i) for i, ids in enumerate(prompts)]


def reference(model: PreTrainedModel, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """Greedy ids of `generate`, unbatched, without the end token; asked once for weights that have not changed."""
    weights = float(model.get_input_embeddings().weight.detach().double().sum())
    key = (weights, model.config.model_type, getattr(model.config, "sliding_window", None), prompt)
    if key not in KNOWN:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, eos_token_id=EOS, pad_token_id=0
        )
        answer = tuple(out[0, len(prompt) :].tolist())
        KNOWN[key] = answer[:-1] if answer[-1] == EOS else answer
    return KNOWN[key]


def ids_of(results: list[Generated]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


def test_a_plain_batch_decodes_what_generate_decodes(model, prompts):
    assert ids_of(generate(engine_of(model), plain(prompts), decoding=GREEDY)) == [reference(model, p) for p in prompts]


def test_reused_slots_decode_what_generate_decodes(model, prompts):
    engine = engine_of(model, slots=3)
    expected = [reference(model, p) for p in prompts]
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == expected
    assert ids_of(generate(engine, plain(prompts[::-1]), decoding=GREEDY)) == expected[::-1]


def test_a_sequence_that_joins_late_decodes_what_generate_decodes(model, prompts):
    engine = engine_of(model)
    results, order = {}, {}
    for index, sequence in enumerate(plain(prompts)):
        order[engine.submit(sequence, decoding=GREEDY)] = index
        results |= dict(engine.step())
    while engine.busy:
        results |= dict(engine.step())
    got = {order[i]: generated.ids for i, generated in results.items()}
    assert [got[i] for i in range(len(prompts))] == [reference(model, p) for p in prompts]


@pytest.mark.parametrize("slots", [16, 3])
def test_a_shared_prefix_decodes_what_generate_decodes(model, page, slots):
    prefix, prompts = page
    results = generate(engine_of(model, slots=slots), plain(prompts, prefix_len=len(prefix)), decoding=GREEDY)
    assert ids_of(results) == [reference(model, p) for p in prompts]


def test_without_the_window_mask_gemma_3_fails_the_contract(gemma3, page):
    prefix, prompts = page
    engine = engine_of(gemma3)
    windowed = engine._mask
    engine._mask = lambda positions, end, *, kind: windowed(positions, end, kind="full_attention")
    results = ids_of(generate(engine, plain(prompts, prefix_len=len(prefix)), decoding=GREEDY))
    assert sum(got == reference(gemma3, p) for got, p in zip(results, prompts, strict=True)) <= 2


def test_a_sampled_text_is_the_same_alone_in_a_page_of_20_and_among_32(model):
    draw = random.Random(1)
    prefix = tuple(draw.randrange(1, EOS) for _ in range(15))
    page = plain([prefix + tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(3, 25))) for _ in range(20)], 15, seed=9)
    others = plain([tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(5, 40))) for _ in range(12)], 4, seed=800)
    lonely = engine_of(model)
    alone = [generate(lonely, [sequence], decoding=SAMPLED)[0].ids for sequence in page]
    in_page = ids_of(generate(engine_of(model, slots=20), page, decoding=SAMPLED))
    mixed = [*others, *page]
    draw.shuffle(mixed)
    among = dict(zip(mixed, ids_of(generate(engine_of(model, slots=32), mixed, decoding=SAMPLED)), strict=True))
    assert in_page == alone
    assert [among[sequence] for sequence in page] == alone
    assert len(set(alone)) > 15


def test_a_seed_gives_the_same_text_twice_and_another_seed_another(qwen2, prompts):
    engine = engine_of(qwen2)
    free = DecodingParams(max_new_tokens=NEW, temperature=2)
    first = ids_of(generate(engine, plain(prompts), decoding=free))
    assert ids_of(generate(engine, plain(prompts), decoding=free)) == first
    assert all(a != b for a, b in zip(ids_of(generate(engine, plain(prompts, seed=50), decoding=free)), first, strict=True))


def test_candidates_of_one_prompt_are_prefilled_once_and_differ_by_seed(qwen2, page):
    prefix, prompts = page
    engine = engine_of(qwen2)
    fed = []
    forward = engine._forward
    engine._forward = lambda ids, *rest, **packing: fed.append(ids.shape) or forward(ids, *rest, **packing)
    same = [Sequence(prompt_ids=prompts[0], prefix_len=len(prefix), seed=seed) for seed in range(8)]
    results = ids_of(generate(engine, same, decoding=DecodingParams(max_new_tokens=NEW, temperature=2)))
    assert fed[:2] == [(1, len(prompts[0])), (8, 1)]
    assert len(set(results)) == 8
    assert generate(engine_of(qwen2), same[5:6], decoding=DecodingParams(max_new_tokens=NEW, temperature=2))[0].ids == results[5]


def test_a_prefix_is_computed_once_until_the_weights_change(build, page):
    prefix, prompts = page
    model = build("llama", seed=3)
    engine = engine_of(model)
    generate(engine, plain(prompts, prefix_len=len(prefix)), decoding=GREEDY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    expected = [reference(model, p) for p in prompts]
    stale = ids_of(generate(engine, plain(prompts, prefix_len=len(prefix)), decoding=GREEDY))
    engine.weights_changed()
    assert ids_of(generate(engine, plain(prompts, prefix_len=len(prefix)), decoding=GREEDY)) == expected
    assert stale != expected, "the test could not have failed"


def test_only_the_prefixes_used_last_are_kept(qwen2, prompts):
    engine = HfEngine(qwen2, eos_ids=[EOS], max_len=MAX_LEN, slots=4, num_prefixes=2)
    generate(engine, plain(prompts, prefix_len=4), decoding=GREEDY)
    assert list(engine._prefixes) == [p[:4] for p in prompts[-2:]]


def test_features_equal_a_teacher_forced_pass(model, prompts):
    results = generate(engine_of(model, keep_features=True), plain(prompts), decoding=SAMPLED)
    for prompt, result in zip(prompts, results, strict=True):
        features = result.features
        ended = result.finish_reason == "stop"
        assert features.ids_T.tolist() == [*result.ids, *[EOS] * ended]
        with torch.no_grad():
            output = model(torch.tensor([[*prompt, *features.ids_T.tolist()]]), output_hidden_states=True)
        span = slice(len(prompt) - 1, -1)
        logp = output.logits[0, span].log_softmax(-1)
        own = logp.gather(-1, torch.tensor(features.ids_T[:, None], dtype=torch.int64))[:, 0]
        expected = torch.stack([own, -(logp.exp() * logp).sum(-1), logp.amax(-1) - own], -1)
        np.testing.assert_allclose(features.stats_T3, expected, atol=2e-4)
        np.testing.assert_allclose(features.hidden_TD.astype(np.float32), output.hidden_states[-1][0, span], atol=4e-3, rtol=2e-3)
        np.testing.assert_allclose(result.logprobs, expected[:, 0], atol=2e-4)


def test_no_features_are_kept_unasked(qwen2, prompts):
    assert generate(engine_of(qwen2), plain(prompts[:1]), decoding=GREEDY)[0].features is None


def test_sequences_with_different_parameters_share_a_batch(qwen2, prompts):
    decodings = [
        GREEDY,
        SAMPLED,
        DecodingParams(max_new_tokens=9, temperature=1.5),
        DecodingParams(max_new_tokens=NEW, temperature=1.2, top_p=0.7),
        DecodingParams(max_new_tokens=NEW, temperature=1.2, top_k=3),
        DecodingParams(max_new_tokens=NEW, temperature=0, repetition_penalty=1.8),
        DecodingParams(max_new_tokens=NEW, temperature=3, min_new_tokens=12),
    ]
    alone = [generate(engine_of(qwen2), [s], decoding=d)[0] for s, d in zip(plain(prompts), decodings, strict=False)]
    engine = engine_of(qwen2)
    order = [engine.submit(s, decoding=d) for s, d in zip(plain(prompts), decodings, strict=False)]
    together = {}
    while engine.busy:
        together |= dict(engine.step())
    assert [together[i].ids for i in order] == [result.ids for result in alone]
    assert together[order[0]].ids == reference(qwen2, prompts[0])
    assert len(together[order[2]].logprobs) <= 9


def test_the_end_token_waits_for_the_minimum_length(qwen2, prompts):
    bias = torch.nn.functional.one_hot(torch.tensor(EOS), VOCAB_SIZE) * 30.0
    hook = qwen2.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    try:
        engine = engine_of(qwen2)
        at_once = generate(engine, plain(prompts), decoding=GREEDY)
        later = generate(engine, plain(prompts), decoding=GREEDY.model_copy(update={"min_new_tokens": 5}))
    finally:
        hook.remove()
    assert {(r.ids, len(r.logprobs), r.finish_reason) for r in at_once} == {((), 1, "stop")}
    assert {(len(r.ids), len(r.logprobs), r.finish_reason) for r in later} == {(5, 6, "stop")}


def test_a_repetition_penalty_counts_the_answer_and_not_the_prompt(qwen2, prompts):
    result = generate(engine_of(qwen2), plain(prompts[:1]), decoding=GREEDY.model_copy(update={"repetition_penalty": 1.7}))[0]
    ids, expected = list(prompts[0]), []
    for _ in range(len(result.ids)):
        with torch.no_grad():
            logits = qwen2(torch.tensor([ids])).logits[0, -1]
        for seen in set(expected):
            logits[seen] = logits[seen] * 1.7 if logits[seen] < 0 else logits[seen] / 1.7
        expected.append(int(logits.argmax()))
        ids.append(expected[-1])
    assert list(result.ids) == expected


def test_guidance_moves_the_logits_away_from_the_prompt_without_codes(model, prompts):
    scale = 1.8
    guided = GREEDY.model_copy(update={"guidance": scale})
    prompts = prompts[:5]
    sequences = [Sequence(prompt_ids=p, prefix_len=3, seed=0, null_prompt_ids=p[:-2]) for p in prompts]
    results = generate(engine_of(model, slots=7), sequences, decoding=guided)
    for prompt, result in zip(prompts, results, strict=True):
        answer: list[int] = []
        for _ in range(len(result.ids)):
            with torch.no_grad():
                coded = model(torch.tensor([[*prompt, *answer]])).logits[0, -1]
                null = model(torch.tensor([[*prompt[:-2], *answer]])).logits[0, -1]
            answer.append(int((null + scale * (coded - null)).argmax()))
        assert list(result.ids) == answer
    assert ids_of(results) != [reference(model, p) for p in prompts]


def test_guidance_without_a_null_prompt_is_refused(qwen2, prompts):
    with pytest.raises(BadInput, match=r"decoding\.guidance.*null_prompt_ids"):
        engine_of(qwen2).submit(plain(prompts)[0], decoding=GREEDY.model_copy(update={"guidance": 1.5}))


def test_a_cancelled_sequence_stops_at_the_next_token_and_others_go_on(qwen2, prompts):
    engine = engine_of(qwen2, slots=4)
    order = [engine.submit(s, decoding=GREEDY) for s in plain(prompts[:6])]
    engine.step()
    engine.cancel(order[1])  # running
    engine.cancel(order[5])  # waiting
    engine.cancel(10_000)  # unknown
    results = dict(engine.step())
    assert results[order[1]].finish_reason == "cancelled"
    assert results[order[1]].ids == reference(qwen2, prompts[1])[:2]
    assert results[order[5]] == Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled")
    while engine.busy:
        results |= dict(engine.step())
    for i in (0, 2, 3, 4):
        assert results[order[i]].ids == reference(qwen2, prompts[i])


def test_a_prompt_that_cannot_fit_is_refused_at_submit(qwen2):
    engine = engine_of(qwen2)
    fits = Sequence(prompt_ids=(1,) * (MAX_LEN - NEW), prefix_len=4, seed=0)
    assert len(generate(engine, [fits], decoding=GREEDY)) == 1
    with pytest.raises(PromptTooLong, match="81 prompt tokens and 16 new ones do not fit the engine's 96"):
        engine.submit(Sequence(prompt_ids=(1,) * (MAX_LEN - NEW + 1), prefix_len=4, seed=0), decoding=GREEDY)
    assert not engine.busy


def test_prompts_of_full_length_beside_short_ones_decode_what_generate_decodes(model):
    draw = random.Random(2)
    prompts = [tuple(draw.randrange(1, EOS) for _ in range(n)) for n in (MAX_LEN - NEW, 6, MAX_LEN - NEW - 1, 60)]
    sequences = [Sequence(prompt_ids=p, prefix_len=min(70, len(p) - 2), seed=0) for p in prompts]
    assert ids_of(generate(engine_of(model), sequences, decoding=GREEDY)) == [reference(model, p) for p in prompts]


def test_more_positions_than_the_model_has_are_refused(qwen2):
    with pytest.raises(BadInput, match="got 257; a qwen2 of this size has 256 positions"):
        HfEngine(qwen2, eos_ids=[EOS], max_len=257)


def test_an_unknown_layer_type_is_refused_by_name():
    config = Qwen3NextConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_experts=2,
    )
    with torch.device("meta"):
        model = Qwen3NextForCausalLM(config).eval()
    with pytest.raises(UnsupportedModel, match="qwen3_next: layers of type linear_attention"):
        HfEngine(model, eos_ids=[0], max_len=8)


def test_attention_that_caps_its_scores_is_refused_by_name():
    config = Gemma2Config(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, head_dim=8
    )
    with pytest.raises(UnsupportedModel, match="gemma2: attn_logit_softcapping"):
        HfEngine(Gemma2ForCausalLM(config).eval(), eos_ids=[0], max_len=8)


def test_a_model_whose_logits_the_engine_would_not_reproduce_is_refused(qwen2):
    hook = qwen2.register_forward_hook(lambda module, inputs, output: setattr(output, "logits", output.logits * 1.1) or output)
    try:
        with pytest.raises(UnsupportedModel, match="qwen2: the engine's logits differ"):
            engine_of(qwen2)
    finally:
        hook.remove()


def test_the_model_still_trains_and_generates_between_steps(build, prompts):
    model = build("qwen2", seed=4)
    engine = engine_of(model)
    before = reference(model, prompts[0])
    engine.submit(plain(prompts)[0], decoding=GREEDY)
    engine.step()
    KNOWN.clear()
    assert reference(model, prompts[0]) == before
    model(torch.tensor([prompts[0]]), labels=torch.tensor([prompts[0]])).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_half_precision_texts_do_not_depend_on_neighbours(build, page):
    prefix, prompts = page
    model = build("qwen2").to(torch.bfloat16)
    sequences = [Sequence(prompt_ids=p, prefix_len=len(prefix), seed=s) for s in range(2) for p in prompts]
    engine = engine_of(model, slots=32)
    alone = [generate(engine, [sequence], decoding=SAMPLED)[0].ids for sequence in sequences]
    among = ids_of(generate(engine, sequences, decoding=SAMPLED))
    assert sum(a == b for a, b in zip(alone, among, strict=True)) >= 0.95 * len(sequences)


def test_half_precision_texts_do_not_depend_on_the_room_or_on_long_neighbours(build, page):
    prefix, prompts = page
    model = build("qwen2").to(torch.bfloat16)
    sequences = [Sequence(prompt_ids=p, prefix_len=len(prefix), seed=s) for s in range(2) for p in prompts]
    expected = ids_of(generate(engine_of(model, slots=32), sequences, decoding=SAMPLED))
    engine = HfEngine(model, eos_ids=[EOS], max_len=256, slots=32)
    long = Sequence(prompt_ids=tuple(random.Random(7).randrange(1, EOS) for _ in range(230)), prefix_len=0, seed=0)
    assert ids_of(generate(engine, [long, *sequences], decoding=SAMPLED))[1:] == expected


def test_rows_that_grow_and_shrink_keep_what_they_hold(model):
    draw = random.Random(4)
    prompts = [tuple(draw.randrange(1, EOS) for _ in range(n)) for n in (25, 30, 200, 28, 9, 31)]
    engine = HfEngine(model, eos_ids=[EOS], max_len=256, slots=4)
    widths = []
    fit = engine._cache.fit
    engine._cache.fit = lambda length: (fit(length), widths.append(engine._cache.width))
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == [reference(model, p) for p in prompts]
    assert max(widths) >= 200
    assert widths[-1] <= 64


def test_a_prefill_in_several_forwards_decodes_what_generate_decodes(model, prompts):
    engine = engine_of(model)
    engine._fed = 20
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == [reference(model, p) for p in prompts]
