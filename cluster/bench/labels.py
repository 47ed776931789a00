"""`make labels`: how well a generator follows its codes when few reasons have control labels, with pseudo-labels and without.

On the sample shop, by supervised fine-tuning alone. A point is a seed, a share of labels, and whether `liyou data label` filled the rest;
it is kept in `out/labels/runs.json` when it is done, and a run that was stopped goes on after it. Codes that were asked for are read off
the generated texts by an evaluator that learnt from another shop (another seed: other products, users, texts), and by the controls check.
"""

import hashlib
import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from pydantic import Field
from rich.console import Console
from scipy.stats import t as student
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from cluster.bench.first_run import commit, folder_of, machine
from cluster.commands.train import config_path
from common.config import Frozen, load_config
from common.errors import LiyouError
from common.features.rows import ReasonRow
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot, with_reasons
from common.metrics.intervals import Interval, share
from common.packs.load import load_pack
from common.quality.control_check import ControlMeter
from train_app.config import TrainConfig
from train_app.data.examples import Example, examples
from train_app.data.pseudo_labels import LabelReport, PseudoLabelled, pseudo_label, pseudo_labelled
from train_app.data.split import split
from train_app.runtime.setting_up import open_workbench
from train_app.sample_shop.generate import generate_shop
from train_app.stages.parallel import Parallel
from train_app.stages.sft import sft
from train_app.stages.state import State

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(highlight=False, markup=False, soft_wrap=True)
OUT = Path("out/labels")
RESULTS = Path("docs/results")
PACK = load_pack("shop")
BAR_SHARE, BAR = 0.1, 0.9
"""With this share of the labels, and pseudo-labels, at least so much of the accuracy with all labels."""


class Settings(Frozen):
    """A point takes two and a half minutes on one core."""

    users: int = 300
    products: int = 2000
    reasons: int = 6000
    shop_seed: int = 0
    evaluator_shop_seed: int = 1
    shares: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03)
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = Field(200, description="of SFT, with the demo preset's 32 rows a step")
    rows: int = Field(512, description="test rows, one text each")


class Run(Frozen):
    seed: int
    share: float
    pseudo: bool
    labelled: int = Field(description="training rows that kept their labels")
    read: dict[str, Interval] = Field(description="control -> share of texts in which the evaluator reads the code that was asked for")
    all_read: Interval = Field(description="all of a text's codes")
    check: Interval = Field(description="texts that pass the controls check")
    validation_loss: float
    report: LabelReport | None
    right: dict[str, Interval] = Field(description="control -> pseudo-labels that are the labels that were taken away")
    seconds: float
    commit: str

    @property
    def name(self) -> str:
        return f"seed {self.seed}, {self.share:.0%} of the labels{' and pseudo-labels' if self.pseudo else ''}"

    @property
    def accuracy(self) -> float:
        """Mean over the controls."""
        return statistics.fmean(one.value for one in self.read.values())


@app.command()
def labels(
    smoke: Annotated[bool, typer.Option(help="one point of forty steps, into out/labels/smoke.json: shows that it runs")] = False,
    points: Annotated[int | None, typer.Option(min=1, help="stop after so many more; default: all")] = None,
) -> None:
    """Writes docs/results/labels.json and labels.svg after each point; raises LiyouError when the last is done and the bar is missed."""
    settings = Settings(shares=(BAR_SHARE,), seeds=(0,), steps=40, rows=128) if smoke else Settings()
    file = OUT / "runs.json"
    runs = [] if smoke else read_runs(file, settings)
    planned = [
        (seed, kept, pseudo) for seed in settings.seeds for kept in settings.shares for pseudo in (False, True) if pseudo or not smoke
    ]
    planned = [point for point in planned if point[1] < 1 or not point[2]]
    to_do = [point for point in planned if point not in [(run.seed, run.share, run.pseudo) for run in runs]]
    shop, other = (whole_shop(settings, seed) for seed in (settings.shop_seed, settings.evaluator_shop_seed))
    test = split(examples(shop, vocabulary=PACK.vocabulary)).test[: settings.rows]
    evaluators = {control.name: evaluator(control.name, other) for control in PACK.controls.controls}
    ceiling, _, _ = followed(test, [one.text for one in test], evaluators)
    for seed, kept, pseudo in to_do[:points]:
        runs.append(measured(settings, shop, test, evaluators, seed=seed, kept=kept, pseudo=pseudo))
        console.print(f"{runs[-1].name}: {runs[-1].accuracy:.3f}, {runs[-1].seconds:.0f} s")
        told = results(settings, ceiling, runs)
        if smoke:
            (OUT / "smoke.json").write_text(told, encoding="utf-8")
            return
        done = {"settings": settings.model_dump(mode="json"), "runs": [run.model_dump(mode="json") for run in runs]}
        file.write_text(json.dumps(done, ensure_ascii=False), encoding="utf-8")
        (RESULTS / "labels.json").write_text(told, encoding="utf-8")
        (RESULTS / "labels.svg").write_text(drawn(runs, ceiling), encoding="utf-8")
    if len(runs) == len(planned) and (found := ratio(runs)).value < BAR:
        raise LiyouError(f"with {BAR_SHARE:.0%} of the labels and pseudo-labels accuracy is {found} of that with all; the bar is {BAR}")


