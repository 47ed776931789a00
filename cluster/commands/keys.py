"""`liyou keys`: keys of callers (issue, list, revoke), the key that reasons are signed with (new), and what it signed (verify)."""

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from pydantic import ValidationError

from common.artifacts.signing import Keyring, generate_private_key, key_id, public_key
from common.config import load_config, parse
from common.contract.vouching import verified
from common.contract.wire import KeysResponse, VerifyRequest
from common.errors import BadInput, NotFound, SignatureInvalid
from serve_app.state.api_keys import SCOPES, ApiKey, KeyFile, digest, new_key

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Model = TypeVar("Model", VerifyRequest, KeysResponse)
File = Annotated[Path, typer.Option(help="file of API keys, as doors.keys of what is served; JSON, with digests only")]
PRIVATE, PUBLIC = "private.pem", "public.pem"


@app.command()
def issue(
    name: Annotated[str, typer.Argument(help="of the key: it stands in logs, in counters and in `list`")],
    file: File,
    tenant: Annotated[str, typer.Option(help="whose it is")],
    scope: Annotated[list[str] | None, typer.Option(help=f"may be repeated; default: all, {', '.join(SCOPES)}")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="until it expires; without it, never")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="answers are templates, the same each time, for a storefront's tests")] = False,
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    items_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    items_per_day: Annotated[int | None, typer.Option(min=1)] = None,
) -> None:
    """Make an API key, print it once, and keep its digest in FILE, which servers read again within a second.

    To rotate a key: issue another, let its caller change over, revoke the first.
    """
    made = new_key()
    limits = {"requests_per_minute": requests_per_minute, "items_per_minute": items_per_minute, "items_per_day": items_per_day}
    fields = {
        "name": name,
        "tenant": tenant,
        "sha256": digest(made),
        "scopes": scope or SCOPES,
        "expires": datetime.now(UTC) + timedelta(days=days) if days else None,
        "sandbox": sandbox,
        "limits": limits,
    }
    known = load_config(file, KeyFile).keys if file.exists() else ()
    _keep(file, parse({"keys": [*known, parse(fields, ApiKey, source="liyou keys issue")]}, KeyFile, source=str(file)))
    print(made)
    typer.echo(f"key {name} of {tenant} is in {file}; it is shown this once: Authorization: Bearer KEY", err=True)


@app.command("list")
def list_keys(file: File) -> None:
    """The keys of a file, a JSON line each, without what could be used."""
    for key in load_config(file, KeyFile).keys:
        told = key.model_dump(mode="json", exclude={"sha256"}) | {"expired": key.expires is not None and key.expires <= datetime.now(UTC)}
        print(orjson.dumps(told).decode())


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="of the key")], file: File) -> None:
    """Take a key out of FILE; servers refuse it within a second of reading that."""
    known = load_config(file, KeyFile).keys
    left = tuple(key for key in known if key.name != name)
    if len(left) == len(known):
        raise NotFound(f"{file}: no key is named {name!r}; there are {', '.join(key.name for key in known) or 'none'}")
    _keep(file, KeyFile(keys=left))
    print(f"revoked {name}; {len(left)} keys left")


def _keep(file: Path, keys: KeyFile) -> None:
    """In one move: a server that looks meanwhile reads the old file or the new one."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(orjson.dumps(keys.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
    if file.exists():
        shutil.copystat(file, beside)
        beside.touch()
    beside.replace(file)


@app.command()
def new(folder: Annotated[Path, typer.Argument(help="is made; a key that lies there is not overwritten")]) -> None:
    """Make a key pair: private.pem signs (`signing.key` of what is served), public.pem is given away."""
    private = generate_private_key()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with open(os.open(folder / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(private)
    except FileExistsError as error:
        raise BadInput(f"{folder / PRIVATE}: there is a key already; name another folder, a lost key cannot be made again") from error
    (folder / PUBLIC).write_text(public_key(private), encoding="ascii")
    print(f"key {key_id(public_key(private))}: {folder / PRIVATE} (guard it), {folder / PUBLIC}")


@app.command()
def verify(
    answer: Annotated[Path, typer.Argument(help="JSON as POST /v1/reasons answered it")],
    keys: Annotated[Path, typer.Option(help="JSON as GET /v1/keys answered it, or a public key (PEM)")],
) -> None:
    """Check a saved answer item by item, offline. Exit code 1: some item is not what was signed, or was for another time."""
    asked, ring = _read(answer, VerifyRequest, "an answer of POST /v1/reasons"), _keyring(keys)
    found = verified(asked, keys=ring, now_s=time.time()).items
    for number, one in enumerate(found):
        print(f"{number}  {one.product_id}  {'valid' if one.valid else f'{one.code}: {one.message}'}")
    if wrong := [one for one in found if not one.valid]:
        raise SignatureInvalid(f"{len(wrong)} of {len(found)} items are not what was signed")


def _keyring(path: Path) -> Keyring:
    text = _text(path)
    if text.startswith("-----BEGIN"):
        return Keyring.of_pems([text])
    return Keyring.of_jwks(_read(path, KeysResponse, "an answer of GET /v1/keys").keys)


def _read(path: Path, kind: type[Model], what: str) -> Model:
    try:
        return kind.model_validate_json(_text(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"{path}: expected {what}; {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from error
