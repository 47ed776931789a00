"""What a caller may send, and reading a body within it: counted while it arrives, refused before it is parsed."""

import orjson
from pydantic import Field
from starlette.requests import ClientDisconnect, Request

from common.config import Frozen
from common.contract.deadline import DeadlineLimits
from common.errors import BadRequest, TooLarge, UnsupportedMedia


class HttpLimits(Frozen):
    max_body_bytes: int = Field(1_000_000, ge=1024, description="a page of 50 inline products with long descriptions is about 300 kB")
    max_depth: int = Field(16, ge=8, description="levels of arrays and objects in a body; the schema itself needs 7")
    deadline: DeadlineLimits = DeadlineLimits()
    grace_s: float = Field(0.25, ge=0, description="how long past its deadline a page may still arrive, before it is cut off with 504")
    retry_after_s: int = Field(1, ge=1, description="Retry-After of answers that say retryable")
    busy: float = Field(
        0.5, gt=0, le=1, description="share of a core that a replica of api may use while the engines are full; beyond it pages get 503"
    )

    @property
    def longest_s(self) -> float:
        """After which no page that was let in is still inside."""
        return self.deadline.max_ms / 1000 + self.grace_s


async def read_json(request: Request, *, limits: HttpLimits) -> object:
    """The parsed body. Raises UnsupportedMedia, TooLarge or BadRequest; of a body that is too large, nothing past the limit is kept."""
    _check_content_type(request.headers.get("content-type"))
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.max_body_bytes:
                raise _too_large(limits)
    except ClientDisconnect as error:
        raise BadRequest("the connection closed before the body was complete") from error
    return parse_json(bytes(body), max_depth=limits.max_depth)


def parse_json(body: bytes, *, max_depth: int) -> object:
    """Strict JSON: UTF-8, no NaN, no infinity, no trailing text. Raises BadRequest saying where it stops being JSON."""
    if not body:
        raise BadRequest("the body is empty; expected a JSON object")
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > max_depth + 1:
            raise BadRequest(f"the body is nested deeper than {max_depth} levels")
        level = [child for node in level for child in _children(node)]
    return document


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _check_content_type(header: str | None) -> None:
    media, _, parameters = (header or "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMedia(f"Content-Type: got {header or 'none'!r:.80}; expected application/json in UTF-8")


def _too_large(limits: HttpLimits) -> TooLarge:
    return TooLarge(f"the body is larger than {limits.max_body_bytes} bytes; send fewer items a page, or ids instead of inline products")
