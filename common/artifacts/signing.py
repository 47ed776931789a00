"""Ed25519 signatures over bytes, with keys as PEM text. Knows not what is signed, nor where keys are kept."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field

from common.config import Frozen
from common.errors import ConfigError, SignatureInvalid


class Signature(Frozen):
    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str = Field(pattern=r"^[0-9a-f]{16}$", description="first 16 hex digits of the sha256 of the raw public key")
    value: str = Field(pattern=r"^[A-Za-z0-9+/]{85}[AQgw]==$", description="base64 of 64 bytes, in its one spelling")


def generate_private_key() -> str:
    """A new private key (PKCS 8, not encrypted) from the operating system's entropy: who stores it guards it."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_key(private_pem: str) -> str:
    """The public half, as PEM: what verifiers need and anyone may read."""
    key = _private(private_pem).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def key_id(public_pem: str) -> str:
    return _key_id(_public(public_pem))


class Signer:
    """A private key, read once."""

    def __init__(self, private_pem: str) -> None:
        """Raises ConfigError, without the text, for what is no key."""
        self._key = _private(private_pem)
        self.key_id = _key_id(self._key.public_key())

    def sign(self, data: bytes) -> Signature:
        """Deterministic: the same key and bytes give the same signature (RFC 8032)."""
        return Signature(key_id=self.key_id, value=base64.b64encode(self._key.sign(data)).decode())


class PublicJwk(Frozen):
    """A public key as others read it: RFC 8037."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"
    kid: str = Field(pattern=r"^[0-9a-f]{16}$")
    x: str = Field(pattern=r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$", description="the raw key, base64url without padding")


class Keyring:
    """Public keys whose signatures count."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {_key_id(key): key for key in keys}

    @classmethod
    def of_pems(cls, pems: Iterable[str]) -> "Keyring":
        """Raises ConfigError for what is no key."""
        return cls(map(_public, pems))

    @classmethod
    def of_jwks(cls, jwks: Iterable[PublicJwk]) -> "Keyring":
        """Raises ConfigError for what is no key, or stands under another key's id."""
        keys = []
        for jwk in jwks:
            try:
                key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk.x + "="))
            except (ValueError, binascii.Error) as error:
                raise ConfigError(f"key {jwk.kid}: x is no Ed25519 public key; ask for the keys again") from error
            if _key_id(key) != jwk.kid:
                raise ConfigError(f"key {jwk.kid}: x is the key {_key_id(key)}; ask for the keys again")
            keys.append(key)
        return cls(keys)

    def jwks(self) -> tuple[PublicJwk, ...]:
        return tuple(
            PublicJwk(kid=kid, x=base64.urlsafe_b64encode(key.public_bytes_raw()).decode().rstrip("=")) for kid, key in self._keys.items()
        )

    def verify(self, data: bytes, signature: Signature) -> None:
        """Raises SignatureInvalid unless one of these keys made `signature` over exactly `data`."""
        if signature.key_id not in self._keys:
            raise SignatureInvalid(
                f"signed by key {signature.key_id}; trusted are {', '.join(self._keys) or 'none'}. Add its public key or sign again"
            )
        try:
            self._keys[signature.key_id].verify(base64.b64decode(signature.value), data)
        except InvalidSignature as error:
            raise SignatureInvalid(
                f"the signature of key {signature.key_id} is not over these bytes: they were changed after signing"
            ) from error


def sign(data: bytes, *, private_pem: str) -> Signature:
    """Raises ConfigError for what is no private key."""
    return Signer(private_pem).sign(data)


def verify(data: bytes, *, signature: Signature, trusted_pems: Iterable[str]) -> None:
    """Raises SignatureInvalid unless one of the trusted public keys made `signature` over exactly `data`."""
    Keyring.of_pems(trusted_pems).verify(data, signature)


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _private(pem: str) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError("signing key: expected an Ed25519 private key as unencrypted PEM (-----BEGIN PRIVATE KEY-----)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"signing key: expected Ed25519, got {type(key).__name__}")
    return key


def _public(pem: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ConfigError("trusted key: expected an Ed25519 public key as PEM (-----BEGIN PUBLIC KEY-----)") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"trusted key: expected Ed25519, got {type(key).__name__}")
    return key
