"""`make continue`: a shop that gets a new group of categories; what going on from its bundle does to the old ones. Figures to docs/results.

Four times SFT on a small sample shop: without the categories of one group, then on these alone from the first bundle: with rehearsal of
the old snapshot's rows, of texts that the bundle writes again, and without. S (all checks pass and the writer's judge finds nothing) of one
sample a request, for the old categories' test rows and the new ones'. In this process, without Ray, as `liyou train` would do it. A bundle
that is there is not trained again.
"""

import json
import time
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from cluster.bench.first_run import commit, folder_of, machine
from common.errors import LiyouError

if TYPE_CHECKING:
    from train_app.stages.state import Progress

OUT = Path("out/continue")
RESULTS = Path("docs/results/continue.json")
NEW = frozenset(["面霜", "口红"])
"""The group that comes later."""
SHARE = 0.5
"""Of the rows trained on that are old: as many as there are new ones."""
BAR = 0.02
USERS, PRODUCTS, REASONS = 300, 2000, 8000
SETTINGS = (
    "data.max_train_rows=null",
    "decoding.max_new_tokens=72",
    "decoding.temperature=0.7",
    "base.source=train_app/study/base",
    "base.dtype=bfloat16",
    "lora.rank=32",
    "lora.alpha=64",
    "lora.dropout=0.0",
    "sft.learning_rate=1.5e-3",
    "sft.max_steps=250",
    "sft.batch_size=32",
    "sft.evaluate_every=125",
    "sft.validation_rows=96",
    "runtime.bf16=true",
)
"""Over the preset `smoke`, on the study's base: what the starter learns in minutes is too little to be forgotten. SFT alone changes the
adapter: what it forgets is the question."""
ROWS = 300
"""Test rows of each kind that are asked about, at most."""


def main() -> None:
    """Raises LiyouError when S on the old categories falls by more than BAR with rehearsal, figures written."""
    began = time.monotonic()
    out = folder_of(OUT, USERS, PRODUCTS, REASONS, SHARE, sorted(NEW), list(SETTINGS))
    rows = shops(out)
    first = train(out, "before", snapshot="old")
    going_on, share = f"continued.bundle={first}", f"continued.share={SHARE}"
    bundles = {
        "before": first,
        "rehearsed": train(out, "rehearsed", going_on, share, f"continued.snapshot={out / 'old' / 'snapshot'}", snapshot="new"),
        "written again": train(out, "written again", going_on, share, snapshot="new"),
        "not rehearsed": train(out, "not rehearsed", going_on, "continued.share=0", snapshot="new"),
    }
    found = measured(bundles, out)
    told = {
        "command": "make continue",
        "new_categories": sorted(NEW),
        "share": SHARE,
        "bar": BAR,
        "rows": rows,
        "commit": commit(),
        "machine": machine(),
        "seconds": round(time.monotonic() - began),
        "old": found["old"],
        "new": found["new"],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))
    change = found["old"]["rehearsed"]["change"]["value"]
    if change < -BAR:
        raise LiyouError(f"S on the old categories fell by {-change:.3f} with rehearsal; at most {BAR}")


