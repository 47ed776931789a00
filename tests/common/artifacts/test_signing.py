import pytest

from common.artifacts.signing import Keyring, generate_private_key, key_id, public_key, sign, verify
from common.errors import ConfigError, SignatureInvalid

PRIVATE = generate_private_key()
OTHER = generate_private_key()


def test_a_signature_verifies_with_the_public_key_only_over_the_same_bytes() -> None:
    signature = sign(b"manifest", private_pem=PRIVATE)
    assert signature == sign(b"manifest", private_pem=PRIVATE)
    verify(b"manifest", signature=signature, trusted_pems=[public_key(OTHER), public_key(PRIVATE)])
    with pytest.raises(SignatureInvalid, match="changed after signing"):
        verify(b"manifest ", signature=signature, trusted_pems=[public_key(PRIVATE)])


def test_an_untrusted_key_is_named() -> None:
    signature = sign(b"x", private_pem=OTHER)
    with pytest.raises(SignatureInvalid, match=key_id(public_key(OTHER))):
        verify(b"x", signature=signature, trusted_pems=[public_key(PRIVATE)])


def test_a_claimed_key_id_does_not_help_another_keys_signature() -> None:
    forged = sign(b"x", private_pem=OTHER).model_copy(update={"key_id": key_id(public_key(PRIVATE))})
    with pytest.raises(SignatureInvalid, match="not over these bytes"):
        verify(b"x", signature=forged, trusted_pems=[public_key(PRIVATE)])


@pytest.mark.parametrize("pem", ["", "no key", public_key(PRIVATE)])
def test_a_text_that_is_no_private_key_is_refused_without_being_shown(pem: str) -> None:
    with pytest.raises(ConfigError, match="Ed25519") as caught:
        sign(b"x", private_pem=pem)
    assert not pem or pem not in str(caught.value)


def test_keys_cross_the_wire_as_json_web_keys_and_none_passes_under_anothers_id() -> None:
    ring = Keyring.of_pems([public_key(PRIVATE), public_key(OTHER)])
    first, second = ring.jwks()
    assert (first.kty, first.crv, first.kid) == ("OKP", "Ed25519", key_id(public_key(PRIVATE)))
    Keyring.of_jwks([second, first]).verify(b"x", sign(b"x", private_pem=PRIVATE))
    with pytest.raises(ConfigError, match=f"key {first.kid}: x is the key {second.kid}"):
        Keyring.of_jwks([first.model_copy(update={"x": second.x})])
