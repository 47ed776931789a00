"""A recommendation reason and what is known about it: what it claims, what it rests on, and whether it may be shown."""

from typing import Literal

from pydantic import Field

from common.config import Frozen

Span = tuple[int, int]
"""[start, end) in characters of the text as it is shown."""

ClaimKind = Literal["brand", "category", "price", "number", "attribute", "rating", "history"]


class Claim(Frozen):
    """Something a text states that can be true or false of its context."""

    kind: ClaimKind
    text: str
    span: Span
    supported: bool
    source: str | None = Field(
        None,
        description="path of the fact it rests on: product.price, product.attributes.材质, user.last_viewed, user.purchased.PRODUCT_ID",
    )
    value: str | None = Field(None, description="what that fact is; of the user's past, the title of what it was done with")
    product_id: str | None = Field(None, description="of what the user did something with")
    reason: str | None = Field(None, description="when not supported: what is known instead")


class Evidence(Frozen):
    """A supported claim as the storefront shows it, and what it rests on."""

    kind: ClaimKind
    text: str
    span: Span
    source: str
    value: str
    product_id: str | None = None


class DueTo(Frozen):
    """A stretch of a text, and by how much (nats) a code makes it likelier than the code's other values do on average."""

    span: Span
    nats: float


class Attribution(Frozen):
    """What one code had to do with a text; see common/language/attribution.py."""

    control: str
    value: str
    recovered: float = Field(ge=0, le=1, description="probability that this value was asked, given the text and equal odds before")
    free_nats: float = Field(description="by how much the text is likelier than without this code")
    against: dict[str, float] = Field(description="than under each other value, nats; the rest of the prompt is the same")
    due_to: tuple[DueTo, ...] = Field(description="where in the text, from left to right")


class CheckResult(Frozen):
    name: str = Field(description="facts, controls, compliance, length, language, repetition")
    passed: bool
    findings: tuple[str, ...] = Field((), description="one sentence each, for a person: what was found, where, and why it is refused")


class QualityVerdict(Frozen):
    """All checks on one text against its own context."""

    accepted: bool
    score: float | None = Field(
        None,
        ge=0,
        le=1,
        description="discriminator's calibrated probability of 'a person would have written this here'; None when none was asked",
    )
    checks: dict[str, CheckResult]
    claims: tuple[Claim, ...] = ()
    policy_version: str = ""

    @property
    def checks_passed(self) -> bool:
        """Whether every rule passed, whatever the discriminator says."""
        return all(check.passed for check in self.checks.values())

    def evidence(self) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(kind=c.kind, text=c.text, span=c.span, source=c.source, value=c.value, product_id=c.product_id)
            for c in self.claims
            if c.supported and c.source and c.value
        )


Source = Literal["cache", "model", "template"]


class Reason(Frozen):
    """What is shown for one product."""

    text: str
    source: Source
    controls: dict[str, str]
    verdict: QualityVerdict
    attempts: int = Field(0, ge=0, description="rounds of generation before this answer")
    degraded: str | None = Field(
        None,
        description="why a template is shown: deadline, no_candidate_accepted, too_alike, engine_unavailable, sandbox",
    )
