"""What vLLM does unless it is kept from it, and what this engine promises beyond the contract of test_engines."""

import gc
import os
import subprocess
import sys
from importlib.util import find_spec

import psutil
import pytest
import torch

from common.domain.decoding import DecodingParams
from common.errors import BadInput, ConfigError, UnsupportedModel
from common.generation.engine import Sequence, generate
from common.generation.vllm.engine import VllmEngine
from common.language.bottleneck import insert_bottlenecks

EOS, MAX_LEN, NEW = 96, 96, 16
GREEDY = DecodingParams(max_new_tokens=NEW, temperature=0)


def plain(prompts: list[tuple[int, ...]]) -> list[Sequence]:
    return [Sequence(prompt_ids=ids, prefix_len=0, seed=i) for i, ids in enumerate(prompts)]


def test_without_the_extra_it_says_what_to_install(qwen2, monkeypatch):
    monkeypatch.setattr("common.generation.vllm.engine.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"vLLM is not installed.*pip install 'liyou\[vllm\]'.*hf"):
        VllmEngine(qwen2, eos_ids=[EOS], max_len=MAX_LEN)


@pytest.mark.vllm
def test_the_torchvision_that_breaks_transformers_is_not_there():
    assert find_spec("torchvision") is None
    code = "import transformers, vllm; from transformers import Qwen2ForCausalLM, Gemma3ForCausalLM; print('whole')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert "whole" in done.stdout, done.stderr[-2000:]


@pytest.mark.vllm
def test_it_decodes_in_this_process_and_leaves_it_on_its_cores(build):
    cores = os.sched_getaffinity(0)
    children = {child.pid for child in psutil.Process().children(recursive=True)}
    engine = VllmEngine(build("qwen2"), eos_ids=[EOS], max_len=MAX_LEN, slots=2)
    generate(engine, plain([(1, 2, 3)]), decoding=GREEDY)
    assert os.sched_getaffinity(0) == cores
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= children


@pytest.mark.vllm
def test_an_environment_in_which_it_would_do_otherwise_is_refused(qwen2, monkeypatch):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    with pytest.raises(ConfigError, match="lacks VLLM_ENABLE_V1_MULTIPROCESSING=0 in its environment"):
        VllmEngine(qwen2, eos_ids=[EOS], max_len=MAX_LEN)


@pytest.mark.vllm
def test_two_bundles_in_one_batch_of_steps_each_answer_with_their_own_weights(build, prompts, reference):
    """Adapters handed to vLLM leak into rows without one once all its slots for them are filled, so each engine has one, merged."""
    models = [build("qwen2", seed=seed) for seed in (0, 1)]
    engines = [VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=4) for model in models]
    orders = [[engine.submit(sequence, decoding=GREEDY) for sequence in plain(prompts)] for engine in engines]
    results = [{}, {}]
    while any(engine.busy for engine in engines):
        for engine, found in zip(engines, results, strict=True):
            found |= dict(engine.step())
    for model, order, found in zip(models, orders, results, strict=True):
        assert [found[i].ids for i in order] == [reference(model, p) for p in prompts]


@pytest.mark.vllm
def test_a_request_that_it_cannot_serve_is_refused_before_the_engine_hears_of_it(qwen2, prompts, reference):
    engine = VllmEngine(qwen2, eos_ids=[EOS], max_len=MAX_LEN, slots=2)
    order = [engine.submit(sequence, decoding=GREEDY) for sequence in plain(prompts[:2])]
    with pytest.raises(BadInput, match=r"decoding\.guidance: got 2.*engine hf"):
        engine.submit(Sequence((1, 2), 0, 0, null_prompt_ids=(1,)), decoding=GREEDY.model_copy(update={"guidance": 2.0}))
    with pytest.raises(BadInput, match=r"decoding\.temperature: got 3.*engine hf"):
        engine.submit(Sequence((1, 2), 0, 0), decoding=DecodingParams(temperature=3.0))
    with pytest.raises(AssertionError, match="expected ids in"):
        engine.submit(Sequence((1, 97), 0, 0), decoding=GREEDY)
    results = {}
    while engine.busy:
        results |= dict(engine.step())
    assert [results[i].ids for i in order] == [reference(qwen2, p) for p in prompts[:2]]


@pytest.mark.vllm
def test_a_prompt_in_pieces_and_a_prefix_it_kept_decode_what_generate_decodes(qwen2, page, reference):
    """Chunked prefill and prefix caching are on unless they are switched off, and neither may be seen."""
    _, prompts = page
    engine = VllmEngine(qwen2, eos_ids=[EOS], max_len=MAX_LEN, slots=4)
    for _ in range(2):
        assert [one.ids for one in generate(engine, plain(prompts), decoding=GREEDY)] == [reference(qwen2, p) for p in prompts]


@pytest.mark.vllm
def test_what_vllm_has_no_kernel_for_is_refused_by_name():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    odd = Qwen2ForCausalLM(Qwen2Config(vocab_size=97, hidden_size=40, intermediate_size=16, num_hidden_layers=1, **heads))
    with pytest.raises(UnsupportedModel, match=r"qwen2: vLLM cannot run it.*head_dim=20.*engine hf"):
        VllmEngine(odd.eval(), eos_ids=[EOS], max_len=MAX_LEN)


@pytest.mark.vllm
def test_a_model_that_it_would_run_otherwise_is_refused(build):
    model = build("qwen2", seed=5)
    model.register_forward_hook(lambda module, inputs, output: setattr(output, "logits", output.logits * 1.5) or output)
    with pytest.raises(UnsupportedModel, match="qwen2: vLLM's log-probabilities differ"):
        VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN)


@pytest.mark.vllm
def test_it_keeps_the_weights_that_it_was_given(build, prompts, reference):
    model = build("llama", seed=3)
    engine = VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=4)
    expected = reference(model, prompts[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    assert generate(engine, plain(prompts[:1]), decoding=GREEDY)[0].ids == expected


@pytest.mark.vllm
def test_an_engine_that_is_gone_takes_no_other_along(build, prompts, reference):
    model = build("qwen2")
    engine = VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=2)
    other = VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=2)
    del other
    gc.collect()
    assert generate(engine, plain(prompts[:1]), decoding=GREEDY)[0].ids == reference(model, prompts[0])
    VllmEngine(model, eos_ids=[EOS], max_len=MAX_LEN, slots=2)


@pytest.mark.vllm
def test_bottlenecks_which_no_sum_of_weights_holds_are_refused(build):
    model = build("qwen2", seed=6)
    for bottleneck in insert_bottlenecks(model, targets=("o_proj", "down_proj"), size=4).values():
        for parameter in bottleneck.parameters():
            torch.nn.init.normal_(parameter)
    with pytest.raises(UnsupportedModel, match=r"qwen2: vLLM.*engine hf"):
        VllmEngine(model.eval(), eos_ids=[EOS], max_len=MAX_LEN)
