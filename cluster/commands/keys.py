"""`liyou keys`: the key that reasons are signed with, and whether a saved answer is what was signed."""

import os
import time
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from common.artifacts.signing import Keyring, generate_private_key, key_id, public_key
from common.contract.vouching import verified
from common.contract.wire import KeysResponse, VerifyRequest
from common.errors import BadInput, SignatureInvalid

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Model = TypeVar("Model", VerifyRequest, KeysResponse)
PRIVATE, PUBLIC = "private.pem", "public.pem"


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
