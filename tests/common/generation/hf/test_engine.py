"""What our own engine promises beyond the contract of test_engines: guidance, its prefixes and rows, what it refuses, half precision."""

import random

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel, Qwen3NextConfig, Qwen3NextForCausalLM

from common.domain.decoding import DecodingParams
from common.errors import BadInput, UnsupportedModel
from common.generation.engine import Generated, Sequence, generate
from common.generation.hf import HfEngine

EOS, VOCAB_SIZE, MAX_LEN, NEW = 96, 97, 96, 16
GREEDY = DecodingParams(max_new_tokens=NEW, temperature=0)
SAMPLED = DecodingParams(max_new_tokens=NEW, temperature=0.9, top_k=20, top_p=0.95)


def engine_of(model: PreTrainedModel, slots: int = 16, keep_features: bool = False) -> HfEngine:
    return HfEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=slots, keep_features=keep_features)


def plain(prompts: list[tuple[int, ...]], prefix_len: int = 0, seed: int = 0) -> list[Sequence]:
    return [Sequence(prompt_ids=ids, prefix_len=prefix_len, seed=seed + i) for i, ids in enumerate(prompts)]


def ids_of(results: list[Generated]) -> list[tuple[int, ...]]:
    return [result.ids for result in results]


def test_without_the_window_mask_gemma_3_fails_the_contract(gemma3, page, reference):
    prefix, prompts = page
    engine = engine_of(gemma3)
    windowed = engine._mask
    engine._mask = lambda positions, end, *, kind: windowed(positions, end, kind="full_attention")
    results = ids_of(generate(engine, plain(prompts, prefix_len=len(prefix)), decoding=GREEDY))
    assert sum(got == reference(gemma3, p) for got, p in zip(results, prompts, strict=True)) <= 2


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


def test_a_prefix_is_computed_once_until_the_weights_change(build, page, reference):
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


def test_guidance_moves_the_logits_away_from_the_prompt_without_codes(model, prompts, reference):
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


def test_the_model_still_trains_and_generates_between_steps(build, prompts, reference):
    model = build("qwen2", seed=4)
    engine = engine_of(model)
    before = reference(model, prompts[0])
    engine.submit(plain(prompts)[0], decoding=GREEDY)
    engine.step()
    assert reference(model, prompts[0], again=True) == before
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


def test_rows_that_grow_and_shrink_keep_what_they_hold(model, reference):
    draw = random.Random(4)
    prompts = [tuple(draw.randrange(1, EOS) for _ in range(n)) for n in (25, 30, 200, 28, 9, 31)]
    engine = HfEngine(model, eos_ids=[EOS], max_len=256, slots=4)
    widths = []
    fit = engine._cache.fit
    engine._cache.fit = lambda length: (fit(length), widths.append(engine._cache.width))
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == [reference(model, p) for p in prompts]
    assert max(widths) >= 200
    assert widths[-1] <= 64


def test_a_prefill_in_several_forwards_decodes_what_generate_decodes(model, prompts, reference):
    engine = engine_of(model)
    engine._fed = 20
    assert ids_of(generate(engine, plain(prompts), decoding=GREEDY)) == [reference(model, p) for p in prompts]
