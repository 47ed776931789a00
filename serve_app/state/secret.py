"""Secrets from files, long enough to be some."""

from pathlib import Path

from common.errors import ConfigError

LEAST = 32


def read_secret(path: str | Path, *, field: str) -> bytes:
    """Without the white space around it. Raises ConfigError naming field and file, and never the secret."""
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"{field}: {path}: {error.strerror}; `openssl rand -hex 32` makes one") from error
    if len(secret) < LEAST:
        raise ConfigError(f"{field}: {path}: got {len(secret)} bytes; expected {LEAST} or more (`openssl rand -hex 32`)")
    return secret
