"""`liyou lexicon`: what a policy (lexicon, knowledge, templates) would change, and which one serving follows. Parses, calls, prints."""

import getpass
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.audit import recorded
from cluster.commands.bundle import By, Expected, Json, Reason, RegistryUri, print_json, print_move
from common.artifacts.registry import Registry
from common.artifacts.signing import Signer, public_key
from common.artifacts.storage import is_bucket, open_storage
from common.bundle.published import check_fits
from common.contract.audit import Shown
from common.errors import BadInput, ConfigError, LiyouError, PromotionRefused
from common.packs.load import beneath, load_pack
from common.packs.policy import ALIAS, Change, changes, publish_policy, read_policy
from common.packs.schema import Pack
from common.quality.rehearsal import broken_examples, effects
from serve_app.state.keys import read_key

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="What may not be said, what is known of goods, and templates: checked, then published to all replicas that follow the registry.",
)

Source = Annotated[str, typer.Argument(help="a pack: its folder or a file in it, s3://BUCKET/PREFIX, or a shipped pack's name")]


@app.command()
def check(
    source: Source,
    registry: RegistryUri = "registry",
    texts: Annotated[
        str | None, typer.Option(help="what would become of these: a file with one a line, or the record that audit.to names")
    ] = None,
    category: Annotated[str | None, typer.Option(help="of the goods that --texts speak of; without it, every rule counts")] = None,
    as_json: Json = False,
) -> None:
    """Run every rule's own examples, and tell what would change against what is live. Exit code 2: one line for each thing that is wrong.

    Live is what was published in the registry; where nothing was, the shipped pack that this one extends.
    """
    place = _place(source)
    pack, (version, live) = _checked(place), _live(Registry(open_storage(registry)), place)
    changed = list(changes(live, pack))
    looked_at = list(_texts(texts)) if texts is not None else []
    found = list(effects(dict.fromkeys(looked_at), old=live, new=pack, category=category))
    if as_json:
        told = {"policy_version": pack.policy_version, "live": {"version": version, "policy_version": live.policy_version}}
        lists = {"changes": [one.model_dump() for one in changed], "effects": [one.model_dump() for one in found]}
        print_json(told | {"num_texts": len(looked_at)} | lists)
        return
    rules = len(pack.lexicon.rules)
    print(f"{source}: policy {pack.policy_version}, {rules} rules; all do what their examples say")
    print(f"against {live.policy_version}, {f'live as {version}' if version else 'as it ships'}: {len(changed)} changes")
    for one in changed:
        print(f"  {_told(one)}")
    for effect in found:
        print(f"  {effect.would_be}: {effect.text}  ({'; '.join(effect.findings)})")
    if texts is not None:
        blocked = sum(effect.would_be == "blocked" for effect in found)
        print(f"{len(looked_at)} texts: {blocked} would be blocked, {len(found) - blocked} let through")


@app.command()
def publish(
    source: Source,
    reason: Reason,
    registry: RegistryUri = "registry",
    key: Annotated[str | None, typer.Option(help="private key (PEM) that signs it, as `liyou keys new` makes one")] = None,
    by: By = None,
    expected: Expected = None,
    as_json: Json = False,
) -> None:
    """Check a policy, and make it the one that every replica judges with, within two seconds. Refused: what `check` refuses, and what does
    not fit a bundle that an alias of the registry names."""
    pack, store = _checked(_place(source)), Registry(open_storage(registry))
    check_fits(store, pack)
    version = publish_policy(store, pack, signer=None if key is None else Signer(read_key(key, field="--key", checked_by=public_key)))
    live = store.aliases().get(ALIAS)
    if live == version:
        raise PromotionRefused(f"{source}: policy {pack.policy_version} is live already, as {version}")
    judged_against = expected if expected is not None else live or ""
    move = store.promote(ALIAS, version, reason=reason, by=by or getpass.getuser(), at=datetime.now(UTC), expected=judged_against)
    print_move(move, as_json=as_json)


@app.command()
def rollback(
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="a version that was live before; default: the one before")] = None,
    registry: RegistryUri = "registry",
    by: By = None,
    expected: Expected = None,
    as_json: Json = False,
) -> None:
    """Back to the policy that was live before; again, one further back. `liyou lexicon show` has them all."""
    store, who, at = Registry(open_storage(registry)), by or getpass.getuser(), datetime.now(UTC)
    if to is None:
        move = store.rollback(ALIAS, reason=reason, by=who, at=at, expected=expected)
    else:
        version = store.resolve(to)
        if all(move.version != version for move in store.history(ALIAS)):
            raise BadInput(
                f"--to {to}: was never live here; `liyou lexicon show` has those that were, `liyou lexicon publish` takes new ones"
            )
        move = store.promote(ALIAS, version, reason=reason, by=who, at=at, expected=expected)
    print_move(move, as_json=as_json)


@app.command()
def show(registry: RegistryUri = "registry", as_json: Json = False) -> None:
    """Which policies were live, oldest first, since when, by whom and why; the last one is."""
    store, shop = Registry(open_storage(registry)), load_pack("shop")
    moves = store.history(ALIAS)
    ids = {version: _policy_version(store, version, under=shop) for version in {move.version for move in moves}}
    if as_json:
        rows = [move.model_dump(mode="json") | {"policy_version": ids[move.version]} for move in moves]
        print_json({"registry": store.storage.uri, "moves": rows})
        return
    for move in moves:
        live = "live  " if move is moves[-1] else "      "
        print(f"{live}{move.version}  policy {ids[move.version]}  {move.at:%Y-%m-%d %H:%M} {move.kind} by {move.by}: {move.reason}")
    print(f"{store.storage.uri}: {len(moves)} moves" + ("" if moves else "; what ships is live"))


def _place(source: str) -> str:
    """The folder of a pack of which a file is named."""
    return str(Path(source).parent) if Path(source).is_file() else source


def _checked(source: str) -> Pack:
    """Raises ConfigError, one line for each thing that is wrong."""
    pack = load_pack(source)
    if broken := list(broken_examples(pack)):
        raise ConfigError("\n".join(f"{source}: {one}" for one in broken))
    return pack


def _live(store: Registry, source: str) -> tuple[str | None, Pack]:
    """The version that is live and its policy; None, and what ships, where nothing was published."""
    shipped, version = load_pack(beneath(source)), store.aliases().get(ALIAS)
    return version, shipped if version is None else read_policy(store, version, under=shipped)


def _policy_version(store: Registry, version: str, *, under: Pack) -> str:
    """As it stands in answers."""
    try:
        return read_policy(store, version, under=under).policy_version
    except LiyouError as error:
        return f"unknown, {error.code}"


def _texts(source: str) -> Iterator[str]:
    """Raises BadInput, or NotFound for a record without segments."""
    if is_bucket(source) or Path(source).is_dir():
        yield from (entry.text for entry in recorded(open_storage(source), source, day=None) if isinstance(entry, Shown))
        return
    try:
        yield from filter(None, map(str.strip, Path(source).read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"--texts {source}: cannot be read as text in UTF-8 ({error}); expected a file with one a line, or a record"
        ) from error


def _told(change: Change) -> str:
    place = f"{change.part}.{change.field}" + (f" {change.id}" if change.id else "")
    if change.kind != "changed":
        return f"{change.kind}: {place}" + "".join(f", {level}" for side in (change.was, change.now) if (level := side.get("level")))
    plain = (f"{name} {was} -> {change.now[name]}" if isinstance(was, str) else name for name, was in change.was.items())
    return f"changed: {place}: {', '.join(plain)}"