def read_runs(file: Path, settings: Settings) -> list[Run]:
    """What a stopped run had done; nothing where it had other settings."""
    if not file.is_file():
        return []
    told = json.loads(file.read_text(encoding="utf-8"))
    return [Run.model_validate(run) for run in told["runs"]] if told["settings"] == settings.model_dump(mode="json") else []


def whole_shop(settings: Settings, seed: int) -> Snapshot:
    folder = folder_of(OUT, settings.users, settings.products, settings.reasons) / f"shop-{seed}"
    if not (folder / "snapshot" / "manifest.json").is_file():
        generate_shop(folder / "raw", seed=seed, users=settings.users, products=settings.products, reasons=settings.reasons)
        build_snapshot(folder / "raw", folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def evaluator(control: str, shop: Snapshot) -> Pipeline:
    """Other texts and other features (tf-idf of n-grams of up to four, no length) than the pseudo-labels' classifier."""
    rows = list(shop.reasons())
    vectoriser = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2, sublinear_tf=True)
    pipeline = make_pipeline(vectoriser, LogisticRegression(C=100.0, max_iter=5000))
    return pipeline.fit([row.text for row in rows], [row.labels[control] for row in rows])


def followed(
    asked: Sequence[Example], texts: Sequence[str], evaluators: Mapping[str, Pipeline]
) -> tuple[dict[str, Interval], Interval, Interval]:
    """Control -> texts that show the code asked for, texts that show all, texts that pass the controls check."""
    right = {
        control: [found == one.labels[control] for found, one in zip(pipeline.predict(texts), asked, strict=True)]
        for control, pipeline in evaluators.items()
    }
    meter = ControlMeter(PACK.controls)
    passed = sum(meter.check(text, controls=one.labels).passed for text, one in zip(texts, asked, strict=True))
    whole = sum(map(all, zip(*right.values(), strict=True)))
    return {control: share(sum(rows), len(rows)) for control, rows in right.items()}, share(whole, len(texts)), share(passed, len(texts))


def measured(
    settings: Settings, shop: Snapshot, test: Sequence[Example], evaluators: Mapping[str, Pipeline], *, seed: int, kept: float, pseudo: bool
) -> Run:
    began = time.monotonic()
    folder = OUT / f"point-{seed}-{kept:g}-{'pseudo' if pseudo else 'plain'}"
    rows, labelled = few_labels(shop, kept=kept, seed=seed)
    with_reasons(shop, folder, reasons=rows, notes={"labels_kept": kept})
    report, right = None, {}
    if pseudo:
        few = Snapshot.open(folder)
        rows, report = pseudo_label(few, vocabulary=PACK.vocabulary, seed=seed)
        with_reasons(few, folder, reasons=rows, notes={})
        right = truly(pseudo_labelled(Snapshot.open(folder)), shop)
    overrides = [
        f"data.snapshot={folder}",
        f"out={OUT / 'runs'}",
        f"seed={seed}",
        f"sft.max_steps={settings.steps}",
        f"sft.evaluate_every={settings.steps}",
        "runtime.threads_per_worker=1",
    ]
    config = load_config(config_path("demo"), TrainConfig, overrides)
    bench = open_workbench(config, inputs=hashlib.sha256(f"labels {seed}".encode()).hexdigest(), parallel=Parallel())
    state = sft(State(bench.run), config.sft, lambda progress: None, bench=bench, save=lambda state: None)
    bench.load(state.group("policy"))
    written = bench.write([one.context for one in test], k=1, stage="labels", step=0, decoding=bench.served)
    read, all_read, check = followed(test, [group[0].text for group in written], evaluators)
    return Run(
        seed=seed,
        share=kept,
        pseudo=pseudo,
        labelled=labelled,
        read=read,
        all_read=all_read,
        check=check,
        validation_loss=float(str(state.values["sft_best"])),
        report=report,
        right=right,
        seconds=round(time.monotonic() - began, 1),
        commit=commit(),
    )


