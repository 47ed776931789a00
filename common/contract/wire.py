"""What crosses HTTP, both ways, with every field it will ever have (null until built), and the conversions to the domain's nouns.

Requests refuse unknown fields; replies are read leniently, so that an older client lives with a newer server. Prices are numbers in the
currency's unit here and minor units inside.
"""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

from common.artifacts.signing import PublicJwk
from common.config import Frozen
from common.contract.problems import Problem
from common.contract.provenance import Aigc, ReasonSignature
from common.domain.channel import Channels
from common.domain.controls import ControlVocabulary
from common.domain.event import Event, EventKind
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.domain.reason import Attribution, ClaimKind, Evidence, QualityVerdict, Source, Span
from common.errors import BadControl, LiyouError
from common.text.normalise import squeezed

LINES = "application/x-ndjson"
"""Of an answer that comes as `ReasonsLine`s."""
MAX_ITEMS = 50
MAX_EVENTS = 500
MAX_ATTRIBUTES = 64


def _shown(text: str) -> str:
    """Does not repeat what came: an answer that refuses it may be logged."""
    for place, character in enumerate(text):
        if unicodedata.category(character) == "Cc":
            raise ValueError(f"U+{ord(character):04X} at {place}: a control character; send the text without it")
    if not squeezed(text):
        raise ValueError("shows nothing; leave it out")
    return text


Identifier = Annotated[str, Field(min_length=1, max_length=128)]
AttributeKey = Annotated[str, Field(min_length=1, max_length=40)]
AttributeText = Annotated[StrictStr, Field(min_length=1, max_length=200)]
AttributeScalar = AttributeText | StrictInt | Annotated[StrictFloat, Field(ge=-1e15, le=1e15)]
AttributeValue = AttributeScalar | Annotated[list[AttributeScalar], Field(max_length=MAX_ATTRIBUTES)]
Codes = Annotated[
    dict[str, str | None],
    Field(max_length=16, description="control -> value; null asks for no code, whatever the user's taste; absent leaves the choice to us"),
]
Phrase = Annotated[StrictStr, Field(min_length=1, max_length=40), AfterValidator(_shown)]


class RequestEvent(Frozen):
    """Something the user did, for shops that keep behaviour to themselves."""

    kind: EventKind
    product_id: Identifier = Field(description="of the snapshot or an inline product of this request; any other cannot be named in a text")
    at: AwareDatetime
    event_id: Identifier | None = None
    rating: float | None = Field(None, ge=1, le=5, strict=True)
    text: str | None = Field(None, max_length=5000)


class RequestUser(Frozen):
    user_id: Identifier
    events: tuple[RequestEvent, ...] | None = Field(
        None, max_length=MAX_EVENTS, description="null: look the user up; a list: this and nothing else is the user's past"
    )

    def to_domain(self) -> tuple[Event, ...]:
        """The inline events, oldest first; events without an id get their position as one."""
        events = [
            Event(event_id=e.event_id or f"inline-{index:04d}", user_id=self.user_id, **e.model_dump(exclude={"event_id"}))
            for index, e in enumerate(self.events or ())
        ]
        return tuple(sorted(events, key=lambda event: event.at))


NUMBER_CHARS = 40


class RequestProduct(Frozen):
    """A product the snapshot does not have, or has in another state. Only what stands here can be stated of it."""

    product_id: Identifier
    title: str = Field(min_length=1, max_length=300)
    category: str = Field(min_length=1, max_length=80, description="leaf category as a noun (蓝牙耳机)")
    attributes: dict[AttributeKey, AttributeValue] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)
    price: float | None = Field(None, ge=0, le=1e12, strict=True, description="in the currency's unit (299.0 yuan)")
    currency: str = Field("CNY", pattern=r"^[A-Z]{3}$")
    rating: float | None = Field(None, ge=0, le=5, strict=True)
    rating_count: int | None = Field(None, ge=0, le=2**53, strict=True)
    description: str | None = Field(None, max_length=5000)
    image: str | None = Field(None, max_length=500)
    updated_at: datetime | None = None

    @model_validator(mode="after")
    def _few_attributes(self) -> "RequestProduct":
        if (count := len(self._pairs())) > MAX_ATTRIBUTES:
            raise ValueError(f"attributes hold {count} values, lists counted by entry; at most {MAX_ATTRIBUTES}")
        for key, value in self._pairs():
            if isinstance(value, int | float) and len(number_text(value)) > NUMBER_CHARS:
                raise ValueError(f"attributes.{key}: a number is written in at most {NUMBER_CHARS} characters; send text, or another unit")
        return self

    def _pairs(self) -> list[tuple[str, str | int | float]]:
        return [(key, value) for key, values in self.attributes.items() for value in (values if isinstance(values, list) else [values])]

    def to_domain(self) -> Product:
        return Product(
            product_id=self.product_id,
            title=self.title,
            category=self.category,
            attributes=tuple(Attribute(key=key, value=number_text(value)) for key, value in self._pairs()),
            price=None if self.price is None else money(self.price, self.currency),
            rating=self.rating,
            rating_count=self.rating_count,
            description=self.description,
            image=self.image,
            updated_at=self.updated_at,
        )


