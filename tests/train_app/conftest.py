"""A workbench around a tiny random Qwen2 with a character tokenizer, and a shop of a few dozen reasons: real parts, small."""

import random
from pathlib import Path

import orjson
import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from common.config import load_config
from common.domain.context import Context
from common.domain.decoding import DecodingParams
from common.domain.money import money
from common.domain.product import BRAND, Attribute, Product
from common.features.snapshot_build import build_snapshot
from common.generation.hf import HfEngine
from common.language.base_model import LanguageModel, language_model
from common.language.prompt import build_prompt
from common.packs.load import load_pack
from common.quality.verdict import Checker
from train_app.config import AdapterKind, BottleneckConfig, DiscriminatorStageConfig, TrainConfig
from train_app.data.examples import Example
from train_app.data.split import Splits
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy
from train_app.stages.workbench import Workbench

PACK = load_pack("shop")
BRANDS, HOURS = ("青屿", "木禾", "北辰", "拾光"), (8, 12, 20, 30)
SMALL = DiscriminatorStageConfig(
    rows=16, fakes_per_row=1, steps=6, refresh_steps=2, batch_size=8, channels=8, evaluate_every=2, abort_auc=0.5
)


def make_examples(count: int, *, prefix: str) -> list[Example]:
    """Reasons whose brand and hours are the product's own, concise ones shorter than detailed ones."""
    rng, made = random.Random(prefix), []
    for index in range(count):
        brand, hours, style = rng.choice(BRANDS), rng.choice(HOURS), rng.choice(("concise", "detailed"))
        product = Product(
            product_id=f"{prefix}{index}",
            title=f"{brand}蓝牙耳机{index}",
            category="蓝牙耳机",
            attributes=(Attribute(key=BRAND, value=brand), Attribute(key="续航", value=f"{hours}小时")),
            price=money(100 + 10 * index),
        )
        text = f"{brand}这款耳机续航{hours}小时，通勤路上听歌正好。"
        if style == "detailed":
            text += "戴着轻，音色干净，一天下来也不用惦记充电这件事。"
        context = Context(product=product, controls={"style": style})
        made.append(
            Example(
                example_id=f"{prefix}{index}",
                context=context,
                text=text,
                labels={"style": style},
                product_id=product.product_id,
                provenance={},
            )
        )
    return made


def make_splits() -> Splits:
    sizes = {"train": 24, "discriminator": 12, "validation": 8, "calibration": 8, "test": 4, "evaluator": 0}
    return Splits(**{name: make_examples(size, prefix=name) for name, size in sizes.items()})


def all_examples(splits: Splits) -> list[Example]:
    return [example for name in ("train", "discriminator", "validation", "calibration", "test") for example in getattr(splits, name)]


def make_language(examples: list[Example]) -> LanguageModel:
    texts = [example.text + build_prompt(example.context, vocabulary=PACK.vocabulary).text for example in examples]
    vocabulary = {token: index for index, token in enumerate(["<eos>", "<unk>", *sorted(set("".join(texts)))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return language_model(Qwen2ForCausalLM(shape), fast, digest="0" * 64, source="tiny")


def new_bench(*, parallel: Parallel | None = None, checkpoint_every: int = 2, adapter: AdapterKind = "lora") -> Workbench:
    """`adapter`: adalora shares its ranks out over twenty steps of SFT."""
    splits = make_splits()
    shape = {"rank": 4, "alpha": 8, "dropout": 0.1, "bottleneck": BottleneckConfig(size=8, places="houlsby"), "steps": 20}
    policy = Policy(make_language(all_examples(splits)), kind=adapter, seed=1, **shape)
    return Workbench(
        run="a" * 64,
        policy=policy,
        engine=HfEngine(policy.merged.model, eos_ids=[0], max_len=384, slots=16, keep_features=True),
        checker=Checker(PACK, threshold=0.0),
        vocabulary=PACK.vocabulary,
        splits=splits,
        decoding=DecodingParams(max_new_tokens=16),
        served=DecodingParams(max_new_tokens=16, temperature=0.7),
        parallel=parallel or Parallel(),
        discriminator=SMALL,
        checkpoint_every=checkpoint_every,
    )


@pytest.fixture
def bench() -> Workbench:
    return new_bench()


@pytest.fixture(scope="session")
def make_bench():
    """A new workbench, as a process that starts again would open it."""
    return new_bench


@pytest.fixture(scope="session")
def bare_base():
    """Makes the base of `make_bench`, without an adapter."""
    return lambda: make_language(all_examples(make_splits()))


@pytest.fixture(scope="session")
def base_of():
    """Makes a random base whose characters are those of given examples and their prompts."""
    return make_language


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on a busy machine make these tiny matrices ten times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_shop(tmp_path) -> TrainConfig:
    return make_tiny_shop(tmp_path)


@pytest.fixture(scope="session")
def tiny_shop_in():
    """`tiny_shop` in a folder that a test names."""
    return make_tiny_shop


def make_tiny_shop(folder: Path) -> TrainConfig:
    """A snapshot and a base on disk, and the configuration of a run on them that takes seconds."""
    raw, parts = folder / "raw", make_splits()
    raw.mkdir(parents=True)
    examples = all_examples(parts) + make_examples(120, prefix="more")
    products = [
        {
            "product_id": one.product_id,
            "title": one.context.product.title,
            "category": one.context.product.category,
            "attributes": {attribute.key: attribute.value for attribute in one.context.product.attributes},
            "price": float(one.context.product.price.amount()),
            "currency": "CNY",
        }
        for one in examples
    ]
    reasons = [{"product_id": one.product_id, "text": one.text, "labels": one.labels, "provenance": {"source": "test"}} for one in examples]
    for name, rows in (("products", products), ("reasons", reasons)):
        (raw / f"{name}.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    build_snapshot(raw, out=folder / "snapshot")
    language = make_language(examples)
    language.model.save_pretrained(folder / "base")
    language.tokenizer.save_pretrained(folder / "base")
    smoke = Path(__file__).resolve().parents[2] / "train_app" / "configs" / "smoke.yaml"
    overrides = [
        f"data.snapshot={folder / 'snapshot'}",
        f"out={folder / 'out'}",
        f"base.source={folder / 'base'}",
        "discriminator.rows=12",
        "decoding.max_new_tokens=16",
    ]
    return load_config(smoke, TrainConfig, overrides)
