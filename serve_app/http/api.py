"""The HTTP surface as a plain ASGI app: reads, checks, calls `answer_page`, answers. Knows neither Ray Serve nor how a page is answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Protocol, TypeVar

import orjson
from fastapi import FastAPI, Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from common.artifacts.signing import Keyring
from common.contract import problems
from common.contract.deadline import HEADER as DEADLINE_HEADER
from common.contract.deadline import Deadline, parse_deadline_ms
from common.contract.takedown import Standing
from common.contract.vouching import verified
from common.contract.wire import (
    LINES,
    Health,
    KeysResponse,
    ModelsResponse,
    Readiness,
    ReasonsRequest,
    ReasonsResponse,
    VerifyRequest,
    VerifyResponse,
    WarmResponse,
)
from common.errors import BadInput, DeadlineExceeded, LiyouError, RateLimited, Refused, Unauthorised, Unavailable
from serve_app.http.doors import Caller, Doors, Headers
from serve_app.http.limits import HttpLimits, read_json
from serve_app.http.lines import Lines, TellItem, wants_lines
from serve_app.http.observed import ObservedMiddleware
from serve_app.http.openapi import EXPLAINED_REQUEST, LINES_ANSWER, REASONS_REQUEST, VERIFY_REQUEST, document, problem_answers
from serve_app.http.request_id import RequestIdMiddleware, problem_response
from serve_app.http.traffic import Traffic
from serve_app.state.counters import Counters
from serve_app.telemetry.counting import sources
from serve_app.telemetry.stages import OFF, Telemetry

Body = TypeVar("Body", bound=BaseModel)


EXPLAINED_COUNTS = 2
"""Items of a caller's limits that an explained item is: it is read a dozen times, which takes about as long as its candidates did."""


class AnswerPage(Protocol):
    async def __call__(
        self,
        request: ReasonsRequest,
        *,
        request_id: str,
        deadline: Deadline,
        caller: Caller,
        explain: bool = False,
        tell: TellItem | None = None,
    ) -> ReasonsResponse:
        """The whole page, every item answered, with attributions where it is to `explain`; `tell` hears of each as soon as it is accepted,
        and has heard of all at the end. Raises BadControl, or Unavailable when not even templates were possible; nothing is told then."""


class WarmPage(Protocol):
    async def __call__(self, request: ReasonsRequest, *, request_id: str, deadline: Deadline, caller: Caller) -> WarmResponse:
        """Writes what nobody has asked for yet. Raises as `AnswerPage` does, and Refused where nothing is kept."""


class RefusedDocument(BadInput):
    """A body that is JSON but not of the schema; keeps what pydantic found until it is told."""

    def __init__(self, error: ValidationError, document: object) -> None:
        super().__init__("the body is not of the schema")
        self.details: list[problems.ValidationDetails] = [
            {"type": entry["type"], "loc": entry["loc"], "msg": entry["msg"]}
            for entry in error.errors(include_url=False, include_input=False)
        ]
        self.document = document


