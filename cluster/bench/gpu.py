"""`make gpu`: what a GPU gives, and that the CUDA paths do what the CPU's do. For a machine with CUDA; figures to docs/results/gpu.json.

Decoding is compared in one run with Hugging Face's `generate` on the same weights: the starter bundle, and a Qwen2 of 0.5 B with random
weights, whose texts mean nothing and whose speed does. Training and serving run through Ray with the GPU reserved.
"""

import gc
import json
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from common.bundle.load import load_bundle
from common.domain.decoding import DecodingParams
from common.generation.engine import Sequence, generate
from common.generation.hf import HfEngine
from serve_app.state.live import STARTER

RESULTS = Path("docs/results/gpu.json")
OUT = Path("out/gpu")
PROMPT, NEW = 128, 64
"""Tokens of a prompt and of an answer; no sequence ends earlier."""
BATCHES = (1, 32, 128)
REPEATS = 3


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("make gpu: CUDA finds no GPU here")
    told: dict[str, Any] = {
        "command": "make gpu",
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip(),
        "machine": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    parts = (canaries, same_tokens, serving, training, decoding_starter, decoding_half_billion)
    for name, part in ((part.__name__, part) for part in parts):
        began = time.monotonic()
        try:
            told[name] = part()
        except Exception as error:  # one part that breaks leaves the others' figures
            traceback.print_exc()
            told[name] = {"broke": f"{type(error).__name__}: {str(error)[-300:]}"}
        told[f"{name}_s"] = round(time.monotonic() - began, 1)
        print(name, json.dumps(told[name], ensure_ascii=False)[:3000], flush=True)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def canaries() -> dict[str, object]:
    """The starter bundle was trained on a CPU: what it says here, in nats a token."""
    return {dtype: asdict(load_bundle(STARTER, device="cuda", dtype=dtype).canaries) for dtype in ("float32", "bfloat16")}  # type: ignore[arg-type]


def prompts(vocab_size: int, number: int) -> list[Sequence]:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(10, vocab_size, (number, PROMPT), generator=draw).tolist()
    return [Sequence(prompt_ids=tuple(row), prefix_len=0, seed=place) for place, row in enumerate(ids)]


def same_tokens() -> dict[str, object]:
    """Drawn with the same seeds: the share of sequences that are the same to the last token as on the CPU in float32."""
    found: dict[str, object] = {}
    settings = DecodingParams(max_new_tokens=NEW, temperature=0.7)

    def drawn(device: str, dtype: str, *, compile: bool = False) -> list[tuple[int, ...]]:
        language = load_bundle(STARTER, device=device, dtype=dtype, verify=False).language
        engine = HfEngine(language.model, eos_ids=[language.eos_id], max_len=256, slots=32, compile=compile)
        return [one.ids for one in generate(engine, prompts(language.model.config.vocab_size, 32), decoding=settings)]

    expected = drawn("cpu", "float32")
    for name, device, dtype, compile in (
        ("cuda float32", "cuda", "float32", False),
        ("cuda float32 compiled", "cuda", "float32", True),
        ("cuda bfloat16", "cuda", "bfloat16", False),
    ):
        found[name] = statistics.fmean(one == other for one, other in zip(drawn(device, dtype, compile=compile), expected, strict=True))
    return found


def decoding_starter() -> dict[str, object]:
    return decoding(starter)


def decoding_half_billion() -> dict[str, object]:
    return decoding(half_billion)


def decoding(make: Callable[[], PreTrainedModel]) -> dict[str, object]:
    """New tokens a second: median of REPEATS, the ways interleaved; and how many times `generate` that is."""
    found: dict[str, object] = {}
    for batch in BATCHES:
        medians = {way: statistics.median(rates) for way, rates in measured(make(), batch).items()}
        found[f"{batch} at once"] = {
            **{way: round(rate) for way, rate in medians.items()},
            **{f"{way} / generate": round(medians[way] / medians["generate"], 2) for way in medians if way != "generate"},
        }
        print(make.__name__, batch, found[f"{batch} at once"], flush=True)
        gc.collect()
        torch.cuda.empty_cache()
        torch.compiler.reset()
    return found


def measured(model: PreTrainedModel, batch: int) -> dict[str, list[float]]:
    """Way -> new tokens a second of each repeat."""
    wanted = prompts(model.config.vocab_size, batch)
    settings = DecodingParams(max_new_tokens=NEW, temperature=0.7)
    nothing_ends = [model.config.vocab_size - 1]
    eager = HfEngine(model, eos_ids=nothing_ends, max_len=PROMPT + NEW, slots=batch)
    compiled = HfEngine(model, eos_ids=nothing_ends, max_len=PROMPT + NEW, slots=batch, compile=True)
    ways: dict[str, Callable[[], int]] = {
        "generate": lambda: hf_generate(model, wanted),
        "engine": lambda: sum(len(one.ids) for one in generate(eager, wanted, decoding=settings)),
        "engine compiled": lambda: sum(len(one.ids) for one in generate(compiled, wanted, decoding=settings)),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(REPEATS + 1):
        for way, run in ways.items():
            torch.cuda.synchronize()
            began = time.monotonic()
            tokens = run()
            torch.cuda.synchronize()
            if repeat:  # the first warms up
                rates[way].append(tokens / (time.monotonic() - began))
    return rates


def starter() -> PreTrainedModel:
    return load_bundle(STARTER, device="cuda", dtype="bfloat16", verify=False).language.model


def half_billion() -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=151_936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    with torch.device("cuda"):
        model: PreTrainedModel = Qwen2ForCausalLM(config)  # type: ignore[no-untyped-call]
    torch.nn.Module.to(model, torch.bfloat16)
    model.train(False)
    return model


def hf_generate(model: PreTrainedModel, wanted: list[Sequence]) -> int:
    ids = torch.tensor([one.prompt_ids for one in wanted], device="cuda")
    with torch.inference_mode():
        out = model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.7, top_k=0,
            min_new_tokens=NEW, max_new_tokens=NEW, pad_token_id=0,
        )  # fmt: skip
    return int(out[:, PROMPT:].numel())


def shop() -> Path:
    """A sample shop's snapshot."""
    from common.features.snapshot_build import build_snapshot
    from train_app.sample_shop.generate import generate_shop

    if not (OUT / "snapshot").exists():
        generate_shop(OUT / "shop", seed=0)
        build_snapshot(OUT / "shop", OUT / "snapshot")
    return (OUT / "snapshot").resolve()


def training() -> dict[str, object]:
    """The demo's stages with one worker on the GPU, in bf16; the bundle is then loaded on the CPU, canaries and all."""
    from cluster.session import connect
    from common.config import load_config
    from train_app.config import TrainConfig
    from train_app.runtime.run import fit
    from train_app.stages.state import Progress

    overrides = [f"data.snapshot={shop()}", f"out={OUT.resolve() / 'train'}", "runtime.use_gpu=true"]
    config = load_config(Path("train_app/configs/demo.yaml"), TrainConfig, overrides)
    stages: dict[str, list[float]] = {}

    def on_progress(progress: Progress) -> None:
        stages.setdefault(progress.stage, []).append(time.monotonic())

    began = time.monotonic()
    with connect(num_cpus=4, num_gpus=1, num_threads=4):
        result = fit(config, on_progress)
    return {
        "all_s": round(time.monotonic() - began, 1),
        "stages_s": {stage: round(times[-1] - times[0], 1) for stage, times in stages.items()},
        "sft_steps_per_s": round((len(stages["sft"]) - 1) / (stages["sft"][-1] - stages["sft"][0]), 2),
        "metrics": {name: value for name, value in result.metrics.items() if name.startswith(("sample.", "discriminator.auc"))},
        "canaries_on_cpu": asdict(load_bundle(result.bundle_path).canaries),  # type: ignore[arg-type]
    }


def serving() -> dict[str, object]:
    """Pages of four products through the whole graph, generator on the GPU: a second, by storefronts that ask at once."""
    from cluster import LiyouClient
    from common.features.snapshot import Snapshot

    products = [product.product_id for product in Snapshot.open(shop()).products()][:400]
    found: dict[str, object] = {}
    with served(
        {"snapshot": str(shop()), "generator": {"resources": {"num_cpus": 1, "num_gpus": 1}, "slots": 128}, "cache": {"max_entries": 0}}
    ) as url:

        def page(number: int) -> tuple[float, bool]:
            began = time.monotonic()
            with LiyouClient(url) as client:
                items = client.reasons([products[(4 * number + i) % len(products)] for i in range(4)], deadline_ms=20_000).items
            return time.monotonic() - began, all(item.source == "model" for item in items)

        for users in (1, 8, 32):
            with ThreadPoolExecutor(users) as pool:
                began = time.monotonic()
                pages = list(pool.map(page, range(10 * users)))
                seconds = time.monotonic() - began
            took = sorted(one for one, _ in pages)
            found[f"{users} at once"] = {
                "pages/s": round(len(pages) / seconds, 1),
                "p50_ms": round(1000 * took[len(took) // 2]),
                "p95_ms": round(1000 * took[int(0.95 * (len(took) - 1))]),
                "all by the model": round(statistics.fmean(by_model for _, by_model in pages), 3),
            }
    return found


@contextmanager
def served(arguments: dict[str, object]) -> Iterator[str]:
    import yaml

    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "serve.yaml").write_text(yaml.safe_dump(arguments), encoding="utf-8")
    command = [sys.executable, "-m", "cluster.cli", "serve", "--config", str(OUT / "serve.yaml"), "--port", "8123", "--json"]
    with (OUT / "serve.log").open("wb") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (OUT / "serve.log").read_text(errors="replace")[-3000:]
            yield str(json.loads(line)["url"])
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
