"""`liyou data`: from a shop's own tables, or a public set, to a snapshot; and what a snapshot knows. Parses, calls, prints."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from common.errors import BadInput, NotFound

if TYPE_CHECKING:
    from common.features.snapshot import SnapshotManifest

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Raw tables: import them, build a snapshot of them, show it, label its reasons, forget a user.",
)

DATASETS = ("kobe", "advertisegen", "amazon-reviews")
Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout, and no progress")]
Map = Annotated[Path | None, typer.Option("--map", help="YAML that says which of the shop's columns and words are ours; see docs/data.md")]
NewSnapshot = Annotated[
    str, typer.Option("--out", help="folder of the snapshot, one that stands there is replaced; or s3://BUCKET/PREFIX to publish it in")
]
NewFolder = Annotated[Path, typer.Option("--out", help="folder to write; new or empty")]


@app.command("import")
def import_data(
    words: Annotated[
        list[str], typer.Argument(metavar="[DATASET] PATH", help=f"DATASET is one of {', '.join(DATASETS)}; PATH is its folder")
    ],
    out: NewFolder,
    mapping: Map = None,
    as_json: Json = False,
) -> None:
    """Raw tables with our columns, from a shop's own (--map FILE PATH) or from a public set (kobe PATH).

    A row that cannot be read goes to rejects.jsonl with its file, its row, the field and what would mend it; the rest is imported.
    What a set does not have (prices, users, ...) stays absent.

    Example: liyou data import --map shop.yaml exports/ --out raw/
    """
    *dataset, path = words
    if len(dataset) > 1 or (dataset and dataset[0] not in DATASETS) or bool(dataset) == (mapping is not None):
        raise BadInput(f"data import: got {' '.join(words)!r}; expected `--map FILE PATH`, or one of {', '.join(DATASETS)} and its folder")
    if mapping is not None:
        from common.features.column_map import load_column_map
        from train_app.data.import_tables import import_tables

        with rows_read(quiet=as_json) as on_progress:
            tables = import_tables(path, out, mapping=load_column_map(mapping), on_progress=on_progress)
        report: dict[str, object] = {"out": str(out), "tables": {name: table.model_dump() for name, table in tables.items()}}
        show_report(report, as_json)
        return
    from train_app.data.public_datasets.advertisegen import import_advertisegen
    from train_app.data.public_datasets.amazon_reviews import import_amazon_reviews
    from train_app.data.public_datasets.kobe import import_kobe

    importers = dict(zip(DATASETS, (import_kobe, import_advertisegen, import_amazon_reviews), strict=True))
    with rows_read(quiet=as_json) as on_progress:
        on_progress(dataset[0], 0)
        imported = importers[dataset[0]](path, out)
    show_report({"out": str(out), **imported.model_dump()}, as_json)


@app.command()
def build(
    source: Annotated[
        Path,
        typer.Argument(help="folder with products.jsonl and, if there are, events, users, reasons, preferences (.jsonl, .csv, .parquet)"),
    ],
    out: NewSnapshot,
    mapping: Map = None,
    as_json: Json = False,
) -> None:
    """A snapshot: what training reads and serving looks up, with a digest that names its content.

    Unknown columns, rejected rows and rows about unknown products are counted here and kept in the snapshot's manifest.json and
    rejects.jsonl. A build that fails leaves the old snapshot as it was. In a bucket every snapshot has a name of its own, printed as `out`.
    """
    from common.features.column_map import load_column_map
    from common.features.snapshot_build import build_snapshot

    with rows_read(quiet=as_json) as on_progress:

        def write(folder: Path) -> "SnapshotManifest":
            return build_snapshot(source, folder, mapping=load_column_map(mapping) if mapping else None, on_progress=on_progress)

        out, manifest = written(out, write)
    tables = {name: table.model_dump(exclude={"digest"}) for name, table in manifest.tables.items() if table.source}
    show_report({"out": out, "digest": manifest.digest, "tables": tables}, as_json)


@app.command()
def label(
    snapshot: Annotated[str, typer.Argument(help="folder or s3:// name that `liyou data build` printed")],
    out: NewSnapshot,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="calibrated probability from which a reading becomes a label; FixMatch has .95")
    ] = 0.9,
    rounds: Annotated[int, typer.Option(min=1, max=10, help="in each the labels of the last one teach the classifier too")] = 3,
    control: Annotated[list[str] | None, typer.Option(help="only this control; may be repeated; default: all of the pack")] = None,
    pack: Annotated[str, typer.Option(help="name of a packaged business domain, or a folder that holds one")] = "shop",
    as_json: Json = False,
) -> None:
    """Pseudo-labels for reasons without control labels, by a classifier that learns from the labelled ones; a new snapshot with both.

    Only rows that train the generator or the discriminator get labels; rows that nothing read confidently stay as they are, and training
    reads them without codes. How often the classifier agrees with people is printed here and kept in the snapshot's notes;
    `liyou data show OUT --pseudo-labels` prints each label with its confidence, its round and the n-grams that weighed most.

    Example: liyou data label snapshot/ --out labelled/
    """
    from common.features.snapshot import Snapshot
    from common.features.snapshot_build import with_reasons
    from common.packs.load import load_pack
    from train_app.data.examples import PSEUDO_LABELS
    from train_app.data.pseudo_labels import pseudo_label

    opened = Snapshot.open(snapshot)
    vocabulary = load_pack(pack).vocabulary
    rows, report = pseudo_label(opened, vocabulary=vocabulary, controls=control or (), confidence=confidence, rounds=rounds)
    told = report.model_dump(mode="json")
    out, manifest = written(out, lambda folder: with_reasons(opened, folder, reasons=rows, notes={PSEUDO_LABELS: told}))
    show_report({"out": out, "digest": manifest.digest, **told}, as_json)


@app.command()
def show(
    snapshot: Annotated[str, typer.Argument(help="folder or s3:// name that `liyou data build` printed")],
    user: Annotated[str | None, typer.Option(help="what a prompt would know of this user")] = None,
    product: Annotated[str | None, typer.Option(help="what a prompt would know of this product")] = None,
    at: Annotated[
        datetime | None, typer.Option(help="with --user: strictly before this moment, in UTC; left out, after all events")
    ] = None,
    pseudo_labels: Annotated[
        bool, typer.Option("--pseudo-labels", help="what `liyou data label` added: a JSON line each, the least sure first")
    ] = False,
    as_json: Json = False,
) -> None:
    """What a snapshot holds: as a whole, of one user, of one product, or its pseudo-labels."""
    from common.features.preferences import estimate, explicit_choices
    from common.features.snapshot import Snapshot

    opened = Snapshot.open(snapshot)
    if pseudo_labels:
        from train_app.data.pseudo_labels import pseudo_labelled

        for one in pseudo_labelled(opened):
            sys.stdout.write(one.model_dump_json() + "\n")
    elif product is not None:
        found = opened.product(product)
        if found is None:
            raise NotFound(f"product {product!r}: not in the snapshot {snapshot}")
        show_report(found.model_dump(mode="json", exclude_none=True), as_json)
    elif user is not None:
        if not opened.knows_user(user):
            raise NotFound(f"user {user!r}: not in the snapshot {snapshot}; reasons for such a user are those for a new one")
        evidence = opened.preferences(user)
        tastes = estimate(evidence, population=opened.population())
        moment = at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
        known: dict[str, object] = {
            "user_id": user,
            "persona": opened.persona(user),
            "behavior": opened.behavior(user, at=moment).model_dump(mode="json", exclude_none=True),
            "explicit": explicit_choices(evidence),
            "estimates": {control: {"value": one.value, "confidence": round(one.confidence, 3)} for control, one in tastes.items()},
        }
        show_report(known, as_json)
    else:
        show_report(opened.manifest.model_dump(mode="json"), as_json)


@app.command()
def forget(
    snapshot: Annotated[Path, typer.Argument(help="folder that `liyou data build` wrote; one in a bucket is built anew without the user")],
    user: Annotated[str, typer.Argument(help="id of the user")],
    as_json: Json = False,
) -> None:
    """Rewrites a snapshot without a user: events, persona, preferences, and the reasons written for that user.

    The raw tables, older copies and bundles trained before are not touched; a deletion request covers those as well. A server that is
    running keeps the old snapshot until it is started again.
    """
    from common.features.snapshot_build import forget as forget_user

    forgotten = forget_user(snapshot, user)
    show_report(
        {
            "removed": forgotten.rows,
            "digest_before": forgotten.digest_before,
            "digest": forgotten.digest_after,
            "raw_tables": "not touched",
            "running_servers": "restart them: they keep the old snapshot",
        },
        as_json,
    )


def written(out: str, write: "Callable[[Path], SnapshotManifest]") -> "tuple[str, SnapshotManifest]":
    """Where the snapshot is that `write` made: in the folder `out`, or published in a bucket."""
    from common.artifacts.registry import Registry
    from common.artifacts.storage import is_bucket, open_storage

    if not is_bucket(out):
        return out, write(Path(out))
    with TemporaryDirectory(prefix="liyou-snapshot-") as temporary:
        folder = Path(temporary) / "snapshot"
        manifest = write(folder)
        return f"{out.rstrip('/')}/{Registry(open_storage(out)).publish(folder)}", manifest


@contextmanager
def rows_read(*, quiet: bool) -> Iterator[Callable[[str, int], None]]:
    """A function that shows a table's rows as they are read, on stderr so that stdout stays the result's."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        tasks = {
            name: progress.add_task(name, total=None, visible=False) for name in ("products", "events", "users", "preferences", "reasons")
        }

        def on_progress(table: str, rows: int) -> None:
            if table not in tasks:
                tasks[table] = progress.add_task(table, total=None)
            progress.update(tasks[table], completed=rows, visible=True)

        yield on_progress


def show_report(report: dict[str, object], as_json: bool) -> None:
    """One JSON object, or a line a fact, nested facts indented."""
    if as_json:
        sys.stdout.write(orjson.dumps(report).decode() + "\n")
        return
    sys.stdout.write("\n".join(_lines(report)) + "\n")


def _lines(facts: dict[str, object], indent: int = 0) -> Iterator[str]:
    width = max((len(str(name)) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield f"{' ' * indent}{name}"
            yield from _lines(value, indent + 2)
        else:
            shown = "none" if value in (None, {}, []) else f"{value:.4g}" if isinstance(value, float) else value
            yield f"{' ' * indent}{name:<{width}}  {shown}"