def create_api(
    answer_page: AnswerPage,
    *,
    warm_page: WarmPage | None = None,
    ready: Callable[[], Awaitable[str | None]],
    models: Callable[[], Awaitable[ModelsResponse]],
    warnings: Callable[[], Sequence[str]] = tuple,
    limits: HttpLimits | None = None,
    keys: Keyring | None = None,
    doors: Doors | None = None,
    standing: Callable[[], Standing] = Standing,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], float] = time.time,
    echo_request_id: bool = True,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
    telemetry: Telemetry = OFF,
    traffic: Traffic | None = None,
) -> FastAPI:
    """`ready` says in a sentence what is missing, or None; `warnings`, what else is not as it should be. `keys`: whose signatures under
    reasons count, the one that signs first. `doors`: who may ask, None: anybody. `standing`: orders of takedown. `now` is the calendar's.
    `echo_request_id` is off where a proxy in front echoes the header itself. `traffic` counts who is inside, for whoever drains it."""
    bounds = limits or HttpLimits()
    keyring = keys or Keyring(())
    entry = doors or Doors(None, Counters(None, local_share=1, clock=clock, now=now), now=now)
    app = FastAPI(title="Liyou", version="1", docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.add_middleware(RequestIdMiddleware, echo=echo_request_id)
    inside = traffic or Traffic(telemetry.record)
    app.add_middleware(ObservedMiddleware, telemetry=telemetry, traffic=inside)

    async def enter(request: Request) -> tuple[Caller, Deadline]:
        arrived_s = clock()
        inside.let_in()
        with telemetry.stage("doors"):
            caller = await entry.enter(request.headers.get("authorization"), scope="reasons")
        request.state.key = caller.key and caller.key.name
        milliseconds = parse_deadline_ms(request.headers.get(DEADLINE_HEADER), limits=bounds.deadline)
        return caller, Deadline.after(milliseconds, now_s=arrived_s)

    async def asked(request: Request, caller: Caller, *, times: int = 1) -> tuple[ReasonsRequest, Headers]:
        page = parsed(await read_json(request, limits=bounds), ReasonsRequest)
        return page, await entry.charge(caller, items=times * len(page.items))

    @asynccontextmanager
    async def in_time(deadline: Deadline) -> AsyncIterator[None]:
        """A body that trickles in counts too."""
        try:
            async with asyncio.timeout(deadline.left_s(now_s=clock()) + bounds.grace_s):
                yield
        except TimeoutError as error:
            raise DeadlineExceeded("not even a template was possible before the deadline") from error

    @app.post(
        "/v1/reasons",
        response_model=ReasonsResponse,
        openapi_extra=EXPLAINED_REQUEST,
        responses=LINES_ANSWER | problem_answers(400, 401, 403, 404, 413, 415, 422, 429, 500, 503, 504),
        summary="Reasons for a page of 1 to 50 products, in the order asked",
    )
    async def reasons(request: Request) -> Response:
        caller, deadline = await enter(request)
        explain = wants_explanation(request)
        ask = partial(answer_page, request_id=request.state.request_id, deadline=deadline, caller=caller, explain=explain)
        async with in_time(deadline):
            page, left = await asked(request, caller, times=EXPLAINED_COUNTS if explain else 1)
            if not wants_lines(request):
                return json_response(_observed(request, await ask(page)), headers=left)
            lines = Lines(lambda tell: ask(page, tell=tell), request_id=request.state.request_id, at_end=partial(_ended, request))
            await lines.begun()
        return StreamingResponse(lines, media_type=LINES, headers=left)

    @app.post(
        "/v1/reasons:warm",
        response_model=WarmResponse,
        openapi_extra=REASONS_REQUEST,
        responses=problem_answers(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503, 504),
        summary="Have a page written and kept before anybody asks for it; nothing of it is shown",
    )
    async def warm(request: Request) -> Response:
        caller, deadline = await enter(request)
        async with in_time(deadline):
            page, left = await asked(request, caller)
            if warm_page is None:
                raise Refused("nothing is kept here")
            told = await warm_page(page, request_id=request.state.request_id, deadline=deadline, caller=caller)
        return json_response(told, headers=left)

    @app.post(
        "/v1/reasons:verify",
        response_model=VerifyResponse,
        openapi_extra=VERIFY_REQUEST,
        responses=problem_answers(400, 413, 415, 422, 500, 504),
        summary="Whether what an answer says is what we signed, item by item",
    )
    async def verify(request: Request) -> Response:
        try:
            async with asyncio.timeout(bounds.deadline.default_ms / 1000):
                asked = parsed(await read_json(request, limits=bounds), VerifyRequest)
        except TimeoutError as error:
            raise DeadlineExceeded(f"the body was not complete within {bounds.deadline.default_ms} ms") from error
        return json_response(verified(asked, keys=keyring, now_s=now(), standing=standing()))

    @app.get("/v1/keys", response_model=KeysResponse, summary="Public keys of the signatures under reasons, as a JSON Web Key Set")
    async def list_keys() -> Response:
        return json_response(KeysResponse(keys=keyring.jwks()))

    @app.get(
        "/v1/models",
        response_model=ModelsResponse,
        responses=problem_answers(401, 403, 429, 503),
        summary="Which bundle answers, and its codes",
    )
    async def list_models(request: Request) -> Response:
        await entry.enter(request.headers.get("authorization"), scope="models")
        return json_response(await models())

    @app.get("/livez", response_model=Health, summary="The process answers")
    async def livez() -> Response:
        return json_response(Health())

    @app.get("/readyz", response_model=Readiness, responses=problem_answers(503), summary="Pages can be answered")
    async def readyz() -> Response:
        inside.admit()
        if (missing := await ready()) is not None:
            raise Unavailable(missing)
        return json_response(Readiness(warnings=tuple(warnings())))

    _add_problem_handlers(app, bounds)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _observed(request: Request, answer: ReasonsResponse) -> ReasonsResponse:
    """Leaves what the access line says of it where that is written."""
    request.state.items, request.state.degraded = sources(answer), answer.degraded
    return answer


def _ended(request: Request, ended: ReasonsResponse | str | None) -> None:
    """Of lines, whose status was sent before anybody knew how they end."""
    if isinstance(ended, ReasonsResponse):
        _observed(request, ended)
    else:
        request.state.code, request.state.broke_off = ended, "left" if ended is None else "failed"


def wants_explanation(request: Request) -> bool:
    """Raises BadInput for what is neither true nor false, and where lines are asked for, which are gone before they could be explained."""
    asked = request.query_params.get("explain", "false")
    if asked not in ("true", "false"):
        raise BadInput(f"explain: got {asked[:20]!r}; expected true or false")
    if asked == "true" and wants_lines(request):
        raise BadInput(f"explain: a page is explained whole; leave {LINES} out of Accept")
    return asked == "true"


def parsed(body: object, kind: type[Body]) -> Body:
    """The body as a request. Raises RefusedDocument with every field that is wrong."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise RefusedDocument(error, body) from error


def json_response(body: BaseModel, *, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body.model_dump(mode="json")), media_type="application/json", headers=headers)


def _add_problem_handlers(app: FastAPI, limits: HttpLimits) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        request_id = request.state.request_id
        if isinstance(error, RefusedDocument):
            return problem_response(problems.from_validation(error.details, document=error.document, request_id=request_id))
        if isinstance(error, HTTPException):
            detail = f"{request.method} {request.scope['path']}: {error.detail}"[:300]
            problem = problems.from_status(error.status_code, detail=detail, request_id=request_id)
            return problem_response(problem, headers=dict(error.headers or {}))
        assert isinstance(error, LiyouError)
        problem = problems.from_error(error, request_id=request_id)
        request.state.code, request.state.retryable = problem.code, problem.retryable
        if isinstance(error, Unauthorised):
            return problem_response(problem, headers={"WWW-Authenticate": "Bearer"})
        after_s = error.retry_after_s if isinstance(error, RateLimited) else limits.retry_after_s
        return problem_response(problem, headers={"Retry-After": str(after_s)} if problem.retryable else None)

    for kind in (LiyouError, HTTPException):
        app.add_exception_handler(kind, refused)
