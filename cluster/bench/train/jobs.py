"""What a part's variants are told: rows, weights, sizes. The same for both sides of a comparison. Runs nothing."""

from pathlib import Path
from typing import Any

OUT = Path("out/bench-train")
ROOT = Path(__file__).resolve().parents[3]
LORA = {"rank": 16, "alpha": 32, "learning_rate": 1e-3, "weight_decay": 0.01}


def sft_job(*, steps: int) -> dict[str, Any]:
    """Batches of the starter's simulated shop as SFT would take them: [[ids, where the answer starts], …] each."""
    from common.features.snapshot import Snapshot
    from common.language.base_model import load_base
    from common.language.prompt import build_prompt
    from common.language.tokens import encode_example
    from common.packs.load import load_pack
    from train_app.data.examples import examples
    from train_app.stages.sft import batches

    language, vocabulary = load_base("starter", dtype="float32"), load_pack("shop").vocabulary
    encoded = [
        encode_example(build_prompt(one.context, vocabulary=vocabulary), one.text, language)
        for one in examples(Snapshot.open(shop()), vocabulary=vocabulary)
    ]
    order = batches([len(one.ids) for one in encoded], batch_size=32, seed=0)[:steps]
    return {
        "base": str(ROOT / "common" / "starter" / "base"),
        "batches": [[(list(encoded[row].ids), encoded[row].prompt_len) for row in batch] for batch in order],
        **LORA,
    }


def adversarial_job(*, steps: int) -> dict[str, Any]:
    """The starter bundle merged, a fresh LoRA on it, and the bundle's discriminator."""
    return {
        "bundle": str(ROOT / "common" / "starter" / "bundle"),
        "snapshot": shop(),
        "steps": steps,
        "prompts": 16,
        "samples": 8,
        "max_new_tokens": 72,
        "rank": LORA["rank"],
        "alpha": LORA["alpha"],
    }


def training_job(*, steps: int) -> dict[str, Any]:
    """The demo's SFT of so many steps, as a run through Ray has it: one validation, at its end, and no checkpoint before."""
    last = [f"sft.max_steps={steps}", f"sft.evaluate_every={steps}", "sft.validation_rows=32", "runtime.checkpoint_every=1000"]
    return {"preset": "demo", "snapshot": shop(), "overrides": last}


def smoke_job(*, steps: int) -> dict[str, Any]:
    """Every stage on next to nothing: what a training costs besides its steps."""
    return {"preset": "smoke", "snapshot": shop(), "overrides": []}


def shares_job(*, steps: int) -> dict[str, Any]:
    return {**training_job(steps=steps), **adversarial_job(steps=steps)}


def cuda_job(*, steps: int) -> dict[str, Any]:
    return {"steps": steps, "rows": 16, "tokens": 512, "prompt": 384, **LORA}


def shop() -> str:
    """A snapshot of a simulated shop."""
    from common.features.snapshot_build import build_snapshot
    from train_app.sample_shop.generate import generate_shop

    if not (OUT / "snapshot" / "manifest.json").is_file():
        generate_shop(OUT / "raw", seed=0, users=200, products=800, reasons=2400)
        build_snapshot(OUT / "raw", OUT / "snapshot")
    return str(OUT / "snapshot")
