"""Signs what is answered and checks what claims to have been: server, client and auditors alike. Reads no clock and no file.

A signature binds product and its revision, text, source, codes, bundle, policy, producer and expiry. The AI label follows from the source:
an item whose label was taken away or changed does not verify.
"""

from dataclasses import dataclass

from common.artifacts.signing import Keyring, Signer
from common.contract.provenance import ReasonSignature, Statement, canonical_bytes, label
from common.contract.takedown import Standing
from common.contract.wire import ItemReason, ReasonsResponse, Verification, VerifyRequest, VerifyResponse
from common.errors import SignatureExpired, SignatureInvalid, TakenDown

MAX_CODES = 16
MAX_TEXT = 1000
"""Characters; nothing longer is signed. Unicode's normalisation takes quadratic time on what somebody made up for it."""
SKEW_S = 300
"""Two machines' clocks may differ by as much before a signature counts as expired."""


@dataclass(frozen=True, slots=True)
class Voucher:
    signer: Signer
    lifetime_s: int

    def sign(self, value: Statement, *, now_s: float) -> ReasonSignature:
        assert len(value.text) <= MAX_TEXT, f"a reason of {len(value.text)} characters"
        expires_at = int(now_s) + self.lifetime_s
        made = self.signer.sign(canonical_bytes(value, expires_at=expires_at))
        return ReasonSignature(key_id=made.key_id, value=made.value, expires_at=expires_at)


def check_item(item: ItemReason, *, bundle_id: str, policy_version: str, keys: Keyring, now_s: float) -> None:
    """Raises SignatureInvalid where one of `keys` did not sign all that is shown, SignatureExpired where it did but for another time."""
    if item.status == "error" and item.text is None:
        return  # it shows nothing
    if item.signature is None:
        raise SignatureInvalid(f"product {item.product_id}: no signature")
    if item.text is None or item.source is None or item.revision is None or item.aigc is None:
        raise SignatureInvalid(f"product {item.product_id}: text, source, revision and aigc are signed together; one is missing")
    if len(item.text) > MAX_TEXT or len(item.controls or {}) > MAX_CODES:
        raise SignatureInvalid(f"product {item.product_id}: longer than anything that is signed")
    stated = Statement(
        product_id=item.product_id,
        revision=item.revision,
        text=item.text,
        source=item.source,
        controls=item.controls or {},
        bundle_id=bundle_id,
        policy_version=policy_version,
        producer=item.aigc.producer,
    )
    if item.aigc != label(stated):
        raise SignatureInvalid(f"product {item.product_id}: aigc is not the label of this text; it was changed after signing")
    keys.verify(canonical_bytes(stated, expires_at=item.signature.expires_at), item.signature)
    if now_s > item.signature.expires_at + SKEW_S:
        raise SignatureExpired(f"product {item.product_id}: the signature is past its expires_at, {item.signature.expires_at}")


def verified(answer: ReasonsResponse | VerifyRequest, *, keys: Keyring, now_s: float, standing: Standing | None = None) -> VerifyResponse:
    """Of every item, in order, whether what it says is what was signed; one that shows nothing says nothing untrue. Which items stand on a
    page, and in which order, is not signed. `standing`: what was taken down since is not valid any more."""
    found: list[Verification] = []
    for item in answer.items:
        try:
            check_item(item, bundle_id=answer.bundle_id, policy_version=answer.policy_version, keys=keys, now_s=now_s)
            if standing and item.text is not None and item.aigc is not None:
                _check_standing(item.product_id, item.text, item.aigc.produce_id, standing)
            found.append(Verification(product_id=item.product_id, valid=True))
        except (SignatureInvalid, SignatureExpired, TakenDown) as error:
            found.append(Verification(product_id=item.product_id, valid=False, code=error.code, message=str(error)))
    return VerifyResponse(items=tuple(found))


def _check_standing(product_id: str, text: str, produce_id: str, standing: Standing) -> None:
    if (number := standing.of_shown(product_id=product_id, text=text, produce_id=produce_id)) is not None:
        raise TakenDown(f"product {product_id}: it was signed, and is not to be shown any more by order {number}")
