"""The two decode engines on the same prompts, greedy in fp32: their texts, and the verdicts on them. `make bench-engines`.

Each engine writes in the environment that has it, and its texts are judged there, by features that it made; a third step compares. The
prompts are test rows of a sample shop that the starter never saw.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any, get_args

from common.errors import LiyouError
from common.generation.engine import EngineName
from common.generation.vllm import ENVIRONMENT

RESULTS = Path("docs/results/engines.json")
PROMPTS, SLOTS = 500, 32
SAME_TEXTS = 0.99
"""Share of prompts that both answer alike, by the issue."""
SHOWN = 20


def part(name: str) -> Path:
    return Path("out/bench-serve") / f"engines-{name}.json"


def written(name: EngineName, *, prompts: int, threads: int) -> dict[str, Any]:
    """A text and a verdict a prompt."""
    os.environ.update({**ENVIRONMENT, "OMP_NUM_THREADS": str(threads)})
    import torch

    from cluster.bench.first_run import machine
    from cluster.bench.serve.engine import shop
    from common.bundle.load import load_bundle
    from common.generation.candidates import Writer, room_for
    from common.generation.engines import engine_named
    from common.generation.panel import Panel
    from common.quality.verdict import Checker
    from serve_app.state.live import STARTER
    from train_app.data.examples import examples
    from train_app.data.split import split

    torch.set_num_threads(threads)
    bundle = load_bundle(STARTER, dtype="float32", verify=False)
    language, vocabulary = bundle.language, bundle.pack.vocabulary
    decoding = bundle.manifest.answering.decoding.model_copy(update={"temperature": 0.0})
    contexts = [row.context for row in split(examples(shop(), vocabulary=vocabulary)).test[:prompts]]
    max_len = room_for(contexts, language=language, vocabulary=vocabulary, max_new_tokens=decoding.max_new_tokens)
    engine = engine_named(name, language, max_len=max_len, slots=SLOTS, keep_features=bundle.discriminator is not None)
    writer = Writer(language, engine, vocabulary, decoding, bundle.manifest.bundle_id)
    candidates = writer.write(contexts, k=1, attempt=0)
    verdicts = Panel(Checker(bundle.pack, threshold=bundle.threshold), bundle.discriminator).verdicts(contexts, candidates)
    return {
        "engine": name,
        "machine": machine(),
        "threads": threads,
        "bundle_id": bundle.manifest.bundle_id,
        "rows": [
            {
                "product": context.product.product_id,
                "text": own.text,
                "mean_logprob": own.mean_logprob,
                "accepted": verdict.accepted,
                "score": verdict.score,
                "failed": sorted(check for check, result in verdict.checks.items() if not result.passed),
            }
            for context, [own], [verdict] in zip(contexts, candidates, verdicts, strict=True)
        ],
    }


def compared(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Shares of equal texts and verdicts, the furthest that figures of an equal text lie apart, and the texts that differ."""
    pairs = list(zip(one["rows"], other["rows"], strict=True))
    assert all(a["product"] == b["product"] for a, b in pairs), "the two were asked for other products"
    same = [(a, b) for a, b in pairs if a["text"] == b["text"]]
    verdict = [all(a[name] == b[name] for name in ("accepted", "failed")) for a, b in pairs]
    told = {
        "prompts": len(pairs),
        "same_text": len(same) / len(pairs),
        "same_verdict": sum(verdict) / len(pairs),
        "same_verdict_where_texts_are": sum(all(a[name] == b[name] for name in ("accepted", "failed")) for a, b in same) / len(same),
        "furthest_score": max((abs(a["score"] - b["score"]) for a, b in same if a["score"] is not None), default=None),
        "furthest_mean_logprob": max(abs(a["mean_logprob"] - b["mean_logprob"]) for a, b in same),
        "accepted": {run["engine"]: sum(row["accepted"] for row in run["rows"]) for run in (one, other)},
        "differences": [{one["engine"]: a, other["engine"]: b} for a, b in pairs if a["text"] != b["text"]][:SHOWN],
    }
    return told | {"ok": told["same_text"] >= SAME_TEXTS}


def main() -> None:
    """Raises LiyouError where fewer texts are the same than were asked, figures written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("step", choices=[*get_args(EngineName), "compare"])
    words.add_argument("--prompts", type=int, default=PROMPTS)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--to", type=Path, default=RESULTS)
    given = words.parse_args()
    if given.step != "compare":
        told = written(given.step, prompts=given.prompts, threads=given.threads)
        part(given.step).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        return
    from cluster.bench.first_run import commit

    one, other = (json.loads(part(name).read_text()) for name in get_args(EngineName))
    about = {"command": "make bench-engines", "commit": commit()} | {name: one[name] for name in ("machine", "threads", "bundle_id")}
    told = compared(one, other)
    given.to.write_text(json.dumps(about | told, ensure_ascii=False, indent=1) + "\n")
    print(f"same text {told['same_text']:.3f}, same verdict {told['same_verdict']:.3f}; figures: {given.to}")
    if not told["ok"]:
        raise LiyouError(f"{told['same_text']:.3f} of the texts are the same; asked {SAME_TEXTS}")


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
