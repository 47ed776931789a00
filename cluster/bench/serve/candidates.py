"""How many candidates an item, and in which precision: what each choice earns and costs. `make bench-candidates`.

Test rows of a sample shop that the starter never saw are answered as serving answers them, with all the time there is. S is the share of
requests answered by the model with a text that the writer's judge finds nothing wrong with; the judge decides nothing. All choices take
turns page by page, and their requests are paired.
"""

import argparse
import asyncio
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cluster.bench.first_run import commit, machine
from cluster.bench.serve.engine import DTYPES, shop
from common.bundle.load import load_bundle
from common.domain.context import Context
from common.domain.reason import Reason
from common.generation.answer import Items, answer
from common.generation.candidates import Candidate
from common.metrics.intervals import paired_difference, share
from serve_app.state.live import STARTER
from train_app.data.examples import examples
from train_app.data.split import split
from train_app.evaluation.evaluate import Subject
from train_app.evaluation.subject import subject_of_bundle
from train_app.evaluation.truth import truth_of

RESULTS = Path("docs/results/candidates.json")
PAGE, REQUESTS = 20, 1000
CANDIDATES = (1, 2, 4, 6)
PRECISION_POINTS = 0.01
"""What bf16 may cost of S, by the issue."""


@dataclass(slots=True)
class Choice:
    """One way to serve, and what came of it."""

    name: str
    subject: Subject
    reasons: list[Reason] = field(default_factory=list)
    seconds: float = 0.0

    def page(self, contexts: list[Context]) -> None:
        async def write(items: Items, *, k: int, attempt: int) -> list[list[Candidate]]:
            return self.subject.writer.write([context for _, context in items], k=k, attempt=attempt)

        async def judge(contexts: list[Context], candidates: list[list[Candidate]]) -> Any:
            return self.subject.panel.verdicts(contexts, candidates)

        began = time.perf_counter()
        self.reasons += asyncio.run(
            answer(
                contexts,
                write=write,
                judge=judge,
                fill=self.subject.fill,
                clock=lambda: 0.0,
                deadline_s=math.inf,
                policy=self.subject.policy,
            )
        )
        self.seconds += time.perf_counter() - began


def choices(contexts: list[Context]) -> list[Choice]:
    found = []
    for name, dtype in DTYPES.items():
        bundle = load_bundle(STARTER, dtype=dtype, verify=False)
        found += [Choice(f"{name}, {k}", subject_of_bundle(bundle, contexts, k=k)) for k in CANDIDATES]
    served = load_bundle(STARTER, dtype="bfloat16", verify=False)
    found.append(Choice(f"bf16 compiled, {served.manifest.answering.k}", subject_of_bundle(served, contexts, compile=True)))
    return found


def measured(requests: int, threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    bundle = load_bundle(STARTER, verify=False)
    rows = split(examples(shop(), vocabulary=bundle.pack.vocabulary)).test[:requests]
    contexts = [row.context for row in rows]
    ways = choices(contexts)
    for way in ways:  # nobody pays for compilation or first calls
        way.page(contexts[:PAGE])
        way.reasons, way.seconds = [], 0.0
    for start in range(0, len(contexts), PAGE):
        for way in ways:
            way.page(contexts[start : start + PAGE])
        print(f"{start + PAGE} of {len(contexts)}", flush=True)
    truth = truth_of("sample_shop")
    assert truth is not None
    succeeded, told = {}, []
    for way in ways:
        by_model = [reason.source == "model" for reason in way.reasons]
        good = [own and truth(reason.text, context) for own, reason, context in zip(by_model, way.reasons, contexts, strict=True)]
        succeeded[way.name] = good
        told.append(
            {
                "choice": way.name,
                "s": share(sum(good), len(good)).model_dump(),
                "by_model": share(sum(by_model), len(by_model)).model_dump(),
                "wrong_among_accepted": share(sum(by_model) - sum(good), sum(by_model)).model_dump(),
                "items_per_s": round(len(contexts) / way.seconds, 1),
                "outcomes": "".join("1" if one else "0" for one in good),
            }
        )
    k = bundle.manifest.answering.k
    pairs = {"bf16": (f"bf16, {k}", f"fp32, {k}"), "bf16 compiled": (f"bf16 compiled, {k}", f"fp32, {k}")}
    differences = {name: paired_difference(succeeded[one], succeeded[other]).model_dump() for name, (one, other) in pairs.items()}
    return {
        "requests": len(contexts),
        "threads": threads,
        "served_k": k,
        "choices": told,
        "s_minus_fp32": differences,
        "precision_ok": {name: found["value"] >= -PRECISION_POINTS for name, found in differences.items()},
    }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--requests", type=int, default=REQUESTS)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--to", type=Path, default=RESULTS)
    given = words.parse_args()
    told = {"command": "make bench-candidates", "commit": commit(), "machine": machine()} | measured(given.requests, given.threads)
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(json.dumps(told, indent=1) + "\n")
    for one in told["choices"]:
        print(f"{one['choice']:20} S {one['s']['value']:.3f}  by the model {one['by_model']['value']:.3f}  {one['items_per_s']} items/s")
    print(f"figures: {given.to}")


if __name__ == "__main__":
    main()
