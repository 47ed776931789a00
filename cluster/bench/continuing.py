"""`make continue`: a shop that gets a new group of categories; what going on from its bundle does to the old ones. Figures to docs/results.

Three trainings on a small sample shop: without the categories of one group, then on these alone from the first one's bundle, once with
rehearsal of the old rows and once without. S (all checks pass and the writer's judge finds nothing) of one sample a request, for the old
categories' test rows and the new ones'. Each training resumes where it was stopped, so the whole does: start it again.
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import orjson

from common.errors import LiyouError

OUT = Path("out/continue")
RESULTS = Path("docs/results/continue.json")
NEW = frozenset(["面霜", "口红"])
"""The group that comes later."""
SHARE = 0.5
"""Of the rows trained on that are old: as many as there are new ones."""
BAR = 0.02
USERS, PRODUCTS, REASONS = 200, 1000, 4000
SETTINGS = (
    "data.max_train_rows=null",
    "decoding.max_new_tokens=72",
    "decoding.temperature=0.7",
    "sft.learning_rate=3e-3",
    "sft.max_steps=120",
    "sft.batch_size=24",
    "sft.evaluate_every=40",
    "sft.validation_rows=48",
    "discriminator.rows=48",
    "discriminator.steps=20",
    "adversarial.rounds=0",
    "filtering.rounds=0",
    "selection.prompts=16",
    "calibration.rows=32",
    "runtime.bf16=true",
    "runtime.checkpoint_every=40",
)
"""Over the preset `smoke`. SFT alone changes the adapter: what it forgets is the question."""
ROWS = 400
"""Test rows of each kind that are asked about, at most."""


def main() -> None:
    """Raises LiyouError when S on the old categories falls by more than BAR with rehearsal, figures written."""
    began = time.monotonic()
    out = OUT.resolve()
    rows = shops(out)
    first = train(out, "old", snapshot="old")
    going_on = ("--from", first, f"continued.snapshot={out / 'old' / 'snapshot'}")
    bundles = {
        "before": first,
        "rehearsed": train(out, "rehearsed", *going_on, f"continued.share={SHARE}", snapshot="new"),
        "not rehearsed": train(out, "not-rehearsed", *going_on, "continued.share=0", snapshot="new"),
    }
    found = measured(bundles, out)
    told = {
        "command": "make continue",
        "new_categories": sorted(NEW),
        "share": SHARE,
        "bar": BAR,
        "rows": rows,
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
    """The bundle's folder; a training that was stopped goes on."""
    asked = ["smoke", *words, f"data.snapshot={out / snapshot / 'snapshot'}", f"out={out / 'runs' / name}", *SETTINGS, "--json"]
    done = subprocess.run([sys.executable, "-m", "cluster.cli", "train", *asked], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LiyouError(f"liyou train for {name} ended with {done.returncode}")
    return str(json.loads(done.stdout.splitlines()[-1])["bundle_path"])


def measured(bundles: dict[str, str], out: Path) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Categories -> bundle -> S with its interval and, but for the first, the paired change against it."""
    from cluster.commands.evaluate import test_rows
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
            rows = test_rows(loaded, str(out / kind / "snapshot"), rows=ROWS)
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
