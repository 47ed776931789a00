"""Ed25519 signatures over bytes, with keys as PEM text. Knows not what is signed, nor where keys are kept."""

import base64
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
    value: str = Field(pattern=r"^[A-Za-z0-9+/]{86}==$", description="base64 of 64 bytes")


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


def sign(data: bytes, *, private_pem: str) -> Signature:
    """Deterministic: the same key and bytes give the same signature (RFC 8032)."""
    key = _private(private_pem)
    return Signature(key_id=_key_id(key.public_key()), value=base64.b64encode(key.sign(data)).decode())


def verify(data: bytes, *, signature: Signature, trusted_pems: Iterable[str]) -> None:
    """Raises SignatureInvalid unless one of the trusted public keys made `signature` over exactly `data`."""
    trusted = {_key_id(key): key for key in map(_public, trusted_pems)}
    if signature.key_id not in trusted:
        raise SignatureInvalid(
            f"signed by key {signature.key_id}; trusted are {', '.join(trusted) or 'none'}. Add its public key or sign again"
        )
    try:
        trusted[signature.key_id].verify(base64.b64decode(signature.value), data)
    except InvalidSignature as error:
        raise SignatureInvalid(
            f"the signature of key {signature.key_id} is not over these bytes: they were changed after signing"
        ) from error


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
