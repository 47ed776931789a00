"""`make real`: AdvertiseGen through every stage on the real base and KOBE through a hundred steps; measured, served, written down.

    data   raw tables, snapshots and the training texts that `make base` counts
    ids    which unseen rows are scored and how, committed before anything is trained
    run    everything else; goes on where it was stopped

Only ids, figures and what the model wrote leave `out/`: the human texts and the base are others'.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from platform import python_version
from typing import Annotated

import httpx2
import typer
from rich.console import Console

from cluster.bench.first_run_report import Results, Served, markdown
from cluster.commands.demo import promote, serving
from cluster.commands.train import config_path, console_progress
from cluster.session import connect
from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import load_config
from common.errors import BadInput, LiyouError
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.language.prompt import build_prompt
from common.packs.load import load_pack
from train_app.config import TrainConfig
from train_app.data.examples import Example
from train_app.data.public_datasets.advertisegen import import_advertisegen
from train_app.data.public_datasets.kobe import import_kobe
from train_app.data.public_datasets.raw_folder import ImportReport
from train_app.runtime.final_evaluation import CHOSEN, FOLDER
from train_app.runtime.run import TrainResult, fit
from train_app.runtime.setting_up import read_splits
from train_app.stages.state import Progress

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(highlight=False, markup=False, soft_wrap=True)
IMPORTERS = {"advertisegen": import_advertisegen, "kobe": import_kobe}
RESULTS = Path("docs/results")
SERVE = Path(__file__).parent / "serve_real.yaml"
NUM_SERVED, PAGE = 20, 5
SCORING = {
    "texts": "whole; one sample a row (the first candidate), temperature 0.8, top-p 0.95, the same seeds for base, SFT and chosen model",
    "bleu4": "sacrebleu corpus BLEU-4, tokenize=zh (characters)",
    "sentence_bleu4": "mean sentence BLEU-4 over characters, smoothed as nltk's method3",
    "rouge_l": "mean ROUGE-L F1 over jieba words (rouge_chinese)",
    "chrf": "sacrebleu corpus chrF",
    "coverage": "mean share of a product's attribute values that stand in the text",
    "fmr": "share of texts that name the first attribute value which the human text names (rows without one left out)",
    "c2st_auc": "out-of-fold AUC of a logistic regression over character 1-3-grams, five folds; .5 is indistinguishable",
    "perplexity_char": "of the human texts, per character, under the generator with the adapter merged, in bf16",
}
Shared = Annotated[Path, typer.Option(help="folder of the public data sets")]
Port = Annotated[int, typer.Option(min=1, max=65535, help="where pages are served for a moment")]


@app.command()
def data(shared: Shared = Path("../shared/data")) -> None:
    """Imports both sets, builds their snapshots and writes OUT/corpus.jsonl: prompts and texts of the training split alone."""
    for name, importer in IMPORTERS.items():
        prepare(name, preset(name), partial(importer, shared / name))


@app.command()
def ids(out: Path = RESULTS / "first_run_ids.json") -> None:
    """Writes which rows are scored and which products are served: the beginning and the end of the test split, none trained on."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(announced(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    console.print(f"{out}: commit it before `run`")


@app.command()
def run(port: Port = 8000, ids_file: Path = RESULTS / "first_run_ids.json", out: Path = RESULTS) -> None:
    """Trains, measures and serves both sets, and writes first_run.json and first_run.md into `out`.

    Meant to take less than 45 minutes on two idle cores.
    """
    if not ids_file.is_file() or json.loads(ids_file.read_text(encoding="utf-8")) != announced():
        raise BadInput(f"{ids_file}: is not what this data, split and scoring give; write it with `ids` and commit it first")
    clock = Clock(Path("out/first_run_seconds.json"))
    parts = {}
    for name in IMPORTERS:
        result = trained(name, clock)
        with clock.part(f"{name}: serving"):
            parts[name] = (result, served(name, result, port=port))
    (result, reasons), (kobe, page) = parts["advertisegen"], parts["kobe"]
    evaluations = {file.stem: json.loads(file.read_bytes()) for file in sorted((Path(result.run_path) / FOLDER).glob("*.json"))}
    evaluations.setdefault("sft", evaluations[CHOSEN])  # missing where plain SFT was chosen
    results = Results(
        command="make real",
        commit=commit(),
        machine=machine(),
        seed=preset("advertisegen").seed,
        seconds=clock.seconds,
        config=preset("advertisegen").model_dump(mode="json"),
        num_train=len(read_splits(preset("advertisegen"), vocabulary=load_pack("advertisegen").vocabulary).train),
        selected=result.selected,
        selection=result.selection,
        discriminator_auc=result.discriminator_auc,
        adapters=result.digests,
        measures={name: evaluation["measures"] for name, evaluation in evaluations.items()},
        served=tuple(reasons),
        kobe_config=preset("kobe").model_dump(mode="json"),
        kobe_measures=kobe.metrics,
        kobe_served=tuple(page),
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "first_run.json").write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out / "first_run.md").write_text(markdown(results), encoding="utf-8")
    console.print(f"written: {out}/first_run.json, {out}/first_run.md")


