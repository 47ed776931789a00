"""A tiny real base, a tiny trained-looking adapter and a bundle made from them, in process."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from common.bundle.canaries import CanaryExample
from common.bundle.manifest import Answering, Calibration, DataRef, Metric, Origin
from common.bundle.write import write_bundle
from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.decoding import DecodingParams
from common.domain.product import Attribute, Product
from common.language.base_model import LanguageModel, load_base
from common.packs.load import load_pack
from common.packs.schema import Pack
from common.quality.discriminator import Discriminator, discriminator_config

HEADPHONES = Product(
    product_id="p1",
    title="星野真无线蓝牙耳机",
    category="蓝牙耳机",
    attributes=(Attribute(key="品牌", value="星野"), Attribute(key="续航", value="30小时")),
)
SHOES = ProductMention(product_id="p0", title="轻云跑鞋", category="跑鞋")
CANARIES = (
    CanaryExample(Context(product=HEADPHONES, controls={"style": "concise"}), "星野这副耳机续航足，出门不用惦记充电。"),
    CanaryExample(
        Context(product=HEADPHONES, behavior=BehaviorSummary(last_purchased=SHOES, num_events=1)), "买过跑鞋的你，跑步时正好听歌。"
    ),
)
TARGETS = ["q_proj", "v_proj", "down_proj"]
ALPHA = 8.0


@dataclass(frozen=True)
class Parts:
    """Everything that `write_bundle` needs; `write` overrides single arguments."""

    base: Path
    language: LanguageModel
    adapter: dict[str, Tensor]
    discriminator: Discriminator
    pack: Pack

    def write(self, out: Path, **changes: object) -> str:
        arguments = {
            "language": self.language,
            "base_licence": "Apache-2.0",
            "adapter": self.adapter,
            "alpha": ALPHA,
            "discriminator": self.discriminator,
            "pack": self.pack,
            "answering": Answering(decoding=DecodingParams(), k=4, max_attempts=2, threshold=0.4),
            "calibration": Calibration(num_examples=10, measures={"auc": 0.8}),
            "metrics": {"joint": Metric(value=0.8, low=0.75, high=0.85, num=300)},
            "origin": ORIGIN,
            "canaries": CANARIES,
            "report": {"index.html": b"<p>monday</p>"},
        }
        return write_bundle(out, **{**arguments, **changes})


ORIGIN = Origin(
    config={"sft": {"learning_rate": 2e-4}},
    data=DataRef(digest="d" * 64, licences=("CC0-1.0",), num_examples=10),
    code_version="0.1.0",
    run={"folder": "/somewhere", "resumes": 1},
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
)


def tiny_base(folder: Path, *, seed: int = 0) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<bos>", "<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([HEADPHONES.title, *(example.text for example in CANARIES)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>")
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def random_adapter(language: LanguageModel, *, rank: int = 4) -> dict[str, Tensor]:
    """peft's own state dict for a LoRA whose both halves are non-zero; the language model is left as it was."""
    wrapped = get_peft_model(load_base(language.source).model, LoraConfig(r=rank, lora_alpha=ALPHA, target_modules=TARGETS))
    generator = torch.Generator().manual_seed(1)
    state = get_peft_model_state_dict(wrapped)
    return {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in state.items()}


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tiny_base(tmp_path_factory.mktemp("base"))
    language = load_base(str(folder))
    pack = load_pack("shop")
    torch.manual_seed(2)
    config = discriminator_config(pack.vocabulary, hidden_size=32, channels=8)
    discriminator = Discriminator(config, embedding_VD=language.model.get_input_embeddings().weight)
    return Parts(folder, language, random_adapter(language), discriminator.eval(), pack)


@pytest.fixture(scope="session")
def written(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle; read only."""
    folder = tmp_path_factory.mktemp("bundles") / "good"
    parts.write(folder)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the good bundle that a test may spoil."""
    return lambda: Path(shutil.copytree(written, tmp_path / "copy"))
