"""`liyou evaluate BUNDLE`: what a bundle is worth on the products of a snapshot that training never saw."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from common.errors import BadInput

if TYPE_CHECKING:
    from common.bundle.load import LoadedBundle
    from train_app.data.split import Splits
    from train_app.evaluation.evaluate import Evaluation
    from train_app.evaluation.robustness import Robustness

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def evaluate(
    bundle: Annotated[str, typer.Argument(help="folder or s3:// name of a bundle, or a version or alias of --registry")],
    snapshot: Annotated[str, typer.Option(help="folder or s3:// name that `liyou data build` printed; its test rows are read")],
    registry: Annotated[str | None, typer.Option(help="URI of a registry: a folder, file:///PATH or s3://BUCKET/PREFIX")] = None,
    base: Annotated[str | None, typer.Option(help="where the base lies on this machine, when not where the bundle says")] = None,
    pack: Annotated[str | None, typer.Option(help="folder or s3:// URI of a pack; its lexicon, knowledge and templates apply")] = None,
    rows: Annotated[int, typer.Option(min=1, help="test rows, at most")] = 500,
    k: Annotated[int | None, typer.Option(min=1, max=64, help="candidates a request; default: as the bundle is served")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16; default: as it was trained")] = None,
    truth: Annotated[str | None, typer.Option(help="sample_shop: the writer's judge is asked about every text; it decides nothing")] = None,
    attacks: Annotated[
        bool, typer.Option(help="also tamper with samples, and measure what that gains before verdict and discriminator")
    ] = False,
    changes: Annotated[
        int,
        typer.Option(min=0, help="also ask again for this many requests with another user, and with another gender, age, …: what changes"),
    ] = 0,
    report: Annotated[Path | None, typer.Option(help="write an HTML report to this file")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the whole evaluation as one JSON object on stdout")] = False,
) -> None:
    """Measure a bundle as it would be served: the same candidates, verdicts and acceptance, with all the time it wants."""
    from common.bundle.load import load_bundle
    from common.bundle.published import bundle_folder
    from train_app.evaluation.report.render import render

    if truth not in (None, "sample_shop"):
        raise BadInput(f"--truth: got {truth!r}; the only ground truth there is, is sample_shop")
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)  # before minutes of work
    loaded = load_bundle(bundle_folder(bundle, registry), dtype=dtype, base=base, policy=pack)
    found = measured(loaded, snapshot, rows=rows, k=k, truth=truth is not None, changes=changes, quiet=as_json)
    bundle_id = loaded.manifest.bundle_id
    if report:
        report.write_text(render([], title=f"Evaluation of {bundle_id}", facts={"bundle": bundle_id}, evaluation=found), encoding="utf-8")
    resisted = attacked(loaded, snapshot, rows=rows) if attacks else None
    if as_json:
        told = {"robustness": resisted.model_dump(mode="json")} if resisted else {}
        print(orjson.dumps({"bundle_id": bundle_id, **found.model_dump(mode="json"), **told}).decode())
        return
    table = Table("measure", "value [95 % interval]", "n", title=f"{bundle_id} on {found.num_requests} requests, {found.k} candidates")
    for name, value in found.measures.items():
        table.add_row(name, str(value), str(value.n))
    Console().print(table)
    if resisted:
        Console().print(table_of(resisted))


def attacked(loaded: "LoadedBundle", snapshot: str, *, rows: int) -> "Robustness":
    """What tampering gains on samples for a snapshot's test rows."""
    from train_app.evaluation.robustness import robustness
    from train_app.evaluation.subject import subject_of_bundle

    test = read(loaded, snapshot).test[:rows]
    return robustness(subject_of_bundle(loaded, [example.context for example in test], k=1), test)


def table_of(resisted: "Robustness") -> Table:
    title = f"gain of acceptance by tampering with {resisted.num_samples} samples; served {resisted.served}, alone {resisted.discriminator}"
    table = Table("attack", "served", "discriminator alone", "at its median", title=title)
    for name, gain in resisted.gains.items():
        table.add_row(name, *(str(one) for one in (gain.served, gain.discriminator, gain.at_median)))
    return table


def measured(
    loaded: "LoadedBundle",
    snapshot: str,
    *,
    rows: int,
    k: int | None = None,
    truth: bool = False,
    changes: int = 0,
    quiet: bool = False,
) -> "Evaluation":
    """A bundle on a snapshot's test rows, with a bar on stderr."""
    from train_app.evaluation.changes import all_changes, changed
    from train_app.evaluation.evaluate import evaluate as measure
    from train_app.evaluation.readers import fit_readers
    from train_app.evaluation.subject import subject_of_bundle
    from train_app.evaluation.truth import truth_of

    splits = read(loaded, snapshot)
    test = splits.test[:rows]
    contexts = [example.context for example in test]
    if changes:
        contexts += changed(test, traits=loaded.pack.traits, num=changes)
    subject = subject_of_bundle(loaded, contexts, k=k)
    readers = fit_readers(splits, vocabulary=loaded.pack.vocabulary)
    with Progress(console=Console(stderr=True), disable=quiet) as bars:
        task = bars.add_task(loaded.manifest.bundle_id, total=len(test))
        found = measure(
            subject,
            test,
            truth=truth_of("sample_shop" if truth else None),
            readers=readers,
            on_done=lambda done, total: bars.update(task, completed=done, total=total),
        )
    if changes:
        found = found.with_measures(all_changes(subject, test, num=changes, readers=readers))
    return found


def read(loaded: "LoadedBundle", snapshot: str) -> "Splits":
    from common.features.snapshot import Snapshot
    from train_app.data.examples import examples
    from train_app.data.split import split

    splits = split(examples(Snapshot.open(snapshot), vocabulary=loaded.pack.vocabulary))
    if not splits.test:
        raise BadInput(f"{snapshot}: no annotated reason falls into the test split; import more products with reasons")
    return splits
