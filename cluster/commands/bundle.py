"""`liyou bundle`: what is in a registry, whether a bundle is sound, and which one an alias points at. Parses, calls, prints."""

import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from cluster.trusted_keys import TrustedKeys, read_pems
from common.artifacts.registry import Move, Registry
from common.artifacts.storage import is_bucket, open_storage
from common.bundle.admission import admit, read_manifest
from common.bundle.manifest import MANIFEST, BundleManifest, Metric
from common.bundle.promotion import PromotionRules, reasons_against
from common.bundle.published import bundle_folder, fetch_bundle, is_bundle, published_manifest
from common.config import load_config
from common.errors import ArtifactNotFound, CanaryFailed, ConfigError, PromotionRefused

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Bundles in a registry, named by folder, version, alias or the beginning of an id.",
)

DEFAULT_ALIAS = "prod"
LISTED = ("answer.model", "discriminator.auc")
RegistryUri = Annotated[str, typer.Option("--registry", envvar="LIYOU_REGISTRY", help="a folder, file:///PATH or s3://BUCKET/PREFIX")]
Name = Annotated[str, typer.Argument(help="a bundle's folder, or a version, an alias or the beginning of an id in the registry")]
Alias = Annotated[str, typer.Option(help="the name that serving follows")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object on stdout")]
Reason = Annotated[str, typer.Option(help="why; kept in the alias's history")]
By = Annotated[str | None, typer.Option(help="who; default: the user of this machine")]
PackUri = Annotated[str | None, typer.Option("--pack", help="folder or s3:// URI of a pack; its lexicon, knowledge and templates apply")]
Base = Annotated[str | None, typer.Option(help="where the base lies on this machine, when not where the bundle says")]
Expected = Annotated[str | None, typer.Option(help='refuse unless the alias points at this version now; "" for none yet')]
Signed = Annotated[bool, typer.Option("--require-signature", help="refuse a bundle that no trusted key signed")]


@app.command("list")
def list_bundles(registry: RegistryUri = "registry", as_json: Json = False) -> None:
    """All bundles of a registry, oldest first, with the aliases that point at them."""
    store = Registry(open_storage(registry))
    aliases = store.aliases()
    found = sorted(
        (published_manifest(store, version) for version in store.versions() if is_bundle(store, version)),
        key=lambda m: (str(m.origin.created_at or ""), m.bundle_id),
    )
    rows = [_summary(manifest, aliases) for manifest in found]
    if as_json:
        print_json({"registry": store.storage.uri, "aliases": aliases, "bundles": rows})
        return
    print(f"{store.storage.uri}: bundles: {len(rows)}")
    for row, manifest in zip(rows, found, strict=True):
        told = "  ".join(f"{name} {manifest.metrics[name].value:.3f}" for name in LISTED if name in manifest.metrics)
        print(f"{row['bundle_id']}  {' '.join(_of(aliases, manifest)):<12} base {manifest.base.digest[:12]}  {told}".rstrip())


@app.command()
def show(name: Name, registry: RegistryUri = "registry", as_json: Json = False) -> None:
    """What a bundle says about itself. Its id is checked, its files are not: `verify` does that."""
    manifest, aliases = _find(name, registry)
    if as_json:
        print_json({"aliases": _of(aliases, manifest), "manifest": manifest.model_dump(mode="json")})
        return
    answering, decoding, adapter, data = manifest.answering, manifest.answering.decoding, manifest.adapter, manifest.origin.data
    lines = [
        ("bundle", manifest.bundle_id),
        ("aliases", ", ".join(_of(aliases, manifest)) or "none"),
        ("created", str(manifest.origin.created_at or "not said")),
        ("base", f"{manifest.base.source}  {manifest.base.digest[:16]}  {manifest.base.licence}"),
        (
            "adapter",
            f"{adapter.kind} rank {adapter.rank} alpha {adapter.alpha:g} on {', '.join(adapter.targets)}",
        ),
        ("controls", "; ".join(f"{control}: {', '.join(values)}" for control, values in manifest.pack.vocabulary.items())),
        ("prompt", f"v{manifest.prompt_version}"),
        (
            "answers",
            f"best of {answering.k}, {answering.max_attempts} attempts, score >= {answering.threshold:.3f}, T {decoding.temperature:g}",
        ),
        (
            "data",
            f"{data.digest[:16]}  {data.num_examples:,} examples  {', '.join(data.licences)}",
        ),
        ("code", manifest.origin.code_version),
        *((f"  {metric}", _spell(value)) for metric, value in manifest.metrics.items()),
    ]
    width = max(len(label) for label, _ in lines) + 2
    for label, text in lines:
        print(f"{label:<{width}}{text}")


@app.command()
def verify(
    name: Name,
    registry: RegistryUri = "registry",
    base: Base = None,
    pack: PackUri = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or bfloat16; default: as it was trained")] = None,
    trusted_key: TrustedKeys = None,
    require_signature: Signed = False,
    as_json: Json = False,
) -> None:
    """Load a bundle as serving would: id, signature, files, weights, base, canaries. Exit code 1: refused; 2: not there."""
    folder, pems = _folder(name, registry), read_pems(trusted_key)
    if require_signature and not pems:
        raise ConfigError("--require-signature: got no --trusted-key; expected the public key (PEM) of whoever may sign")
    from common.bundle.load import load_bundle

    bundle = load_bundle(folder, dtype=dtype, base=base, policy=pack, trusted_pems=pems, require_signature=require_signature)
    canaries = bundle.canaries
    assert canaries is not None
    if as_json:
        measured = {"from_trained": canaries.from_trained, "from_base": canaries.from_base, "conclusive": canaries.conclusive}
        print_json({"bundle_id": bundle.manifest.bundle_id, "verified": True, "signed_by": bundle.signed_by, "canaries": measured})
        return
    print(f"{bundle.manifest.bundle_id} is sound: {len(bundle.manifest.files)} files, {len(bundle.manifest.canaries)} canaries")
    print(f"  signature: {bundle.signed_by or 'none was checked; nobody vouches for this bundle'}")
    verdict = "tell it from its base" if canaries.conclusive else f"cannot tell it from its base in {dtype or bundle.manifest.canary_dtype}"
    print(f"  canaries: {canaries.from_trained:.5f} nats a token from training, {canaries.from_base:.5f} from the base; they {verdict}")


@app.command()
def promote(
    name: Name,
    reason: Reason,
    registry: RegistryUri = "registry",
    alias: Alias = DEFAULT_ALIAS,
    by: By = None,
    expected: Expected = None,
    rules: Annotated[Path | None, typer.Option(help="YAML: required_metrics, rails, require_signature, least_rows")] = None,
    snapshot: Annotated[
        str | None, typer.Option(help="measure it, and what is live, on the test rows of this snapshot first; else manifests are compared")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="test rows of --snapshot, at most")] = 500,
    base: Base = None,
    pack: PackUri = None,
    trusted_key: TrustedKeys = None,
    canaries: Annotated[bool, typer.Option("--canaries/--no-canaries", help="load the bundle and ask its canaries first")] = True,
    force: Annotated[bool, typer.Option("--force", help="promote in spite of what speaks against it; that is kept in the history")] = False,
    as_json: Json = False,
) -> None:
    """Point an alias at a bundle, unless something speaks against it. A folder is published first."""
    store = Registry(open_storage(registry))
    folder, pems = _folder(name, registry), read_pems(trusted_key)
    chosen = load_config(rules, PromotionRules) if rules else PromotionRules()
    admitted = admit(folder, trusted_pems=pems)
    failure = _canary_failure(folder, base, pack) if canaries else None
    current = store.aliases().get(alias)
    live = published_manifest(store, current) if current else None
    manifest = admitted.manifest
    if snapshot is not None:
        again = _measured_again(manifest, folder, snapshot, rows=rows, base=base, pack=pack)
        manifest = again.model_copy(update={"metrics": {**manifest.metrics, **again.metrics}})  # the rest still counts for the rails
        if current and live is not None:
            theirs = base if live.base.digest == manifest.base.digest else None
            live = _measured_again(live, fetch_bundle(store, current), snapshot, rows=rows, base=theirs, pack=pack)
    against = reasons_against(manifest, live, rules=chosen, canary_failure=failure, signed_by=admitted.signed_by)
    if against and not force:
        listed = "".join(f"\n  - {one}" for one in against)
        raise PromotionRefused(f"{admitted.manifest.bundle_id} stays out of {alias}:{listed}\n--force promotes it all the same")
    judged_against = expected if expected is not None else current or ""  # what it was compared with must still be live
    version = store.publish(folder, version=admitted.manifest.bundle_id)
    told = f"{reason} (forced, in spite of: {'; '.join(against)})"[:2000] if against else reason
    move = store.promote(alias, version, reason=told, by=by or getpass.getuser(), at=datetime.now(UTC), expected=judged_against)
    print_move(move, as_json=as_json)


