"""`make study-real`: others' real texts under the trimmed real base; which arm writes what, over seeds, and what a base is worth.

    data   raw tables, snapshots and the training texts that the bases' vocabularies are counted on
    base   the control: a small model from nothing, that has read the training rows alone
    ids    which unseen rows are scored and how, committed before anything is trained
    run    the studies, real.json and real.md; goes on where it was stopped

Only ids, figures and yes-or-no leave `out/`: the human texts are others', and what was learnt from them is not quoted.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cluster.bench.first_run import Shared, commit, machine, prepare
from cluster.bench.real_study_report import RealResults, markdown, part_of
from cluster.commands.study import live_lines, read_study
from cluster.session import connect
from common.errors import AlreadyExists, BadInput, LiyouError
from common.features.snapshot import Snapshot
from common.packs.load import load_pack
from train_app.data.public_datasets.advertisegen import import_advertisegen
from train_app.data.public_datasets.amazon_reviews import import_amazon_reviews
from train_app.data.public_datasets.kobe import import_kobe
from train_app.runtime.setting_up import read_splits
from train_app.study.config import StudyConfig
from train_app.study.run import kept_seeds, study

if TYPE_CHECKING:
    from train_app.data.public_datasets.raw_folder import ImportReport

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(highlight=False, markup=False, soft_wrap=True)
RESULTS = Path("docs/results")
NOTHING = Path("out/bases/nothing")
STUDIES: dict[str, tuple[str, list[str]]] = {
    "real": ("real", []),
    "nothing": ("real", [f"train.base.source={NOTHING}", "train.base.licence=CC0-1.0", "train.out=out/study-nothing", "seeds=[1]"]),
    "kobe": ("kobe", []),
    "amazon": ("amazon", []),
}
"""Name -> preset of train_app/study/configs, and what is otherwise in it."""
CONTROL_STEPS = 1500
"""Of the control's reading: 12 rows of 384 tokens a step, thirteen times through the training rows."""
SCORING = {
    "texts": "whole; one sample a row under the arm's own decoding, chosen on validation; all arms from the same random numbers",
    "text.sentence_bleu4": "mean sentence BLEU-4 over characters, smoothed as nltk's method3: the published rows' definition",
    "text.bleu4": "sacrebleu corpus BLEU-4, tokenize=zh (characters)",
    "text.rouge_l": "mean ROUGE-L F1 over jieba words (rouge_chinese)",
    "text.coverage": "mean share of a product's attribute values that stand in the text",
    "hallucinated": "share of texts whose facts check fails: a value, number or name that the product does not have or that contradicts it",
    "text.fmr, text.fcr, text.div, text.unique": "PETER's FMR, FCR, DIV, USR over attribute values",
    "goal": "of F, mean over seeds: text.sentence_bleu4 >= 8.1, text.rouge_l >= 25.1, text.coverage >= .80, hallucinated <= 0.5 of A'",
}


@app.command()
def data(shared: Shared = Path("../shared/data")) -> None:
    """Imports the sets, builds their snapshots and writes a corpus.jsonl each: prompts and texts of the training split alone."""
    importers: dict[str, Callable[[Path], ImportReport]] = {
        "real": partial(import_advertisegen, shared / "advertisegen", cut_placeholders=True),
        "kobe": partial(import_kobe, shared / "kobe"),
        "amazon": partial(import_amazon_reviews, shared / "amazon_musical_instruments"),
    }
    for name, importer in importers.items():
        prepare(name, configured(name).train, importer)


