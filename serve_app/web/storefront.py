"""The page of `liyou serve --demo` over HTTP: its files, and what it lists. Reasons it asks of /v1, as anybody does.

Titles are a merchant's, so the page may not run what it did not bring: no inline script, no other host, and no text that becomes HTML.
"""

import asyncio
import hashlib
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from common.errors import BadInput
from serve_app.http.api import json_response
from serve_app.http.doors import Doors
from serve_app.web.shelf import Shelf

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
INDEX = "index.html"
MAX_CHARS = 80
MAX_OFFSET = 10_000
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
GUARDED = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def storefront(shelf: Shelf, *, doors: Doors) -> APIRouter:
    """`doors`: what the shop has is told to who may ask for reasons; the page itself holds nothing of it."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in Path(__file__).parent.iterdir() if path.suffix in MEDIA_TYPES}

    @router.get("/")
    @router.get("/demo")
    async def lead_there() -> Response:
        return RedirectResponse("demo/", headers={"Cache-Control": "no-store"})

    @router.get("/demo/products")
    async def products(request: Request) -> Response:
        await doors.enter(request.headers.get("authorization"), scope="reasons")
        words, offset = request.query_params.get("q", ""), request.query_params.get("offset", "0")
        if len(words) > MAX_CHARS:
            raise BadInput(f"q: got {len(words)} characters; expected at most {MAX_CHARS}, words with spaces between them")
        if not (offset.isascii() and offset.isdigit() and len(offset) <= len(str(MAX_OFFSET)) and int(offset) <= MAX_OFFSET):
            raise BadInput(f"offset: got {offset!r:.40}; expected a number from 0 to {MAX_OFFSET}; search for more words instead")
        return listed(await asyncio.to_thread(shelf.products, words, offset=int(offset)))

    @router.get("/demo/shop")
    async def shop(request: Request) -> Response:
        await doors.enter(request.headers.get("authorization"), scope="reasons")
        return listed(await asyncio.to_thread(shelf.shop))

    @router.get("/demo/")
    @router.get("/demo/{name}")
    async def file(request: Request, name: str = INDEX) -> Response:
        if (content := files.get(name)) is None:
            raise HTTPException(404)
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = GUARDED | {"ETag": tag, "Cache-Control": "no-cache"}  # kept, and asked for again: another release has another page
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=MEDIA_TYPES[Path(name).suffix], headers=headers)

    return router


def listed(body: BaseModel) -> Response:
    return json_response(body, headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
