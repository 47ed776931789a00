"""`liyou demo`: the whole line on a simulated shop, by what the other commands call; leaves a registry and nothing running."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from cluster.local_server import local_server
from common.errors import LiyouError

if TYPE_CHECKING:
    from common.features.snapshot import Snapshot
    from train_app.runtime.run import TrainResult

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)  # paths and commands stay whole, to be copied
ALIAS = "prod"
NUM_ITEMS = 4
LEAST_AUC = 0.75


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the shop, the snapshot, runs and the registry")] = Path("out/demo"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="where the pages are served for a moment")] = 8000,
    seed: Annotated[int, typer.Option(min=0, help="of the shop and of training")] = 0,
) -> None:
    """A simulated shop, a model trained on it adversarially, its evaluation, promotion, and three pages served over HTTP.

    About ten minutes on two cores, from the starter base. A second call goes on where the first one stopped.
    """
    started = time.monotonic()

    @contextmanager
    def part(title: str) -> Iterator[None]:
        console.rule(f"[bold]{title}[/]", align="left")
        begun = time.monotonic()
        yield
        console.print(f"[dim]{time.monotonic() - begun:.0f} s; {time.monotonic() - started:.0f} s in all[/]")

    out = out.resolve()
    with part("1 A shop: catalogue, people, behaviour, annotated reasons"):
        simulate(out / "shop", seed=seed)
    with part("2 Raw tables become a snapshot"):
        snapshot = build(out / "shop", out / "snapshot")
    with part("3 Training: SFT, discriminator, adversarial rounds, filtering, selection; test is read once"):
        result = train(out, seed=seed)
    with part("4 What came out"):
        tell(result)
    with part("5 Published and promoted"):
        promote(result, out / "registry")
    with part("6 Served: one page of products, three ways"), serving(out, port=port) as url:
        sources = pages(url, snapshot)
    console.rule("[bold]done[/]", align="left")
    console.print(f"report    {result.bundle_path}/report/index.html")
    if short := shortfalls(result, sources):
        raise LiyouError("the line ran to its end, and fell short: " + "; ".join(short))
    console.print(f"serve it  liyou serve --registry file://{out}/registry --bundle {ALIAS} --snapshot {out}/snapshot")


def simulate(folder: Path, *, seed: int) -> None:
    from train_app.sample_shop.generate import generate_shop

    report = generate_shop(folder, seed=seed)
    console.print(
        f"{report.num_products} products, {report.num_users} users, {report.num_events} events, {report.num_reasons} annotated reasons "
        f"({report.kinds['clean']:.0%} clean; the rest has errors, typos or copies, as real ones do)"
    )


def build(source: Path, folder: Path) -> "Snapshot":
    from common.features.snapshot import Snapshot
    from common.features.snapshot_build import build_snapshot

    manifest = build_snapshot(source, folder)
    console.print(f"snapshot {manifest.digest[:16]}, {manifest.num_rejects} rows rejected")
    return Snapshot.open(folder)


def train(out: Path, *, seed: int) -> "TrainResult":
    from cluster.commands.train import config_path, console_progress
    from cluster.session import connect
    from common.config import load_config
    from train_app.config import TrainConfig
    from train_app.runtime.run import fit

    config = load_config(config_path("demo"), TrainConfig, [f"data.snapshot={out}/snapshot", f"out={out}/train", f"seed={seed}"])
    with connect(num_cpus=config.runtime.num_workers + 1, num_threads=config.runtime.threads_per_worker), console_progress() as show:
        return fit(config, show)


def tell(result: "TrainResult") -> None:
    from train_app.evaluation.measures import SELECTION

    console.print(f"bundle {result.bundle_id}; shipped: {result.selected}")
    console.print("adapter after each stage: " + ", ".join(f"{stage} {digest[:8]}" for stage, digest in result.digests.items()))
    table = Table("on test", "value", box=None)
    for name in ("sample.checks", "sample.judge_clean", *SELECTION, "answer.model"):
        if name in result.metrics:
            table.add_row(name, f"{result.metrics[name]:.3f}")
    console.print(table)
    if all(name in result.metrics for name in SELECTION[:3]):
        first, likelihood, discriminator = (f"{result.metrics[name]:.0%}" for name in SELECTION[:3])
        console.print(
            f"Of the texts shown the writer's judge finds nothing wrong with {first} where the first that passes every check is taken, "
            f"with {discriminator} where the discriminator chooses, with {likelihood} where the generator's own likelihood does."
        )
    console.print(
        "auc: judge-broken against judge-clean samples, among those that pass every check; the generator's own likelihood is the control. "
        "The judge decides nothing."
    )


def shortfalls(result: "TrainResult", sources: Sequence[str]) -> list[str]:
    """What the demonstration promises and this run did not show."""
    found, auc = [], result.metrics.get("discriminator.auc", 0.0)
    if auc < LEAST_AUC:
        found.append(f"discriminator.auc is {auc:.3f}, below {LEAST_AUC}")
    if templates := sources.count("template"):
        found.append(f"{templates} of {len(sources)} reasons are templates")
    if len({result.digests.get(stage) for stage in ("sft", "adversarial 1", "filtering 1")}) < 3:
        found.append("a stage left the adapter as it was")
    return found


def promote(result: "TrainResult", folder: Path) -> None:
    from common.artifacts.registry import Registry
    from common.artifacts.storage import open_storage

    registry = Registry(open_storage(folder))
    version = registry.publish(result.bundle_path, version=result.bundle_id)
    if registry.aliases().get(ALIAS) != version:
        registry.promote(ALIAS, version, reason="liyou demo", by="liyou demo", at=datetime.now(UTC))
    console.print(f"{ALIAS} -> {version}")


@contextmanager
def serving(out: Path, *, port: int, config: Path | None = None) -> Iterator[str]:
    """What `out` holds, behind `liyou serve`. Raises Unavailable when it does not come up."""
    words = ["--registry", f"file://{out}/registry", "--bundle", ALIAS, "--snapshot", str(out / "snapshot"), "--port", str(port)]
    words += ["--config", str(config)] if config else []
    with local_server(words, log=out / "serve.log") as ready:
        console.print(f"{ready['bundle_id']} answers at {ready['url']} after {ready['total_s']} s")
        yield str(ready["url"])


def pages(url: str, snapshot: "Snapshot") -> list[str]:
    """The same products for a returning user, concise and detailed, and for a new one; who wrote each reason."""
    user_id, products = page_of(snapshot)
    told = snapshot.behavior(user_id)
    history = ", ".join(f"{kind} {mention.brand or ''}{mention.category}" for kind, mention in told.mentions().items())
    console.print(f"returning user {user_id}: {history}")
    columns = {
        "returning, concise": {"user": {"user_id": user_id}, "controls": {"style": "concise"}},
        "returning, detailed": {"user": {"user_id": user_id}, "controls": {"style": "detailed"}},
        "new user, concise": {"controls": {"style": "concise"}},
    }
    table = Table(show_lines=True)
    for heading in ("product", *columns):
        table.add_column(heading, overflow="fold")
    answers = []
    for asked in columns.values():
        body = {**asked, "items": [{"product_id": product_id} for product_id in products]}
        reply = httpx2.post(f"{url}/v1/reasons", json=body, timeout=60)
        if reply.status_code != 200:
            raise LiyouError(f"{url}/v1/reasons answered {reply.status_code}: {reply.text[:500]}")
        answers.append(reply.json()["items"])
    for row, product_id in enumerate(products):
        product = snapshot.product(product_id)
        assert product is not None
        cells = [f"{items[row]['text']}\n[dim]{items[row]['source']} {items[row]['verdict']['score'] or 0:.2f}[/]" for items in answers]
        price = f"{product.price.amount():f}元" if product.price else ""
        table.add_row(f"{product.title} {price}", *cells)
    console.print(table)
    sources = [item["source"] for items in answers for item in items]
    to_returning = [item for asked, items in zip(columns.values(), answers, strict=True) if "user" in asked for item in items]
    mentioning = sum(any(one["source"].startswith("user.") for one in item["evidence"]) for item in to_returning)
    console.print(f"{mentioning} of the returning user's {len(to_returning)} reasons name what that user did")
    templates = sources.count("template")
    console.print(f"{len(sources) - templates} of {len(sources)} by the model" + (", the rest by templates" if templates else ""))
    return sources


def page_of(snapshot: "Snapshot") -> tuple[str, list[str]]:
    """A user with a rich past, and products of different categories that training never saw."""
    reasons = list(snapshot.reasons())
    known = {reason.user_id for reason in reasons if reason.user_id}
    kinds = {user_id: len(snapshot.behavior(user_id).mentions()) for user_id in sorted(known)}
    user_id = max(kinds, key=lambda one: kinds[one])
    chosen: dict[str, str] = {}
    for reason in reasons:
        product = snapshot.product(reason.product_id)
        if reason.provenance.get("split") == "test" and product and product.category not in chosen:
            chosen[product.category] = product.product_id
    return user_id, list(chosen.values())[:NUM_ITEMS]
