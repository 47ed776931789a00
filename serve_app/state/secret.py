"""Secrets from files: what stands in a configuration is shown in many places."""

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


def read_redis(path: str | Path, *, field: str) -> str:
    """The URL, which may hold a password. Raises ConfigError naming field and file, and not the URL."""
    try:
        url = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{field}: {path}: cannot be read; expected a file that holds redis://HOST:PORT/NUMBER") from error
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(f"{field}: {path}: expected it to hold redis://HOST:PORT/NUMBER, or rediss://")
    return url