def prepare(name: str, config: TrainConfig, importer: Callable[[Path], ImportReport]) -> None:
    """Raw tables, the snapshot, and corpus.jsonl of its training rows, below `config.out`; what is there stands."""
    snapshot, raw = Path(config.data.snapshot), Path(config.out) / "raw"
    if not (snapshot / "manifest.json").is_file():
        if not raw.exists():
            dropped = importer(raw).dropped
            console.print(f"{name}: dropped " + ", ".join(f"{number} rows ({why})" for why, number in dropped.items()))
        build_snapshot(raw, snapshot)
    vocabulary = load_pack(config.data.pack).vocabulary
    train = read_splits(config, vocabulary=vocabulary).train
    lines = [{"prompt": build_prompt(one.context, vocabulary=vocabulary).text, "text": one.text} for one in train]
    corpus = Path(config.out) / "corpus.jsonl"
    corpus.parent.mkdir(parents=True, exist_ok=True)
    corpus.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    console.print(f"{name}: snapshot {Snapshot.open(snapshot).digest[:16]}, {len(train)} training texts in {corpus}")


def preset(name: str) -> TrainConfig:
    return load_config(config_path(name), TrainConfig, [])


def unseen(name: str) -> tuple[list[Example], list[Example]]:
    """Test rows that are scored, and of the rest those that are served, a product once. Training reads neither."""
    config = preset(name)
    test = read_splits(config, vocabulary=load_pack(config.data.pack).vocabulary).test
    scored, rest = test[: config.evaluation.rows], test[config.evaluation.rows :]
    seen = {example.product_id for example in scored}
    once = {example.product_id: example for example in rest if example.product_id not in seen}
    return scored, list(once.values())[:NUM_SERVED]


def announced() -> dict[str, object]:
    scored, to_serve = unseen("advertisegen")
    return {
        "dataset": "advertisegen",
        "snapshot": Snapshot.open(preset("advertisegen").data.snapshot).digest,
        "split": "test: groups of rows with one `content`, by hash; eight code combinations stand in it alone",
        "scoring": SCORING,
        "scored": [example.example_id for example in scored],
        "served": [example.example_id for example in to_serve],
    }


def trained(name: str, clock: "Clock") -> TrainResult:
    config = preset(name)
    console.rule(name, align="left")
    with (
        connect(num_cpus=config.runtime.num_workers + 1, num_threads=config.runtime.threads_per_worker),
        console_progress() as show,
        clock.part(f"{name}: start and bundle"),
    ):

        def on_progress(progress: Progress) -> None:
            clock.told(f"{name}: {progress.stage}")
            show(progress)

        result = fit(config, on_progress)
    console.print(f"{name}: {result.bundle_id}; shipped: {result.selected}")
    return result


def served(name: str, result: TrainResult, *, port: int) -> list[Served]:
    """Reasons from the published bundle, over HTTP, for products that training never saw; printed as they come."""
    folder = Path(preset(name).out).resolve()
    promote(result, folder / "registry")
    examples = unseen(name)[1][: NUM_SERVED if name == "advertisegen" else PAGE]
    found = []
    with serving(folder, port=port, config=SERVE) as url:
        for start in range(0, len(examples), PAGE):
            page = examples[start : start + PAGE]
            body = {"items": [{"product_id": one.product_id, "controls": dict(one.labels)} for one in page]}
            reply = httpx2.post(f"{url}/v1/reasons", json=body, headers={"X-Deadline-Ms": "60000"}, timeout=90)
            if reply.status_code != 200:
                raise LiyouError(f"{url}/v1/reasons answered {reply.status_code}: {reply.text[:500]}")
            for example, item in zip(page, reply.json()["items"], strict=True):
                found.append(Served.of(example, item))
                console.print(f"  {found[-1].told()}")
    console.print(f"{name}: {sum(one.source == 'model' for one in found)} of {len(found)} reasons by the model")
    return found


class Clock:
    """Seconds of each stage, kept in a file: a run that goes on adds to what it had. A stage that was skipped has none."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
        self._since = time.monotonic()

    def told(self, name: str) -> None:
        """What passed since anything was told goes to `name`."""
        now = time.monotonic()
        self.seconds[name] = round(self.seconds.get(name, 0.0) + now - self._since, 1)
        self._since = now
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.seconds, indent=1))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._since = time.monotonic()
        yield
        self.told(name)


def folder_of(out: Path, *settings: object) -> Path:
    """Below `out`, for these settings alone: what others left there is not found again."""
    return out.resolve() / sha256_bytes(canonical_json(list(settings)))[:12]


def commit() -> str:
    """What ran; a tree with changes says so."""
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    changes = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False).stdout
    return (head or "unknown") + (" with uncommitted changes" if changes.strip() else "")


def machine() -> str:
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    model = next((line.partition(":")[2].strip() for line in about.splitlines() if line.startswith("model name")), "unknown processor")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory_gib:.0f} GiB, Python {python_version()}"


def main() -> None:
    try:
        app()
    except LiyouError as error:
        raise SystemExit(f"first_run: {error.code}: {error}") from error


if __name__ == "__main__":
    main()
