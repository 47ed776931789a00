"""A bundle around a tiny model that has learnt one sentence by heart: what it writes is known, and everything around it is real. And the
whole graph in one process: the real ingress and replicas, and handles that call them as Serve does, in a context of their own.

Ray Serve 2.60 warns while it is imported (extra keywords of pydantic's Field); it is imported once here, where that is no error.
"""

import asyncio
import contextvars
import inspect
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from common.bundle.canaries import CanaryExample
from common.bundle.manifest import Answering, DataRef, Origin
from common.bundle.write import write_bundle
from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.decoding import DecodingParams
from common.domain.product import Attribute, Product
from common.language.base_model import load_base, teacher_forced
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from common.packs.load import load_pack
from common.quality.discriminator import Discriminator, discriminator_config

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray.serve  # noqa: F401

from ray.exceptions import RayTaskError
from starlette.testclient import TestClient

from serve_app.config import ServeConfig
from serve_app.graph.ingress import Ingress
from serve_app.graph.replicas import FeaturesReplica, GeneratorReplica, QualityReplica
from serve_app.telemetry.metrics import VALUES, Metric

SENTENCE = "这款每天都用得上，放在手边随时拿起来就好。"
"""21 characters: right for a concise reason, too short for a detailed one; states no fact."""
EARBUDS = Product(product_id="p1", title="静音蓝牙耳机", category="蓝牙耳机")
SHOES = Product(product_id="p2", title="轻云跑鞋", category="跑鞋", attributes=(Attribute(key="品牌", value="轻云"),))
PAST = BehaviorSummary(last_viewed=ProductMention(product_id="p2", title="轻云跑鞋", category="跑鞋", brand="轻云"), num_events=1)
CONTEXTS = (
    Context(product=EARBUDS),
    Context(product=SHOES, controls={"style": "concise"}),
    Context(product=SHOES, controls={"style": "detailed"}),
    Context(product=EARBUDS, behavior=PAST, controls={"style": "concise"}),
)
RANK, ALPHA = 2, 4.0


@dataclass(frozen=True)
class TinyBundle:
    path: Path
    bundle_id: str
    sentence: str


def _base(folder: Path) -> Path:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<bos>", "<eos>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    vocabulary = load_pack("shop").vocabulary
    tokenizer.train_from_iterator([SENTENCE, *(build_prompt(c, vocabulary=vocabulary).text for c in CONTEXTS)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<eos>")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    language = load_base(str(folder))
    examples = [encode_example(build_prompt(c, vocabulary=vocabulary), SENTENCE, language) for c in CONTEXTS]
    optimizer = torch.optim.AdamW(language.model.parameters(), lr=1e-2)
    for _ in range(120):
        states = teacher_forced(language.model.train(), [e.ids for e in examples], prompt_lens=[e.prompt_len for e in examples])
        loss = -torch.cat([state.logprob_T for state in states]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02, f"the tiny model did not learn its sentence: {loss.item()}"
    language.model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    language = load_base(str(_base(tmp_path_factory.mktemp("base"))))
    pack = load_pack("shop")
    wrapped = get_peft_model(load_base(language.source).model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["q_proj", "v_proj"]))
    noise = torch.Generator().manual_seed(1)
    adapter = {name: torch.randn(t.shape, generator=noise) * 0.1 for name, t in get_peft_model_state_dict(wrapped).items()}
    config = discriminator_config(pack.vocabulary, hidden_size=32, channels=8)
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    bundle_id = write_bundle(
        path,
        language=language,
        base_licence="Apache-2.0",
        adapter=adapter,
        alpha=ALPHA,
        discriminator=Discriminator(config, embedding_VD=language.model.get_input_embeddings().weight).eval(),
        pack=pack,
        answering=Answering(decoding=DecodingParams(max_new_tokens=60, temperature=0.5), k=2, max_attempts=1, threshold=0.0),
        calibration=None,
        metrics={},
        origin=Origin(config={}, data=DataRef(digest="d" * 64, licences=("CC0-1.0",), num_examples=1), code_version="test"),
        canaries=[CanaryExample(context, SENTENCE) for context in CONTEXTS],
    )
    return TinyBundle(path, bundle_id, SENTENCE)


Series = tuple[str, frozenset[tuple[str, str]]]


class LocalHandle:
    """`handle.METHOD.remote(...)` of a replica in this process. Nothing but the arguments crosses: each call has an empty context."""

    def __init__(self, replica: Any) -> None:
        self._replica = replica

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._replica, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                if inspect.iscoroutinefunction(method):
                    return await method(*args, **kwargs)
                return await asyncio.to_thread(method, *args, **kwargs)
            except Exception as error:
                raise RayTaskError(name, "traceback", error, proctitle="p", pid=1, ip="1").as_instanceof_cause() from error

        class Remote:
            @staticmethod
            def remote(*args: Any, **kwargs: Any) -> Any:
                return asyncio.get_running_loop().create_task(call(*args, **kwargs), context=contextvars.Context())

        return Remote


class Recorded:
    """Counts as Ray's agents would, and refuses a label that the metric does not have or that our code would not say."""

    series: ClassVar[Counter[Series]] = Counter()

    def __call__(self, metric: Metric, value: float = 1.0, labels: Mapping[str, str] | None = None) -> None:
        told = dict(labels or {})
        assert set(told) == set(metric.labels), metric.name
        for label, said in told.items():
            assert said in VALUES.get(label, (said,)), f"{metric.name}: {label}={said}"
        key = (metric.name, frozenset(told.items()))
        if metric.kind == "gauge":
            self.series[key] = value  # type: ignore[assignment]
        else:
            self.series[key] += value if metric.kind == "counter" else 1  # type: ignore[assignment]

    def of(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """Label values, in the metric's order -> value."""
        return {
            tuple(dict(labels)[label] for label in metric.labels): value
            for (name, labels), value in self.series.items()
            if name == metric.name
        }


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    Recorded.series = Counter()
    monkeypatch.setattr("serve_app.telemetry.ray_metrics.RayMetrics", Recorded)
    return Recorded()


@contextmanager
def running(config: ServeConfig) -> Iterator[TestClient]:
    features, generator, quality = FeaturesReplica(config), GeneratorReplica(config), QualityReplica(config)
    handles: list[Any] = [LocalHandle(replica) for replica in (features, generator, quality)]
    ingress = Ingress(config, *handles)
    with TestClient(ingress.__serve_build_asgi_app__()) as client:
        client.ingress, client.generator, client.quality = ingress, generator, quality  # type: ignore[attr-defined]
        yield client
    for replica in (features, generator, quality):
        replica.telemetry.close()
    generator.generator.close()


@pytest.fixture
def graph(tiny_bundle: Any, recorded: Recorded) -> Iterator[Callable[..., TestClient]]:
    """Makes the app with these fields of its configuration."""
    with ExitStack() as stack:

        def made(**fields: Any) -> TestClient:
            answer = {"expected_s": 0.01, "varied": False}
            config = ServeConfig.model_validate({"bundle": str(tiny_bundle.path), "answer": answer, "cache": {"max_entries": 0}} | fields)
            return stack.enter_context(running(config))

        yield made


@pytest.fixture
def earbuds() -> dict[str, Any]:
    return {"product": {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}}


@pytest.fixture
def shoes() -> dict[str, Any]:
    return {"product": {"product_id": "p2", "title": "轻云跑鞋", "category": "跑鞋"}}
