"""`liyou train CONFIG`: one run with its progress on the console; the last line says where the bundle is."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from cluster.session import connect
from common.config import Model, load_config, merge, parse, read_yaml, with_overrides
from common.errors import ConfigError

if TYPE_CHECKING:
    from train_app.config import TrainConfig
    from train_app.stages.state import OnProgress, Progress

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
SHOWN = ("loss", "validation_loss", "auc_fake", "auc_perturbed", "reward_realism", "checks_passed", "kl", "kept_share")
PRESETS = Path(__file__).resolve().parents[2] / "train_app" / "configs"


def presets() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


@app.command()
def train(
    config: Annotated[str, typer.Argument(help=f"a YAML file, or the name of a preset: {', '.join(presets())}")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, for example sft.learning_rate=1e-3 out=/tmp/run")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout, progress as JSON lines on stderr")] = False,
    address: Annotated[str | None, typer.Option(help="of a running Ray cluster; left out, one is started on this machine")] = None,
    from_bundle: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="BUNDLE", help="go on from its adapter: a folder, or s3://BUCKET/REGISTRY/VERSION (docs/training.md)"
        ),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="start nothing: memory, steps and hours, from a few steps on this machine")] = False,
    rate: Annotated[
        str | None, typer.Option(help="with --plan, instead of measuring: trained=N,read=N,written=N,fitted=N, texts a second each")
    ] = None,
) -> None:
    """Train a bundle. The same configuration on the same data resumes where it stopped."""
    from train_app.config import TrainConfig

    going_on = [] if from_bundle is None else [f"continued.bundle={from_bundle}"]
    chosen = load_config(config_path(config), TrainConfig, [*going_on, *(overrides or [])])
    if rate is not None and not plan:
        raise ConfigError("--rate: it says how fast a plan is worked off; add --plan")
    if plan:
        show_plan(chosen, rate=rate, as_json=as_json)
        return
    from train_app.runtime.run import fit

    if address is None:
        refuse_early(chosen)
    workers = chosen.runtime.num_workers
    with connect(num_cpus=None if address else workers + 1, address=address, num_threads=chosen.runtime.threads_per_worker):
        if as_json:
            result = fit(chosen, lambda progress: print(progress.model_dump_json(), file=sys.stderr, flush=True))
            print(orjson.dumps(result.model_dump(mode="json")).decode())
            return
        with console_progress() as show:
            result = fit(chosen, show)
    print(f"selected   {result.selected}   " + "  ".join(f"{name} {share:.3f}" for name, share in result.selection.items()))
    print(f"bundle     {result.bundle_id}")
    print(f"at         {result.bundle_path}")
    print(f"progress   {result.run_path} (metrics.jsonl, tensorboard)")


def show_plan(config: "TrainConfig", *, rate: str | None, as_json: bool) -> None:
    """A line a stage, then memory: what `estimate` found."""
    from train_app.runtime.estimate import estimate, stated_rates

    found = estimate(config, rates=None if rate is None else stated_rates(rate))
    if as_json:
        told = {"hours": found.hours, "steps": found.steps, "memory_bytes": found.memory.total}
        print(orjson.dumps(found.model_dump(mode="json") | told).decode())
        return
    print(
        f"trains     {found.parameters:,} parameters, and {found.discriminator_parameters:,} of the discriminator, on {found.rows:,} rows"
    )
    speed = ", ".join(f"{name} {value:.3g}" for name, value in found.rates.model_dump().items())
    print(f"rates      {speed} a second and worker ({found.rates_from}); {found.workers} worker(s)\n")
    print(f"{'stage':36}{'steps':>10}{'hours':>10}")
    for stage in found.stages:
        print(f"{stage.name:36}{stage.steps:>10,}{stage.hours:>10.3f}")
    print(f"{'at most':36}{found.steps:>10,}{found.hours:>10.3f}\n")
    print(f"{'memory of a worker':36}{'MiB':>10}")
    for part, num_bytes in {**found.memory.model_dump(), "together": found.memory.total}.items():
        print(f"{part.replace('_', ' '):36}{num_bytes / (1 << 20):>10.1f}")


def refuse_early(config: "TrainConfig") -> None:
    """What is wrong with the data is told before a cluster is started. Raises as a run would."""
    from common.packs.load import load_pack
    from train_app.runtime.continuing import admitted
    from train_app.runtime.setting_up import read_splits
    from train_app.runtime.trackers import refuse_missing

    refuse_missing(config.runtime.tracking)
    if config.continued.bundle is not None:
        admitted(config)
    read_splits(config, vocabulary=load_pack(config.data.pack).vocabulary)


def config_path(name: str, *, presets: Path = PRESETS) -> Path:
    """A file as it is named, or the preset of that name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    known = sorted(one.stem for one in presets.glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"config: got {name!r}; expected a YAML file or one of {', '.join(known)}")
    return presets / f"{name}.yaml"


def read_with_training(name: str, model: type[Model], overrides: Sequence[str], *, presets: Path) -> Model:
    """A study: a file or preset whose `train` may name a training's preset or file, with `overrides` in the file changing fields of it.
    With `like` all that the file does not name is another study's."""
    path = config_path(name, presets=presets)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, got {type(content).__name__}")
    changes = content.pop("overrides", {})
    if "like" in content:
        other = read_yaml(config_path(str(content.pop("like")), presets=presets))
        if not isinstance(other, dict) or "like" in other or "overrides" in other:
            raise ConfigError(f"{path}: like: expected a study that stands by itself, without like and overrides")
        content = other | content
    if isinstance(content.get("train"), str):
        content["train"] = read_yaml(config_path(content["train"]))
    if changes:
        content["train"] = merge(content.get("train"), changes, source=f"{path}: overrides")
    return parse(with_overrides(content, overrides), model, source=str(path))


@contextmanager
def console_progress() -> "Iterator[OnProgress]":
    """A bar for each stage on stderr, with the figures that matter; notes stand above the bars."""
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[told]}"),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True)) as bars:

        def show(progress: "Progress") -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, told="")
            told = "  ".join(f"{name} {progress.metrics[name]:.3f}" for name in SHOWN if name in progress.metrics)
            task = tasks[progress.stage]
            bars.update(task, completed=progress.step, total=progress.total)
            if told:
                bars.update(task, told=told)
            if progress.note:
                bars.console.print(f"{progress.stage}: {progress.note}", highlight=False, markup=False)

        yield show
