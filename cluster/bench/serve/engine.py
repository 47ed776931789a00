"""The bare engine beside Hugging Face's `generate`: same weights, prompts, sampling and length of answers. `make bench-engine`.

The prompts are those of the sample shop: a batch of 32 users' items, and pages of 20 items of one user, whose prompts begin alike. Every
way decodes the same number of tokens, and none may end earlier. All ways take turns in one process; the first round is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from cluster.bench.first_run import commit, machine
from common.bundle.load import LoadedBundle, load_bundle
from common.domain.context import Context
from common.domain.decoding import DecodingParams
from common.errors import LiyouError
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.generation.candidates import sequences
from common.generation.engine import Sequence, generate
from common.generation.hf import HfEngine
from serve_app.state.live import STARTER
from train_app.sample_shop.generate import generate_shop

OUT = Path("out/bench-serve")
RESULTS = Path("docs/results/engine.json")
NEW = 40
"""Tokens of an answer: the starter's accepted ones have 38 on average."""
BATCH, PAGE, PAGES = 32, 20, 3
"""Sequences at once; items of a page; pages one after the other."""
CODES: tuple[dict[str, str], ...] = ({"style": "concise"}, {"style": "detailed"}, {"topic": "value", "style": "concise"}, {})
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
BARS = {("batch", "fp32"): 3.3, ("batch", "bf16"): 2.1, ("pages", "fp32"): 4.0, ("pages", "bf16"): 2.7}
"""How many times `generate` in that precision the best way of ours is to be; the issue's figures."""


def prompts(bundle: LoadedBundle, snapshot: Snapshot) -> dict[str, list[list[Sequence]]]:
    """ "batch": one list of BATCH sequences, a user each; "pages": PAGES lists of PAGE, a user a page. As serving makes them."""
    users = users_with_a_past(snapshot)
    products = list(islice(snapshot.products(), BATCH + PAGE * PAGES))

    def contexts(user_of: Callable[[int], str], numbers: range) -> list[Context]:
        return [Context(product=products[at], behavior=snapshot.behavior(user_of(at)), controls=CODES[at % len(CODES)]) for at in numbers]

    def asked(contexts: list[Context]) -> list[Sequence]:
        return sequences(contexts, language=bundle.language, vocabulary=bundle.pack.vocabulary, run_id="bench", k=1, attempt=0)

    return {
        "batch": [asked(contexts(lambda at: users[at], range(BATCH)))],
        "pages": [
            asked(contexts(lambda at, page=page: users[page], range(BATCH + page * PAGE, BATCH + (page + 1) * PAGE)))  # type: ignore[misc]
            for page in range(PAGES)
        ],
    }


def users_with_a_past(snapshot: Snapshot) -> list[str]:
    """Of whom a reason was written, and who have looked at something."""
    people = dict.fromkeys(row.user_id for row in snapshot.reasons() if row.user_id is not None)
    return [user for user in people if snapshot.behavior(user).last_viewed is not None]


def ways_of(bundles: dict[str, LoadedBundle], decoding: DecodingParams) -> dict[str, Callable[[list[Sequence]], int]]:
    """Name -> decodes a list, returns how many tokens it made."""
    ways: dict[str, Callable[[list[Sequence]], int]] = {}
    for dtype, bundle in bundles.items():
        model = bundle.language.model
        never = [model.config.vocab_size - 1]
        assert never != [bundle.language.eos_id]
        ways[f"generate {dtype}"] = lambda asked, model=model: hf_generate(model, asked, decoding)  # type: ignore[misc]
        for compiled in (False, True):
            engine = HfEngine(model, eos_ids=never, max_len=1024, slots=BATCH, compile=compiled, keep_features=False)
            name = f"engine {dtype}{' compiled' if compiled else ''}"
            ways[name] = lambda asked, engine=engine: engine_decode(engine, asked, decoding)  # type: ignore[misc]
    return ways


def engine_decode(engine: HfEngine, asked: list[Sequence], decoding: DecodingParams) -> int:
    engine.weights_changed()  # no prefix of an earlier round: each page pays for its own
    return sum(len(one.ids) for one in generate(engine, asked, decoding=decoding))


def hf_generate(model: PreTrainedModel, asked: list[Sequence], decoding: DecodingParams) -> int:
    longest = max(len(one.prompt_ids) for one in asked)
    ids = torch.tensor([(0,) * (longest - len(one.prompt_ids)) + one.prompt_ids for one in asked])
    mask = torch.tensor([[0] * (longest - len(one.prompt_ids)) + [1] * len(one.prompt_ids) for one in asked])
    with torch.inference_mode():
        out = model.generate(  # type: ignore[operator]
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=decoding.temperature, top_p=decoding.top_p, top_k=0,
            min_new_tokens=NEW, max_new_tokens=NEW, pad_token_id=0,
        )  # fmt: skip
    return int(out[:, longest:].numel())


