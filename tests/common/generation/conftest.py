"""Tiny random models of each architecture that an engine promises, and the reference that it is held to."""

import random
from collections.abc import Callable

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCAB_SIZE = 97
EOS = 96
NEW = 16
KNOWN: dict[tuple[object, ...], tuple[int, ...]] = {}
SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # the smallest that vLLM has kernels for
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "pad_token_id": 0,
    "initializer_range": 0.28,  # wide enough that the best token leads by more than rounding
}
WINDOW = 12


def _qwen2() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE))


def _qwen2_windowed() -> PreTrainedModel:
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1))


def _llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def _gemma3() -> PreTrainedModel:
    # With tied embeddings a random Gemma repeats its last token whatever it attends to, and no mask would be tested.
    window = {"sliding_window": WINDOW, "sliding_window_pattern": 2, "query_pre_attn_scalar": 32, "tie_word_embeddings": False}
    return Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, **window))


BUILDERS: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2": _qwen2,
    "qwen2_windowed": _qwen2_windowed,
    "llama": _llama,
    "gemma3": _gemma3,
}


def build_model(name: str, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return BUILDERS[name]().eval()


@pytest.fixture(scope="session", params=list(BUILDERS))
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build_model(request.param)


@pytest.fixture(scope="session")
def gemma3() -> PreTrainedModel:
    return build_model("gemma3")


@pytest.fixture(scope="session")
def qwen2() -> PreTrainedModel:
    return build_model("qwen2")


@pytest.fixture(scope="session")
def build() -> Callable[..., PreTrainedModel]:
    """`build(name, seed=)`: a model that the test may change."""
    return build_model


def greedy_ids(model: PreTrainedModel, prompt: tuple[int, ...], again: bool = False) -> tuple[int, ...]:
    """Greedy ids of `generate`, unbatched, without the end token; asked once for weights that have not changed, unless `again`."""
    weights = float(model.get_input_embeddings().weight.detach().double().sum())
    key = (weights, model.config.model_type, getattr(model.config, "sliding_window", None), prompt)
    if key not in KNOWN or again:
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, eos_token_id=EOS, pad_token_id=0
        )
        answer = tuple(out[0, len(prompt) :].tolist())
        KNOWN[key] = answer[:-1] if answer[-1] == EOS else answer
    return KNOWN[key]


@pytest.fixture(scope="session")
def reference() -> Callable[..., tuple[int, ...]]:
    return greedy_ids


@pytest.fixture
def prompts() -> list[tuple[int, ...]]:
    """Ten prompts of 5 to 40 ids."""
    draw = random.Random(5)
    return [tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(5, 41))) for _ in range(10)]


@pytest.fixture
def page() -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """A prefix of 20 ids, longer than the window, and ten prompts that begin with it."""
    draw = random.Random(6)
    prefix = tuple(draw.randrange(1, EOS) for _ in range(20))
    return prefix, [prefix + tuple(draw.randrange(1, EOS) for _ in range(draw.randrange(3, 30))) for _ in range(10)]