def shops(out: Path) -> dict[str, int]:
    """Two snapshots of one catalogue, whose reasons are of the old and of the new categories; how many reasons each has."""
    from common.features.snapshot_build import build_snapshot
    from train_app.sample_shop.generate import generate_shop

    raw = out / "raw"
    if not (raw / "reasons.jsonl").exists():
        generate_shop(raw, seed=31, users=USERS, products=PRODUCTS, reasons=REASONS)
    category = {row["product_id"]: row["category"] for row in read(raw / "products.jsonl")}
    reasons, counts = read(raw / "reasons.jsonl"), {}
    for name in ("old", "new"):
        own = [row for row in reasons if (category[row["product_id"]] in NEW) is (name == "new")]
        counts[name] = len(own)
        folder = out / name / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for table in ("products", "events", "users", "preferences"):
            (folder / f"{table}.jsonl").write_bytes((raw / f"{table}.jsonl").read_bytes())
        (folder / "reasons.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in own))
        if not (out / name / "snapshot").exists():
            build_snapshot(folder, out / name / "snapshot")
    return counts


def read(file: Path) -> list[dict[str, str]]:
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def train(out: Path, name: str, *words: str, snapshot: str) -> str:
    """The folder of a bundle that SFT alone made, without a discriminator."""
    from cluster.commands.train import config_path
    from common.bundle.canaries import CanaryExample
    from common.bundle.manifest import Answering, DataRef, Origin
    from common.bundle.write import write_bundle
    from common.config import load_config
    from common.language.base_model import load_base
    from common.packs.load import load_pack
    from train_app.config import TrainConfig
    from train_app.runtime.continuing import regenerated, writes_again
    from train_app.runtime.loop import public_config
    from train_app.runtime.run import run_inputs
    from train_app.runtime.setting_up import open_workbench
    from train_app.stages.parallel import Parallel
    from train_app.stages.sft import sft
    from train_app.stages.state import State

    folder = out / "bundles" / name
    if folder.exists():
        return str(folder)
    settings = [f"data.snapshot={out / snapshot / 'snapshot'}", f"out={out}", *SETTINGS, *words]
    config, alone = load_config(config_path("smoke"), TrainConfig, settings), Parallel()
    inputs, place = run_inputs(config), str(out / "runs" / name)
    write = partial(regenerated, config, on_progress=_tell, place=place, parallel=alone)
    bench = open_workbench(config, inputs=inputs, parallel=alone, old=write if writes_again(config) else None)
    state = sft(State(inputs), config.sft, _tell, bench=bench, save=lambda state: None)
    write_bundle(
        folder,
        language=load_base(config.base.source, dtype=config.base.dtype),
        base_licence=config.base.licence,
        adapter=bench.policy.exported(state.group("policy")),
        alpha=bench.policy.alpha,
        discriminator=None,
        pack=load_pack(config.data.pack),
        answering=Answering(decoding=config.decoding, k=4, max_attempts=1, threshold=0.0),
        calibration=None,
        metrics={},
        origin=Origin(
            config=public_config(config, pack="shop"),
            data=DataRef(digest=inputs, licences=(config.data.licence,), num_examples=len(bench.splits.train)),
            code_version=version("liyou"),
        ),
        canaries=[CanaryExample(context=one.context, text=one.text) for one in bench.splits.validation[:2]],
    )
    return str(folder)


def _tell(progress: "Progress") -> None:
    if progress.note or progress.step % 10 == 0:
        print(f"{progress.stage} {progress.step}/{progress.total} {progress.note}", flush=True)


def measured(bundles: dict[str, str], out: Path) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Categories -> bundle -> S with its interval and, but for the first, the paired change against it."""
    from cluster.commands.evaluate import read
    from common.bundle.load import load_bundle
    from common.metrics.intervals import paired_difference, share
    from train_app.evaluation.subject import subject_of_bundle
    from train_app.evaluation.truth import truth_of

    right = truth_of("sample_shop")
    assert right is not None
    outcomes: dict[str, dict[str, list[bool]]] = {"old": {}, "new": {}}
    for name, folder in bundles.items():
        loaded = load_bundle(Path(folder))
        for kind, of in outcomes.items():
            rows = read(loaded, str(out / kind / "snapshot")).test[:ROWS]
            contexts = [row.context for row in rows]
            subject = subject_of_bundle(loaded, contexts, k=1)
            writer = replace(subject.writer, run_id="continue")  # the same random numbers for all three
            texts = [group[0].text for group in writer.write(contexts, k=1, attempt=0)]
            judged = [subject.panel.checker.judge(text, context=context, score=None) for text, context in zip(texts, contexts, strict=True)]
            of[name] = [
                verdict.checks_passed and right(text, context) for verdict, text, context in zip(judged, texts, contexts, strict=True)
            ]
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for kind, of in outcomes.items():
        for name, success in of.items():
            told = {"S": share(sum(success), len(success)).model_dump()}
            if name != "before":
                told["change"] = paired_difference(success, of["before"]).model_dump()
            found.setdefault(kind, {})[name] = told
    return found


if __name__ == "__main__":
    main()
