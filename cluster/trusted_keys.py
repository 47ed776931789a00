"""The option `--trusted-key` of commands that check signatures, and the files it names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from common.errors import ConfigError

TrustedKeys = Annotated[list[Path] | None, typer.Option("--trusted-key", help="public key (PEM) of a signer; may be repeated")]


def read_pems(paths: Sequence[Path] | None) -> list[str]:
    """Raises ConfigError naming a file that is not there."""
    for path in paths or ():
        if not path.is_file():
            raise ConfigError(f"--trusted-key {path}: no such file; expected a public key as PEM")
    return [path.read_text(encoding="utf-8") for path in paths or ()]