def number_text(value: str | int | float) -> str:
    """An attribute as the catalogue writes it: 30.0 is "30", 5e-1 is "0.5"; text stays."""
    if isinstance(value, float):
        exact = Decimal(str(value))
        return str(int(value)) if exact == exact.to_integral_value() else format(exact.normalize(), "f")
    return str(value)


class RequestItem(Frozen):
    """One place on the page: a product by its id, or itself."""

    product_id: Identifier | None = None
    product: RequestProduct | None = None
    controls: Codes = Field(default_factory=dict)
    must_mention: tuple[Phrase, ...] = Field((), max_length=5, description="what the text says, whatever script, width and spaces")
    must_avoid: tuple[Phrase, ...] = Field((), max_length=20, description="what the text does not say")
    max_chars: int | None = Field(None, ge=10, le=500, strict=True, description="longest text; the channel's counts too, where it is less")

    @model_validator(mode="after")
    def _one_product(self) -> "RequestItem":
        if (self.product_id is None) == (self.product is None):
            raise ValueError("expected either product_id or product, " + ("got neither" if self.product is None else "got both"))
        return self

    @property
    def names(self) -> str:
        """The id of the product, however it was given."""
        return self.product_id or (self.product.product_id if self.product else "")


class ReasonsRequest(Frozen):
    """A page of products for one user. Answers keep this order; a product may stand on a page twice (with other codes)."""

    user: RequestUser | None = Field(None, description="absent: a new user")
    personalise: bool = Field(
        True,
        strict=True,
        description="false, for who opted out: neither the user's past nor tastes are looked at; codes of the request count",
    )
    channel: str | None = Field(None, max_length=32, description="where it is shown: one that the pack has; absent: nowhere in particular")
    query: Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(_shown)] | None = Field(
        None, description="what the user looked for or asked, for a channel that takes it; no text repeats it unchecked"
    )
    controls: Codes = Field(default_factory=dict)
    items: tuple[RequestItem, ...] = Field(min_length=1, max_length=MAX_ITEMS)

    def codes(self, item: RequestItem) -> dict[str, str | None]:
        """What is asked for one item: its own codes over the page's."""
        return {**self.controls, **item.controls}

    def check_codes(self, vocabulary: ControlVocabulary) -> None:
        """Raises BadControl naming every code that the vocabulary does not have, by its place in the request."""
        asked: list[tuple[str, Mapping[str, str | None]]] = [("/controls", self.controls)]
        asked += [(f"/items/{index}/controls", item.controls) for index, item in enumerate(self.items)]
        fields = []
        for where, codes in asked:
            for name, value in codes.items():
                try:
                    vocabulary.check({name: vocabulary_value(vocabulary, name) if value is None else value})
                except BadControl as error:
                    fields.append((f"{where}/{name.replace('~', '~0').replace('/', '~1')}", str(error)))
        if fields:
            raise BadControl(f"{fields[0][0]}: {fields[0][1]}", fields=tuple(fields))


def vocabulary_value(vocabulary: ControlVocabulary, name: str) -> str:
    """Some value that the control has, so that a null code is checked for its control alone; empty when there is no such control."""
    return next((control.values[0].name for control in vocabulary.controls if control.name == name), "")


class Reply(BaseModel):
    """Something we answer. Unknown fields are ignored when it is read."""

    model_config = ConfigDict(frozen=True)


class ItemError(Reply):
    code: str
    message: str
    retryable: bool


class ItemCheck(Reply):
    passed: bool
    findings: tuple[str, ...] = ()


class ItemVerdict(Reply):
    accepted: bool
    score: float | None = Field(None, description="calibrated probability that a person would have written this here; null for templates")
    checks: dict[str, ItemCheck]


class ItemEvidence(Reply):
    """A claim of the text and the fact it rests on."""

    text: str
    span: Span = Field(description="[start, end) in Unicode code points of the item's text")
    source: str = Field(description="product.price, product.attributes.KEY, user.last_viewed, user.purchased.PRODUCT_ID, …")
    kind: ClaimKind | None = None
    value: str | None = Field(None, description="what the fact is; of the user's past, the title of what it was done with")
    product_id: str | None = Field(None, description="of what the user did something with")


class ItemDueTo(Reply):
    """Where in the text a code shows."""

    span: Span = Field(description="[start, end) in Unicode code points of the item's text")
    nats: float


class ItemAttribution(Reply):
    """What one code had to do with a text: the model reads it again under the same prompt with this code changed."""

    control: str
    value: str
    recovered: float = Field(description="probability that this value was asked, given the text and equal odds before; near 1: it shows")
    free_nats: float = Field(description="by how much log p(text) is higher than without this code; e^nats times as likely")
    against: dict[str, float] = Field(description="than under each other value of it")
    due_to: tuple[ItemDueTo, ...] = Field(description="where the text is likelier by it than by its other values on average")