@app.command()
def rollback(
    reason: Reason,
    registry: RegistryUri = "registry",
    alias: Alias = DEFAULT_ALIAS,
    by: By = None,
    expected: Expected = None,
    as_json: Json = False,
) -> None:
    """Point an alias at what it pointed at before; again, one further back."""
    store = Registry(open_storage(registry))
    print_move(store.rollback(alias, reason=reason, by=by or getpass.getuser(), at=datetime.now(UTC), expected=expected), as_json=as_json)


@app.command()
def diff(one: Name, other: Name, registry: RegistryUri = "registry", as_json: Json = False) -> None:
    """What differs between two bundles: every field of their manifests, and the metrics side by side."""
    left, right = _find(one, registry)[0], _find(other, registry)[0]
    fields = _differences(left, right)
    metrics = {
        name: {"one": left.metrics.get(name), "other": right.metrics.get(name)} for name in dict.fromkeys([*left.metrics, *right.metrics])
    }
    if as_json:
        plain = {name: {side: m.model_dump() if m else None for side, m in sides.items()} for name, sides in metrics.items()}
        print_json({"one": left.bundle_id, "other": right.bundle_id, "fields": fields, "metrics": plain})
        return
    console = Console()
    table = Table("field", left.bundle_id, right.bundle_id)
    for path, (mine, theirs) in fields.items():
        table.add_row(path, _short(mine), _short(theirs))
    for name, sides in metrics.items():
        table.add_row(name, *(_spell(metric) if metric else "not measured" for metric in sides.values()))
    console.print(table if fields or metrics else f"{left.bundle_id}: nothing differs")