@app.command()
def base(steps: Annotated[int, typer.Option(min=1, help="of reading the training rows")] = CONTROL_STEPS, out: Path = NOTHING) -> None:
    """Writes the control: 27 million random weights under the real base's tokenizer, that then read the training rows of `real` alone."""
    if out.exists():
        raise AlreadyExists(f"{out} exists; remove it to make it anew")
    import torch

    from common.language.base_model import load_base
    from train_app.pretraining.adapting import adapt_base
    from train_app.pretraining.loop import PretrainingConfig, new_model, save

    torch.set_num_threads(2)
    config, vocabulary = configured("real").train, load_pack("advertisegen").vocabulary
    shape = PretrainingConfig(
        hidden_size=512, num_layers=6, num_heads=8, num_kv_heads=2, intermediate_size=1408, row_len=384, batch_rows=12, learning_rate=1e-3
    )
    real = load_base(config.base.source, dtype="bfloat16")
    empty = out.with_name(f"{out.name}-random")
    model = new_model(shape, vocab_size=len(real.tokenizer), end_id=real.eos_id, seed=1)
    save(model, real.tokenizer, empty)
    console.print(f"{sum(one.numel() for one in model.parameters()) / 1e6:.1f} M parameters; reading the training rows, {steps} steps")

    def on_step(step: int, loss: float, tokens: int) -> None:
        if step % 50 == 0:
            console.print(f"step {step} of {steps}  loss {loss:.3f}")

    train = read_splits(config, vocabulary=vocabulary).train
    made = adapt_base(str(empty), train, out, vocabulary=vocabulary, config=shape, steps=steps, seed=1, on_step=on_step)
    console.print(f"{out}: perplexity a token on {made.num_held_out} of the rows, held out: {made.before:.0f} -> {made.after:.1f}")


@app.command()
def ids(out: Path = RESULTS / "real_ids.json") -> None:
    """Writes which rows are scored and how; training reads none of them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(announced(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    console.print(f"{out}: commit it before `run`")


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help=f"these alone: {', '.join(STUDIES)}; may be repeated")] = None,
    ids_file: Path = RESULTS / "real_ids.json",
    out: Path = RESULTS,
) -> None:
    """Runs the studies, seed by seed, and writes real.json and real.md of all that are done. A seed of `real`: 85 minutes of two cores."""
    if unknown := set(only or ()) - set(STUDIES):
        raise BadInput(f"--only: got {', '.join(sorted(unknown))}; expected some of {', '.join(STUDIES)}")
    if not ids_file.is_file() or json.loads(ids_file.read_text(encoding="utf-8")) != announced():
        raise BadInput(f"{ids_file}: is not what this data, split and scoring give; write it with `ids` and commit it first")
    collected(out)  # a seed that does not belong here is found before hours of training, not after
    for name in only or STUDIES:
        config = configured(name)
        console.rule(name, align="left")
        with (
            connect(num_cpus=config.concurrent, num_threads=config.train.runtime.threads_per_worker, dashboard=True),
            live_lines() as (tell, on_seed),
        ):
            study(config, results=out / f"real-{name}", tell=tell, on_seed=on_seed, commit=commit())
        results = collected(out)
        (out / "real.json").write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (out / "real.md").write_text(markdown(results), encoding="utf-8")
    console.print(f"written: {out}/real.json, {out}/real.md")


def configured(name: str) -> StudyConfig:
    preset, overrides = STUDIES[name]
    return read_study(preset, overrides)


def announced() -> dict[str, object]:
    """The rows of each data set that are scored, in the order of all outcomes."""
    found: dict[str, object] = {"scoring": SCORING}
    for name in ("real", "kobe", "amazon"):
        config = configured(name)
        test = read_splits(config.train, vocabulary=load_pack(config.train.data.pack).vocabulary).test[: config.prompts]
        digest = Snapshot.open(config.train.data.snapshot).digest
        found[name] = {"snapshot": digest, "scored": [example.example_id for example in test]}
    return found


def collected(folder: Path) -> RealResults:
    """Every study of which a seed is there. Raises ConfigError where one was made by another configuration, data or base."""
    parts = {}
    for name in STUDIES:
        config = configured(name)
        if done := kept_seeds(config, folder / f"real-{name}"):
            parts[name] = part_of(config, done)
    return RealResults(command="make study-real", commit=commit(), machine=machine(), studies=parts)


def main() -> None:
    try:
        app()
    except LiyouError as error:
        raise SystemExit(f"real_study: {error.code}: {error}") from error


if __name__ == "__main__":
    main()
