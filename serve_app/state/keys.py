"""The keys that reasons are signed with and checked by, read from files. Signs nothing itself."""

from collections.abc import Callable
from pathlib import Path

from common.artifacts.signing import Keyring, Signer, key_id, public_key
from common.contract.vouching import Voucher
from common.errors import ConfigError
from serve_app.config import SigningConfig


def read_keys(config: SigningConfig) -> tuple[Voucher | None, Keyring]:
    """Who signs, and whose signatures count: the signer's own key first. Raises ConfigError naming field and file."""
    trusted = [read_key(path, field="signing.trusted", checked_by=key_id) for path in config.trusted]
    if config.key is None:
        return None, Keyring.of_pems(trusted)
    private = read_key(config.key, field="signing.key", checked_by=public_key)
    return Voucher(Signer(private), lifetime_s=config.lifetime_s), Keyring.of_pems([public_key(private), *trusted])


def read_key(path: str, *, field: str, checked_by: Callable[[str], str]) -> str:
    """Its PEM. `checked_by` is `key_id` for a public key, `public_key` for a private one. Raises ConfigError naming field and file."""
    try:
        text = Path(path).read_text(encoding="ascii")
        checked_by(text)
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{field}: {path}: {why}; `liyou keys new` makes such files") from error
    return text
