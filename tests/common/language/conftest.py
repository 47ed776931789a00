"""Tiny real models and tokenizers, made in process: without a beginning token, with one that the tokenizer forgets, with a chat frame."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from common.language.base_model import LanguageModel, language_model

TEXTS = [
    "【用户】看过:声海 蓝牙耳机｜买过:跑鞋",
    "【商品】好耳机｜品牌:声海",
    "【要求】风格:简洁\n【理由】",
    "<|end|> <bos> user assistant 续航三十小时。",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)


def make_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE; `special` names the tokens that the model has (eos_token, bos_token)."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokens = [*special.values(), "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=400, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, extra_special_tokens=["<|im_start|>", "<|im_end|>"], **special)


def make_qwen2(tokenizer: PreTrainedTokenizerFast, *, max_len: int = 1024) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=max_len,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def make_gemma3(tokenizer: PreTrainedTokenizerFast) -> Gemma3ForCausalLM:
    torch.manual_seed(0)
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=1024,
            sliding_window=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,
        )
    )


@pytest.fixture(scope="session")
def qwen2() -> LanguageModel:
    tokenizer = make_tokenizer(eos_token="<|end|>")
    return language_model(make_qwen2(tokenizer), tokenizer, digest="0" * 64, source="tiny Qwen2")


@pytest.fixture(scope="session")
def gemma3() -> LanguageModel:
    """Its tokenizer knows <bos> and does not set it, as the one that transformers 5.19 reads from the GGUF file."""
    tokenizer = make_tokenizer(eos_token="<|end|>", bos_token="<bos>")
    return language_model(make_gemma3(tokenizer), tokenizer, digest="1" * 64, source="tiny Gemma 3")


@pytest.fixture(scope="session")
def chat() -> LanguageModel:
    tokenizer = make_tokenizer(eos_token="<|end|>")
    tokenizer.chat_template = CHATML
    return language_model(make_qwen2(tokenizer), tokenizer, digest="2" * 64, source="tiny chat model")


@pytest.fixture(scope="session")
def gemma3_chat() -> LanguageModel:
    tokenizer = make_tokenizer(eos_token="<|end|>", bos_token="<bos>")
    tokenizer.chat_template = GEMMA_CHAT
    return language_model(make_gemma3(tokenizer), tokenizer, digest="3" * 64, source="tiny Gemma 3 chat model")
