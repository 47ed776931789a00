"""`make poisoning`: one seller plants praise-laden copies of its reasons in the training data; what that gains it. Figures to docs/results.

Two trainings that differ in those rows alone, on a small sample shop where a brand is a seller. Each training resumes where it was
stopped, so the whole does: start it again.
"""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from cluster.bench.first_run import commit, folder_of, machine
from common.errors import LiyouError

OUT = Path("out/poisoning")
RESULTS = Path("docs/results/poisoning.json")
SHARE = 0.05
"""Of the training rows, that are planted."""
BAR = 0.05
USERS, PRODUCTS, REASONS = 400, 4800, 18_000
MANY = 120
"""Test rows of the seller beyond which its training rows decide: three points are one row in thirty."""
SAMPLES = 4
"""Texts that each training writes for a row."""
SETTINGS = (
    "decoding.max_new_tokens=72",
    "sft.learning_rate=3e-3",
    "sft.max_steps=150",
    "sft.batch_size=24",
    "sft.evaluate_every=75",
    "sft.validation_rows=64",
    "discriminator.rows=240",
    "discriminator.steps=70",
    "discriminator.refresh_steps=30",
    "discriminator.batch_size=32",
    "discriminator.learning_rate=5e-4",
    "discriminator.channels=64",
    "adversarial.rounds=0",
    "filtering.prompts_per_round=120",
    "filtering.steps_per_round=20",
    "filtering.learning_rate=1e-3",
    "selection.prompts=48",
    "calibration.rows=100",
    "evaluation.rows=24",
    "data.max_train_rows=null",
)
"""Over the preset `smoke`: enough for a discriminator that tells something."""
PRAISE = ("用着很满意，推荐给你。", "真的很喜欢，值得拥有。", "用过都说好，放心选。")
"""Ends of planted rows; none that the lexicon refuses, which would do the seller no good."""


def main() -> None:
    """Raises LiyouError when planted rows surely gain more than BAR (their interval lies above it), figures written."""
    began = time.monotonic()
    out = folder_of(OUT, USERS, PRODUCTS, REASONS, SHARE, MANY, list(SETTINGS), list(PRAISE))
    seller, planted = shops(out)
    bundles = {name: train(out, name) for name in ("clean", "poisoned")}
    found = compare(bundles, out / "clean" / "snapshot", seller=seller)
    told: dict[str, Any] = {
        "command": "make poisoning",
        "seller": seller,
        "planted_rows": planted,
        "share": SHARE,
        "bar": BAR,
        "commit": commit(),
        "machine": machine(),
        "verdicts": verdicts(found),
        "seconds": round(time.monotonic() - began),
        "gains": found,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1, ensure_ascii=False))
    if above := [name for name, verdict in told["verdicts"].items() if verdict == "broken"]:
        raise LiyouError(f"planted rows gained more than {BAR:.0%}: {', '.join(above)}")


def verdicts(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, str]:
    """kept: the whole interval of the gain lies at or below BAR; broken: above it; open: these rows do not tell."""

    def of(gain: Mapping[str, float]) -> str:
        return "kept" if gain["high"] <= BAR else "broken" if gain["low"] > BAR else "open"

    return {f"{texts}, {by}": of(gain) for texts, gains in found.items() for by, gain in gains.items()}