def _find(name: str, registry: str) -> tuple[BundleManifest, dict[str, str]]:
    """The manifest, and the registry's aliases where the bundle is in it."""
    if _is_place(name):
        return read_manifest(bundle_folder(name, None))[0], {}
    store = Registry(open_storage(registry))
    return published_manifest(store, name), store.aliases()


def _folder(name: str, registry: str) -> Path:
    return bundle_folder(name, None if _is_place(name) else registry)


def _is_place(name: str) -> bool:
    """Ids and aliases hold no slash or dot, so a word that is not a folder here is one of those. Raises ArtifactNotFound for a path."""
    if is_bucket(name) or (Path(name) / MANIFEST).is_file():
        return True
    if "/" in name or name.startswith("."):
        raise ArtifactNotFound(f"{name}: no {MANIFEST} there, so it is no bundle")
    return False


def _measured_again(
    manifest: BundleManifest, folder: Path, snapshot: str, *, rows: int, base: str | None, pack: str | None
) -> BundleManifest:
    """The manifest with what the bundle is worth on these rows instead of what it was worth on those of its own data."""
    from cluster.commands.evaluate import measured
    from common.bundle.load import load_bundle
    from train_app.evaluation.measures import as_metrics

    found = measured(load_bundle(folder, base=base, verify=False, policy=pack), snapshot, rows=rows)
    origin = manifest.origin.model_copy(update={"data": manifest.origin.data.model_copy(update={"test_digest": None})})
    return manifest.model_copy(update={"metrics": as_metrics(found.measures), "origin": origin})


def _canary_failure(folder: Path, base: str | None, pack: str | None) -> str | None:
    from common.bundle.load import load_bundle

    try:
        report = load_bundle(folder, base=base, policy=pack).canaries
    except CanaryFailed as error:
        return str(error)
    return None if report is None or report.conclusive else "they cannot tell it from its base: the adapter changes next to nothing"


def _summary(manifest: BundleManifest, aliases: Mapping[str, str]) -> dict[str, object]:
    created = manifest.origin.created_at
    return {
        "bundle_id": manifest.bundle_id,
        "aliases": _of(aliases, manifest),
        "created_at": created.isoformat() if created else None,
        "base_digest": manifest.base.digest,
        "base_licence": manifest.base.licence,
        "metrics": {name: metric.model_dump() for name, metric in manifest.metrics.items()},
    }


def _of(aliases: Mapping[str, str], manifest: BundleManifest) -> list[str]:
    return sorted(alias for alias, version in aliases.items() if version == manifest.bundle_id)


def _differences(left: BundleManifest, right: BundleManifest) -> dict[str, tuple[object, object]]:
    """Dotted field -> both values, where they differ; metrics, canaries and the id are left to others."""
    skipped = {"metrics", "canaries", "bundle_id"}
    mine, theirs = (dict(_flat(manifest.model_dump(mode="json", exclude=skipped))) for manifest in (left, right))
    return {path: (mine.get(path), theirs.get(path)) for path in sorted(mine.keys() | theirs.keys()) if mine.get(path) != theirs.get(path)}


def _flat(value: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict) and value:
        return [pair for name, item in value.items() for pair in _flat(item, f"{path}.{name}" if path else str(name))]
    return [(path, value)]


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _spell(metric: Metric) -> str:
    interval = "" if metric.low is None else f" [{metric.low:.4g}, {metric.high:.4g}]"
    return f"{metric.value:.4g}{interval} on {metric.num} rows"


def print_move(move: Move, *, as_json: bool) -> None:
    if as_json:
        print_json(move.model_dump(mode="json"))
    else:
        print(f"{move.alias} -> {move.version} (was {move.previous or 'nothing'}), move {move.number} by {move.by}: {move.reason}")


def print_json(value: object) -> None:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