def measured(threads: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    bundles = {name: load_bundle(STARTER, dtype=dtype, verify=False) for name, dtype in DTYPES.items()}
    wanted = prompts(bundles["fp32"], shop())
    decoding = DecodingParams(max_new_tokens=NEW, temperature=0.8)
    ways = ways_of(bundles, decoding)
    rates: dict[str, dict[str, list[float]]] = {load: {way: [] for way in ways} for load in wanted}
    for repeat in range(repeats + 1):
        for load, lists in wanted.items():
            for way, decode in ways.items():
                began, tokens = time.monotonic(), 0
                for asked in lists:
                    tokens += decode(asked)
                assert tokens == NEW * sum(map(len, lists)), f"{way}: {tokens} tokens"
                if repeat:
                    rates[load][way].append(tokens / NEW / (time.monotonic() - began))
        print(f"threads {threads}, round {repeat} of {repeats}", flush=True)
    return {
        "threads": threads,
        "matrix_gflops": matrix_gflops(),
        "shared_prefix_tokens": [lists[0].prefix_len for lists in wanted["pages"]],
        "prompt_tokens": round(statistics.fmean(len(one.prompt_ids) for lists in wanted["pages"] for one in lists), 1),
        "sequences_per_s": {load: {way: [round(rate, 2) for rate in own] for way, own in found.items()} for load, found in rates.items()},
        "ratios": {load: ratios(found) for load, found in rates.items()},
    }


def matrix_gflops() -> dict[str, float]:
    """What the machine multiplies (3840 x 256 by 256 x 1024) in each precision: no way gains more by bf16 than this."""
    found = {}
    for name, dtype in DTYPES.items():
        left, right = torch.randn(3840, 256, dtype=getattr(torch, dtype)), torch.randn(256, 1024, dtype=getattr(torch, dtype))
        times = []
        for _ in range(20):
            began = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - began)
        found[name] = round(2 * 3840 * 256 * 1024 / statistics.median(times) / 1e9, 1)
    return found


def ratios(rates: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Of each way of ours to `generate` in each precision, round by round: median, least, most."""
    found: dict[str, dict[str, Any]] = {}
    for way, own in rates.items():
        if way.startswith("engine"):
            for dtype in DTYPES:
                pairs = sorted(one / other for one, other in zip(own, rates[f"generate {dtype}"], strict=True))
                found.setdefault(way, {})[f"to generate {dtype}"] = [round(x, 2) for x in (statistics.median(pairs), pairs[0], pairs[-1])]
    return found


def shop() -> Snapshot:
    """The sample shop of the benchmarks, made once."""
    folder = OUT / "snapshot"
    if not (folder / "manifest.json").exists():
        generate_shop(OUT / "shop", seed=0)
        build_snapshot(OUT / "shop", folder)
    return Snapshot.open(str(folder.resolve()))


def verdicts(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bar beside the best of ours, over ways and thread counts."""
    found = []
    for (load, dtype), bar in BARS.items():
        value, way, threads = max(
            (told[f"to generate {dtype}"][0], way, run["threads"]) for run in runs for way, told in run["ratios"][load].items()
        )
        best = {"best": value, "way": way, "threads": threads, "ok": value >= bar}
        found.append({"load": load, "against": f"generate {dtype}", "bar": bar} | best)
    return found


def engine_part(repeats: int) -> dict[str, Any]:
    """A process for each number of threads, since compiled code and OpenMP's pool keep theirs."""
    shop()
    runs = []
    for threads in (1, 2):
        command = [sys.executable, "-m", "cluster.bench.serve.engine", "--threads", str(threads), "--repeats", str(repeats)]
        result = OUT / f"engine-{threads}.json"
        subprocess.run([*command, "--to", str(result)], check=True)
        runs.append(json.loads(result.read_text()))
    return {"answer_tokens": NEW, "runs": runs, "verdicts": verdicts(runs)}


def main() -> None:
    """Raises LiyouError where a bar is missed, figures written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--repeats", type=int, default=5, help="rounds that count")
    words.add_argument("--threads", type=int, help="only this number of threads, figures to --to; without it one and two, and the bars")
    words.add_argument("--to", type=Path, default=RESULTS)
    given = words.parse_args()
    given.to.parent.mkdir(parents=True, exist_ok=True)
    if given.threads is not None:
        given.to.write_text(json.dumps(measured(given.threads, given.repeats), indent=1) + "\n")
        return
    told = {"command": "make bench-engine", "commit": commit(), "machine": machine()} | engine_part(given.repeats)
    given.to.write_text(json.dumps(told, indent=1) + "\n")
    print(f"figures: {given.to}")
    wrong = [one for one in told["verdicts"] if not one["ok"]]
    missed = [f"{one['load']} against {one['against']}: {one['best']}, asked {one['bar']}" for one in wrong]
    if missed:
        raise LiyouError("; ".join(missed))


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