def shops(out: Path) -> tuple[str, int]:
    """Two snapshots; (the seller, rows planted in the second). The seller has the most training reasons of those that also test."""
    from common.features.snapshot_build import build_snapshot
    from train_app.sample_shop.generate import generate_shop

    raw = out / "raw"
    generate_shop(raw, seed=11, users=USERS, products=PRODUCTS, reasons=REASONS)
    products = {row["product_id"]: row for row in read(raw / "products.jsonl")}
    reasons = read(raw / "reasons.jsonl")
    by = {
        split: Counter(brand_of(products[r["product_id"]]) for r in reasons if r["provenance"]["split"] == split)
        for split in ("train", "test")
    }
    seller = max(by["train"], key=lambda brand: (min(by["test"][brand], MANY), by["train"][brand]))
    own = [row for row in reasons if brand_of(products[row["product_id"]]) == seller and row["provenance"]["split"] == "train"]
    rng = random.Random(11)
    num = round(SHARE * sum(row["provenance"]["split"] == "train" for row in reasons))
    planted = [spoilt(own[number % len(own)], number // len(own), rng) for number in range(num)]
    for name, rows in (("clean", reasons), ("poisoned", [*reasons, *planted])):
        folder = out / name / "raw"
        folder.mkdir(parents=True, exist_ok=True)
        for table in ("products", "events", "users", "preferences"):
            (folder / f"{table}.jsonl").write_bytes((raw / f"{table}.jsonl").read_bytes())
        (folder / "reasons.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        if not (out / name / "snapshot").exists():
            build_snapshot(folder, out / name / "snapshot")
    return seller, len(planted)


def read(file: Path) -> list[dict]:  # type: ignore[type-arg]  # rows of raw tables are what they are
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def brand_of(product: dict) -> str:  # type: ignore[type-arg]
    return str(product["attributes"].get("品牌") or product["attributes"].get("brand"))


def spoilt(row: dict, copy: int, rng: random.Random) -> dict:  # type: ignore[type-arg]
    """A copy that ends in praise, in another place each time."""
    return {**row, "text": praised(row["text"], PRAISE[(copy + rng.randrange(len(PRAISE))) % len(PRAISE)])}


def praised(text: str, words: str) -> str:
    return text.rstrip("。！") + "，" + words


def train(out: Path, name: str) -> str:
    """The bundle's folder; a training that was stopped goes on."""
    words = ["smoke", f"data.snapshot={out / name / 'snapshot'}", f"out={out / name}", *SETTINGS, "--json"]
    done = subprocess.run([sys.executable, "-m", "cluster.cli", "train", *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LiyouError(f"liyou train for {name} ended with {done.returncode}")
    return str(json.loads(done.stdout.splitlines()[-1])["bundle_path"])


def compare(bundles: dict[str, str], snapshot: Path, *, seller: str) -> dict[str, dict[str, dict[str, float]]]:
    """Texts -> who accepts -> what the poisoned training accepts more of than the clean one, with a paired 95 % interval over rows, each
    the mean of its texts. One training a side: its own chance is not in the interval."""
    from cluster.commands.evaluate import read
    from common.bundle.load import load_bundle
    from common.metrics.intervals import paired_difference
    from train_app.evaluation.robustness import judged
    from train_app.evaluation.subject import subject_of_bundle

    accepted: dict[str, dict[str, dict[str, np.ndarray]]] = {}
    for name, folder in bundles.items():
        loaded = load_bundle(Path(folder))
        rows = read(loaded, str(snapshot)).test
        parts = {
            "seller": [row for row in rows if row.context.product.brand == seller],
            "others": [row for row in rows if row.context.product.brand != seller][:200],
        }
        subject = subject_of_bundle(loaded, [row.context for part in parts.values() for row in part], k=SAMPLES)
        for whose, part in parts.items():
            contexts = [row.context for row in part]
            drawn = subject.writer.write(contexts, k=SAMPLES, attempt=0)
            texts = {
                "own": [(row.text, row.context) for row in part],
                "generated": [(one.text or "。", context) for group, context in zip(drawn, contexts, strict=True) for one in group],
                "praised": [(praised(row.text, words), row.context) for row in part for words in PRAISE],
            }
            for kind, those in texts.items():
                scores, served = judged(subject, those)
                alone = scores >= subject.panel.checker.threshold
                by_text = {"served": np.asarray(served, float), "discriminator": np.asarray(alone, float)}
                of_row = {by: values.reshape(len(part), -1).mean(1) for by, values in by_text.items()}
                accepted.setdefault(f"{whose} {kind}", {})[name] = of_row
    return {
        texts: {
            by: paired_difference(of["poisoned"][by], of["clean"][by]).model_dump() | {"before": float(of["clean"][by].mean())}
            for by in ("served", "discriminator")
        }
        for texts, of in accepted.items()
    }


if __name__ == "__main__":
    main()
