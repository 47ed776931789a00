"""The keys of reasons come from files, and a file that holds none is named."""

from pathlib import Path

import pytest

from common.artifacts.signing import generate_private_key, key_id, public_key
from common.errors import ConfigError
from serve_app.config import SigningConfig
from serve_app.state.keys import read_keys


def kept(path: Path, text: str) -> str:
    path.write_text(text, encoding="ascii")
    return str(path)


def test_the_key_that_signs_is_published_first_and_those_before_it_stay(tmp_path: Path) -> None:
    private, before = generate_private_key(), public_key(generate_private_key())
    config = SigningConfig(key=kept(tmp_path / "k", private), trusted=(kept(tmp_path / "old", before),), lifetime_s=60)
    voucher, keys = read_keys(config)
    assert voucher is not None
    assert (voucher.signer.key_id, voucher.lifetime_s) == (key_id(public_key(private)), 60)
    assert [key.kid for key in keys.jwks()] == [key_id(public_key(private)), key_id(before)]


def test_without_a_key_nothing_is_signed_but_what_was_is_still_checked(tmp_path: Path) -> None:
    before = public_key(generate_private_key())
    voucher, keys = read_keys(SigningConfig(trusted=(kept(tmp_path / "old", before),)))
    assert (voucher, [key.kid for key in keys.jwks()]) == (None, [key_id(before)])


@pytest.mark.parametrize("field", ["key", "trusted"])
@pytest.mark.parametrize("text", [None, "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_without_a_key_is_named_with_its_field(tmp_path: Path, field: str, text: str | None) -> None:
    path = str(tmp_path / "absent") if text is None else kept(tmp_path / "wrong", text)
    with pytest.raises(ConfigError, match=f"signing.{field}: {path}: "):
        read_keys(SigningConfig(key=path) if field == "key" else SigningConfig(trusted=(path,)))