class ItemReason(Reply):
    """The answer for one item of the request. With status "error" only product_id and error are set."""

    product_id: str
    status: Literal["ok", "error"]
    text: str | None = None
    source: Source | None = None
    controls: dict[str, str] | None = None
    verdict: ItemVerdict | None = None
    evidence: tuple[ItemEvidence, ...] = ()
    aigc: Aigc | None = None
    revision: str | None = Field(None, description="names the state of the product that the text was written about")
    signature: ReasonSignature | None = Field(None, description="over all above but verdict and evidence; null where the server has no key")
    error: ItemError | None = None
    attempts: int = Field(0, description="rounds of generation before this answer")
    degraded: str | None = Field(None, description="why a template is shown; null when the model answered")
    attribution: tuple[ItemAttribution, ...] | None = Field(
        None, description="with ?explain=true, of each code; null for templates, and where the time did not reach"
    )


class ReasonsResponse(Reply):
    request_id: str
    bundle_id: str
    policy_version: str
    degraded: bool = Field(description="whether some item shows a template because the model did not answer in time or well enough")
    items: tuple[ItemReason, ...]


class WarmResponse(Reply):
    """What became of a page that was written ahead; nothing of it has been shown."""

    request_id: str
    bundle_id: str
    policy_version: str
    num_items: int
    written: int = Field(description="accepted and kept now")
    kept: int = Field(description="kept before")
    failed: int = Field(description="not accepted, not in time, or not known: each is written when it is asked for")


class ReasonsEnd(Reply):
    """What a streamed answer says of the whole page, when all its items have been told."""

    request_id: str
    bundle_id: str
    policy_version: str
    degraded: bool
    num_items: int


class ReasonsLine(Reply):
    """One line of a streamed answer: an item with its place in the request, the end, or the problem that broke it off."""

    index: int | None = Field(None, description="of `item`, from 0")
    item: ItemReason | None = None
    end: ReasonsEnd | None = None
    problem: Problem | None = None


class VerifyRequest(Reply):
    """What was answered, or as many of its items; what no signature covers is not read."""

    bundle_id: str = Field(max_length=128)
    policy_version: str = Field(max_length=128)
    items: tuple[ItemReason, ...] = Field(min_length=1, max_length=MAX_ITEMS)


class Verification(Reply):
    product_id: str
    valid: bool
    code: str | None = Field(None, description="signature_invalid, signature_expired or taken_down; null where it is valid")
    message: str | None = None


class VerifyResponse(Reply):
    items: tuple[Verification, ...]


class KeysResponse(Reply):
    """A JSON Web Key Set (RFC 7517); the first key signs now, the others have signed what may still be shown."""

    keys: tuple[PublicJwk, ...]


class ModelCard(Reply):
    bundle_id: str
    policy_version: str
    prompt_version: int
    base_digest: str = Field(description="sha256 of the base model's files")
    base_licence: str
    controls: tuple[dict[str, object], ...] = Field(description="control codes in prompt order: name, values, default")
    channels: tuple[dict[str, object], ...] = Field(
        (), description="where reasons are shown: name, description, controls, max_chars, query"
    )


class ModelsResponse(Reply):
    models: tuple[ModelCard, ...]


class Health(Reply):
    status: Literal["ok"] = "ok"


class Readiness(Health):
    warnings: tuple[str, ...] = Field((), description="what is not as it should be, though pages are answered")


def verdict_of(verdict: QualityVerdict) -> ItemVerdict:
    checks = {name: ItemCheck(passed=check.passed, findings=check.findings) for name, check in verdict.checks.items()}
    return ItemVerdict(accepted=verdict.accepted, score=verdict.score, checks=checks)


def attribution_of(attributions: Iterable[Attribution]) -> tuple[ItemAttribution, ...]:
    return tuple(ItemAttribution(**entry.model_dump()) for entry in attributions)


def evidence_of(evidence: tuple[Evidence, ...]) -> tuple[ItemEvidence, ...]:
    return tuple(ItemEvidence(**entry.model_dump()) for entry in evidence)


def item_error(product_id: str, error: LiyouError) -> ItemReason:
    return ItemReason(
        product_id=product_id, status="error", error=ItemError(code=error.code, message=str(error), retryable=error.retryable)
    )


def control_cards(vocabulary: ControlVocabulary) -> tuple[dict[str, object], ...]:
    return tuple(
        {"name": control.name, "values": [value.name for value in control.values], "default": control.default}
        for control in vocabulary.controls
    )


def channel_cards(channels: Channels) -> tuple[dict[str, object], ...]:
    return tuple({"name": name} | channel.model_dump() for name, channel in channels.items())
