"""The policy of a pack, lexicon, knowledge, templates and channels, as a version of a registry: published, read back, compared.

It belongs to no bundle: a version is read under the controls and facts of whichever bundle is served.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

import orjson
from pydantic import Field, JsonValue

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.registry import Registry, Version
from common.artifacts.signing import Keyring, Signature, Signer
from common.config import Frozen, parse
from common.errors import BadInput, DigestMismatch, SignatureInvalid
from common.packs.knowledge import Knowledge
from common.packs.lexicon import Lexicon
from common.packs.parts import Part
from common.packs.schema import ChannelPack, Pack, Templates

ALIAS = "policy"
SIGNATURE = "signature.json"
PARTS = ("lexicon", "knowledge", "templates", "channels")
Model = TypeVar("Model", bound=Part)


def publish_policy(store: Registry, pack: Pack, *, signer: Signer | None = None) -> str:
    """Its version; no alias moves. The same policy, signed by the same key or by nobody, is the same version."""
    files = {f"{part}.json": canonical_json(getattr(pack, part)) for part in PARTS}
    if signer is not None:
        files[SIGNATURE] = canonical_json(signer.sign(_signed({name: sha256_bytes(data) for name, data in files.items()})))
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return store.publish(folder)


def read_policy(store: Registry, version: str, *, under: Pack, keys: Keyring | None = None) -> Pack:
    """`under` with the policy of a version in place of its own; whether they fit, `under_policy` says. `keys`: one of them has to have
    signed it; None: nobody has to.

    Raises SignatureInvalid, DigestMismatch, ConfigError for what this build cannot read, BadInput for what is no policy, ArtifactNotFound.
    """
    entry = store.describe(version)
    files = entry.files
    if files.keys() - {SIGNATURE} != {f"{part}.json" for part in PARTS}:
        raise BadInput(f"{version}: holds {', '.join(files)}, so it is no policy; `liyou lexicon publish` makes one")
    if keys is not None:
        if SIGNATURE not in files:
            raise SignatureInvalid(f"policy {version}: not signed, and a signature is required; publish it again with --key")
        signature = parse(_json(store, entry, SIGNATURE), Signature, source=f"{version}/{SIGNATURE}")
        keys.verify(_signed({name: digest for name, digest in files.items() if name != SIGNATURE}), signature)

    def read(part: str, kind: type[Model]) -> Model:
        return parse(_json(store, entry, f"{part}.json"), kind, source=f"{version}/{part}.json")

    return Pack(
        name=under.name,
        controls=under.controls,
        facts=under.facts,
        lexicon=read("lexicon", Lexicon),
        knowledge=read("knowledge", Knowledge),
        templates=read("templates", Templates),
        channels=read("channels", ChannelPack),
        traits=under.traits,
    )


def _signed(files: Mapping[str, str]) -> bytes:
    return canonical_json({"policy": files})


def _json(store: Registry, entry: Version, name: str) -> object:
    try:
        return orjson.loads(store.read_of(entry, name))
    except orjson.JSONDecodeError as error:
        raise DigestMismatch(f"{entry.version}/{name}: not JSON: {error}") from error


class Change(Frozen):
    """One entry of a policy, or one of its fields, that is not as it was."""

    part: str
    field: str
    id: str | None
    """None: of the field itself"""
    kind: Literal["added", "removed", "changed"]
    was: dict[str, JsonValue] = Field(default_factory=dict, description="of what changed: the fields that differ")
    now: dict[str, JsonValue] = Field(default_factory=dict)


def changes(old: Pack, new: Pack) -> Iterator[Change]:
    """What stands in one policy otherwise than in another, entry by entry where entries have ids; only their order does not count."""
    for part in PARTS:
        was, now = (getattr(pack, part).model_dump(mode="json") for pack in (old, new))
        for field in was:
            before, after = _by_id(was[field]), _by_id(now[field])
            if before is None or after is None:
                if was[field] != now[field]:
                    yield Change(part=part, field=field, id=None, kind="changed", was={field: was[field]}, now={field: now[field]})
                continue
            for name in dict.fromkeys([*before, *after]):
                mine, theirs = before.get(name), after.get(name)
                if mine is None or theirs is None:
                    yield Change(
                        part=part, field=field, id=name, kind="added" if mine is None else "removed", was=mine or {}, now=theirs or {}
                    )
                elif differing := [key for key in mine if mine[key] != theirs[key]]:
                    sides = ({key: side[key] for key in differing} for side in (mine, theirs))
                    yield Change(part=part, field=field, id=name, kind="changed", was=next(sides), now=next(sides))


def _by_id(entries: object) -> dict[str, dict[str, JsonValue]] | None:
    """None for what is no list of entries with ids."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and "id" in entry for entry in entries):
        return None
    return {entry["id"]: entry for entry in entries}
