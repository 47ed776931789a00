"""Makes the starter base that the package carries. Repeatable: the same seed, steps, threads and machine give the same bytes.

The committed base: `base --seed 1 --steps 5400`, two threads, forty minutes of two cores (11 M tokens of rows); held-out perplexity 2.54 a
token, 93 % of values copied.
"""

import shutil
import time
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from common.bundle.admission import admit
from common.domain.controls import ControlVocabulary
from common.errors import BundleNotFound, ConfigError
from common.packs.load import load_pack
from train_app.pretraining.documents import Document, documents
from train_app.pretraining.loop import Encoded, PretrainingConfig, Report, measure, new_model, rows, save, train
from train_app.pretraining.tokenizer import train_tokenizer
from train_app.sample_shop.catalogue import pretraining_texts

STARTER = Path("common/starter")
SHOP_LISTINGS = 2000
"""Listings of one simulated shop; training goes through as many shops as it has time for."""


def make_base(
    out: Path,
    *,
    seed: int,
    steps: int | None = None,
    minutes: float | None = None,
    checkpoint_minutes: float = 5.0,
    config: PretrainingConfig | None = None,
    console: Console | None = None,
) -> Report:
    """Writes config, bf16 weights and tokenizer to `out`, at each checkpoint and at the end. `steps` is repeatable, `minutes` is not."""
    if (steps is None) == (minutes is None):
        raise ConfigError("make_base: expected either steps or minutes")
    config, console = config or PretrainingConfig(), console or Console()
    vocabulary = load_pack("shop").vocabulary
    learnt_from = islice(_endless(vocabulary, seed), config.tokenizer_documents)
    tokenizer = train_tokenizer(_texts(learnt_from), vocab_size=config.vocab_size)
    end_id = int(tokenizer.eos_token_id)
    model = new_model(config, vocab_size=len(tokenizer), end_id=end_id, seed=seed)
    model.set_attn_implementation("eager")  # 1.17 times the rate of sdpa at these lengths on a CPU; not recorded in the base
    other = documents(pretraining_texts(-1 - seed, config.held_out_listings), vocabulary=vocabulary, seed=-1 - seed)
    held_out = list(_encoded(other, tokenizer))
    console.print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens, {len(held_out)} held-out documents"
    )

    began = checkpoint = time.monotonic()
    losses: list[float] = []
    num_tokens = 0

    def progress(step: int) -> float:
        return step / steps if steps is not None else (time.monotonic() - began) / 60 / (minutes or 1.0)

    def on_step(step: int, loss: float, tokens: int) -> None:
        nonlocal checkpoint, num_tokens
        losses.append(loss)
        num_tokens += tokens
        now = time.monotonic()
        if step % 20 == 0:
            rate, recent = num_tokens / (now - began), sum(losses[-20:]) / 20
            console.print(f"step {step}  {progress(step):.0%}  loss {recent:.3f}  {step / (now - began):.2f} steps/s  {rate:,.0f} tokens/s")
        if now - checkpoint > checkpoint_minutes * 60:
            checkpoint = now
            _print(console, step, _checked(model, held_out, end_id))
            save(model, tokenizer, out)

    batches = rows(_encoded(_endless(vocabulary, seed), tokenizer), config=config, end_id=end_id, seed=seed)
    made = train(model, batches, config=config, progress=progress, on_step=on_step)
    report = measure(model, held_out, end_id=end_id)
    _print(console, made, report)
    save(model, tokenizer, out)
    return report


def _checked(model: PreTrainedModel, held_out: list[Encoded], end_id: int) -> Report:
    model.train(False)
    report = measure(model, held_out, end_id=end_id)
    model.train(True)
    return report


def _print(console: Console, step: int, report: Report) -> None:
    console.print(f"step {step}: held-out perplexity {report.perplexity:.3f}, copy accuracy {report.copy_accuracy:.3f}")


def _endless(vocabulary: ControlVocabulary, seed: int) -> Iterator[Document]:
    for shop in count():
        shop_seed = seed * 100_000 + shop
        yield from documents(pretraining_texts(shop_seed, SHOP_LISTINGS), vocabulary=vocabulary, seed=shop_seed)


def _texts(learnt_from: Iterable[Document]) -> Iterator[str]:
    """Blocks twice: their words are to become tokens before the words of prose do."""
    for document in learnt_from:
        blocks = "".join(document.blocks)
        yield from (blocks, blocks, document.text)


def _encoded(source: Iterable[Document], tokenizer: PreTrainedTokenizerFast) -> Iterator[Encoded]:
    """Segments apart, as `common.language.tokens` does it."""
    end_id = int(tokenizer.eos_token_id)
    for document in source:
        given = [i for block in document.blocks for i in tokenizer(block, add_special_tokens=False)["input_ids"]]
        text = tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True)
        starts = [start for start, _ in text["offset_mapping"]]
        copied = []
        for first, last in document.copied:
            inside = [i for i, start in enumerate(starts) if first <= start < last]
            if inside:
                copied.append((len(given) + inside[0], len(given) + inside[-1] + 1))
        yield Encoded(ids=(*given, *text["input_ids"], end_id), given=len(given), copied=tuple(copied))


def make_bundle(trained: Path, out: Path) -> str:
    """The bundle of a finished run, checked and copied to where the package carries it; returns its id. Replaces the one before."""
    folders = list(trained.glob("bundles/lb-*"))
    if len(folders) != 1:
        raise BundleNotFound(f"{trained}: {len(folders)} bundles/lb-* there, expected one: remove the others, or run liyou train starter")
    admitted = admit(folders[0])
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folders[0], out)
    return admitted.manifest.bundle_id


app = typer.Typer(add_completion=False, help="What lies in common/starter: a base, and a bundle trained on it.")


@app.command()
def base(
    out: Annotated[Path, typer.Option(help="folder to write the base to")] = STARTER / "base",
    seed: Annotated[int, typer.Option(help="of shops, documents and weights")] = 1,
    steps: Annotated[int | None, typer.Option(help="training steps: repeatable on one machine")] = None,
    minutes: Annotated[float | None, typer.Option(help="wall-clock budget instead of steps: not repeatable")] = None,
    checkpoint_minutes: Annotated[float, typer.Option(help="how often the base so far is measured and written")] = 5.0,
) -> None:
    """Pretrain the starter base on texts of simulated shops (descriptions, reviews; never annotated reasons)."""
    make_base(out, seed=seed, steps=steps, minutes=minutes, checkpoint_minutes=checkpoint_minutes)


@app.command()
def bundle(
    trained: Annotated[Path, typer.Argument(help="`out` of the run: the folder with bundles/")],
    out: Annotated[Path, typer.Option(help="folder to copy the bundle to")] = STARTER / "bundle",
) -> None:
    """Copy the bundle of a run to where the package carries it."""
    print(make_bundle(trained, out))


if __name__ == "__main__":
    app()
