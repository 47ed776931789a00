"""What was shown, to whom and why, as lines that hang together: a line that is changed, taken out or put in is found out.

A chain is what one server wrote since it was started. Its lines are numbered, and each one's hash covers the one before; they are kept in
segments, whose last line states the segment's last hash and, with a key, signs it: without a signature whoever can write all segments can
write all hashes anew. What stands behind the last segment is not missed by anybody. Knows neither clock nor storage.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import orjson
from pydantic import AwareDatetime, Field, ValidationError

from common.artifacts.digest import canonical_json, sha256_bytes
from common.artifacts.signing import Keyring, Signature, Signer
from common.config import Frozen
from common.contract.wire import ReasonsResponse
from common.domain.reason import Source
from common.errors import SignatureInvalid, Tampered

BEFORE_ALL = "0" * 64
Hash = str


class Shown(Frozen):
    """One text that was answered. `user` is a pseudonym."""

    kind: Literal["shown"] = "shown"
    at: AwareDatetime
    request_id: str
    tenant: str | None
    user: str | None
    channel: str | None
    product_id: str
    revision: str
    text: str
    source: Source
    controls: dict[str, str]
    bundle_id: str
    policy_version: str
    produce_id: str
    score: float | None
    checks_failed: tuple[str, ...]
    degraded: str | None


class Lost(Frozen):
    """Here texts were shown that nobody can name any more: storage could not be reached for too long."""

    kind: Literal["lost"] = "lost"
    at: AwareDatetime
    count: int = Field(ge=1)


Entry = Shown | Lost


class Line(Frozen):
    n: int = Field(ge=0)
    hash: Hash
    entry: Entry = Field(discriminator="kind")


class End(Frozen):
    """The last line of a segment."""

    chain: str
    segment: int = Field(ge=0)
    before: Hash = Field(description="hash of the line before the segment's first")
    last: int
    head: Hash = Field(description="hash of the line numbered `last`")
    signature: Signature | None = None

    def signed_bytes(self) -> bytes:
        return canonical_json({"audit": self.model_dump(mode="json", exclude={"signature"})})


Told = TypeVar("Told", Line, End)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chain stands."""

    chain: str
    segment: int = 0
    n: int = 0
    head: Hash = BEFORE_ALL


def pseudonym(user_id: str, *, tenant: str | None, secret: bytes) -> str:
    """HMAC-SHA256, 32 hex digits: who holds the secret finds a user's lines, nobody else. Two tenants' users of one id are two people."""
    return hmac.new(secret, orjson.dumps([tenant, user_id]), hashlib.sha256).hexdigest()[:32]


def shown(answer: ReasonsResponse, *, at: AwareDatetime, tenant: str | None, user: str | None, channel: str | None) -> list[Shown]:
    """Of every item that shows a text. `user` is a pseudonym already."""
    found = []
    for item in answer.items:
        if item.text is None:
            continue
        assert item.source is not None
        assert item.aigc is not None
        assert item.verdict is not None
        found.append(
            Shown(
                at=at,
                request_id=answer.request_id,
                tenant=tenant,
                user=user,
                channel=channel,
                product_id=item.product_id,
                revision=item.revision or "",
                text=item.text,
                source=item.source,
                controls=item.controls or {},
                bundle_id=answer.bundle_id,
                policy_version=answer.policy_version,
                produce_id=item.aigc.produce_id,
                score=item.verdict.score,
                checks_failed=tuple(name for name, check in item.verdict.checks.items() if not check.passed),
                degraded=item.degraded,
            )
        )
    return found


def segment(entries: Sequence[Entry], place: Place, *, signer: Signer | None) -> tuple[bytes, Place]:
    """The entries as lines behind `place`, ended; and where the chain stands then."""
    assert entries, "a segment says something"
    lines, head = [], place.head
    for n, entry in enumerate(entries, start=place.n):
        head = _hash(head, n, entry)
        lines.append(Line(n=n, hash=head, entry=entry).model_dump_json())
    end = End(chain=place.chain, segment=place.segment, before=place.head, last=place.n + len(entries) - 1, head=head)
    if signer is not None:
        end = end.model_copy(update={"signature": signer.sign(end.signed_bytes())})
    data = "\n".join([*lines, end.model_dump_json()]).encode() + b"\n"
    return data, Place(place.chain, place.segment + 1, end.last + 1, head)


def read_segment(data: bytes, *, place: Place | None, keys: Keyring | None) -> tuple[list[Entry], Place]:
    """What a segment says, and where the chain stands behind it. `place`: where it should go on; None for the first that is left.

    Raises Tampered, naming the line, where it does not hang together, or where one of `keys` did not sign it.
    """
    *lines, last = data.decode(errors="replace").removesuffix("\n").split("\n")
    end = _parsed(End, last, "the last line")
    if place is None:
        place = Place(end.chain, end.segment, end.last + 1 - len(lines), end.before) if end.segment else Place(end.chain)
    if (end.chain, end.segment, end.before) != (place.chain, place.segment, place.head):
        raise Tampered(f"segment {end.segment} of {end.chain} does not go on from segment {place.segment - 1} of {place.chain}")
    head, entries = place.head, []
    for n, told in enumerate(lines, start=place.n):
        line = _parsed(Line, told, f"line {n}")
        head = _hash(head, n, line.entry)
        if (line.n, line.hash) != (n, head):
            raise Tampered(f"line {n}: it, or one before it, was changed, taken out or put in")
        entries.append(line.entry)
    if (end.last, end.head) != (place.n + len(lines) - 1, head):
        raise Tampered(f"the segment ends with line {place.n + len(lines) - 1}; its last line says {end.last}, or states another hash")
    if keys is not None:
        if end.signature is None:
            raise Tampered("the segment is not signed")
        try:
            keys.verify(end.signed_bytes(), end.signature)
        except SignatureInvalid as error:
            raise Tampered(f"the segment's signature: {error}") from error
    return entries, Place(end.chain, end.segment + 1, end.last + 1, head)


def _parsed(kind: type[Told], text: str, where: str) -> Told:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise Tampered(f"{where}: no server writes such: {error.errors(include_url=False, include_input=False)[0]['msg']}") from error


def _hash(before: Hash, n: int, entry: Entry) -> Hash:
    return sha256_bytes(canonical_json({"n": n, "before": before, "entry": entry.model_dump(mode="json")}))