def few_labels(shop: Snapshot, *, kept: float, seed: int) -> tuple[list[ReasonRow], int]:
    """All reasons, of which so many keep their labels, by hash, a smaller share within a larger; the test's all do, to be asked for.
    And how many training rows kept theirs."""
    found = examples(shop, vocabulary=PACK.vocabulary)
    splits = split(found)
    test, train = ({one.example_id for one in part} for part in (splits.test, splits.train))
    keeps = [one.example_id in test or unit(f"{seed}/{one.example_id}") < kept for one in found]
    rows = [row if keep else row.model_copy(update={"labels": {}}) for row, keep in zip(shop.reasons(), keeps, strict=True)]
    return rows, sum(keep and one.example_id in train for keep, one in zip(keeps, found, strict=True))


def unit(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:13], 16) / 16**13


def truly(told: Sequence[PseudoLabelled], shop: Snapshot) -> dict[str, Interval]:
    """Control -> pseudo-labels that are what the row said before its labels were taken away; rows of one text and product count as one."""
    labels_of = {(row.product_id, row.text): row.labels for row in shop.reasons()}
    right = Counter(one.control for one in told if labels_of[one.product_id, one.text][one.control] == one.value)
    return {control: share(right[control], number) for control, number in Counter(one.control for one in told).items()}


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean with Student's 95 % interval; of one value without."""
    mean, n = statistics.fmean(values), len(values)
    if n < 2:
        return Interval(value=mean, n=n)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    return Interval(value=mean, low=mean - half, high=mean + half, n=n)


def ratio(runs: Sequence[Run], *, kept: float = BAR_SHARE, pseudo: bool = True) -> Interval:
    """Accuracy against the same seed's with all labels."""
    whole = {run.seed: run.accuracy for run in runs if run.share == 1}
    return over_seeds([run.accuracy / whole[run.seed] for run in runs if (run.share, run.pseudo) == (kept, pseudo) and run.seed in whole])


def results(settings: Settings, ceiling: Mapping[str, Interval], runs: Sequence[Run]) -> str:
    points = sorted({(run.share, run.pseudo) for run in runs}, reverse=True)
    summary = {}
    for kept, pseudo in points:
        chosen = [run for run in runs if (run.share, run.pseudo) == (kept, pseudo)]
        figures = {
            "accuracy": over_seeds([run.accuracy for run in chosen]),
            **{control: over_seeds([run.read[control].value for run in chosen]) for control in chosen[0].read},
            "all_codes": over_seeds([run.all_read.value for run in chosen]),
            "check": over_seeds([run.check.value for run in chosen]),
        }
        if any(run.share == 1 for run in runs):
            figures["of_all_labels"] = ratio(runs, kept=kept, pseudo=pseudo)
        summary[f"{kept:.0%}{' and pseudo-labels' if pseudo else ''}"] = {name: one.model_dump() for name, one in figures.items()}
    told = {
        "command": "make labels",
        "commit": commit(),
        "machine": machine(),
        "settings": settings.model_dump(mode="json"),
        "evaluator_on_real_test_texts": {control: one.model_dump() for control, one in ceiling.items()},
        "bar": {"share": BAR_SHARE, "at_least": BAR, "of": "accuracy with all labels, mean over the controls, with pseudo-labels"},
        "summary": summary,
        "runs": [run.model_dump(mode="json") for run in runs],
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def drawn(runs: Sequence[Run], ceiling: Mapping[str, Interval]) -> str:
    """Accuracy over the share of labels: the mean of the controls, then each; a dot a seed."""
    import io

    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "liyou", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(11, 2.6), layout="constrained")
        panels = ["mean of the controls", *ceiling]
        for panel, axis in zip(panels, figure.subplots(1, len(panels), sharey=True), strict=True):

            def height(run: Run, panel: str = panel) -> float:
                return run.read[panel].value if panel in run.read else run.accuracy

            for pseudo, colour in ((False, "tab:gray"), (True, "tab:blue")):
                chosen = [run for run in runs if run.pseudo == pseudo or run.share == 1]
                shares = sorted({run.share for run in chosen})
                means = [statistics.fmean(height(run) for run in chosen if run.share == kept) for kept in shares]
                axis.plot(shares, means, color=colour, label="with pseudo-labels" if pseudo else "labels alone")
                axis.scatter([run.share for run in chosen], [height(run) for run in chosen], color=colour, s=8)
            top = ceiling[panel].value if panel in ceiling else statistics.fmean(one.value for one in ceiling.values())
            axis.axhline(top, color="black", linewidth=0.6, linestyle=":", label="evaluator on real texts")
            axis.set_xscale("log")
            axis.set_xticks([0.03, 0.1, 0.3, 1.0], ["3 %", "10 %", "30 %", "100 %"])
            axis.set_title(panel)
            axis.grid(alpha=0.3)
        figure.axes[0].set_ylabel("texts that show the asked code")
        figure.axes[0].legend(frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def main() -> None:
    try:
        app()
    except LiyouError as error:
        raise SystemExit(f"labels: {error.code}: {error}") from error


if __name__ == "__main__":
    main()
