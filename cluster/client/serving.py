"""Reasons over HTTP, tried again within the caller's deadline. Knows the wire and nothing of how a page is answered."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import httpx2
import orjson
from pydantic import ValidationError

from common.config import parse
from common.contract.deadline import HEADER, Deadline, DeadlineLimits
from common.contract.problems import Problem
from common.contract.wire import LINES, ItemReason, KeysResponse, ModelsResponse, ReasonsLine, ReasonsRequest, ReasonsResponse, WarmResponse
from common.errors import BadInput, DeadlineExceeded, LiyouError, Unavailable, by_code

Answer = TypeVar("Answer", ReasonsResponse, WarmResponse, ModelsResponse, KeysResponse)
Got = TypeVar("Got")
Item = str | Mapping[str, object]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
"""Pauses double from the first to the longest, each shortened by a random share, so that callers do not come back together."""
LIMITS = DeadlineLimits()


class Serving:
    def __init__(self, url: str, *, key: str | None = None, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        if not url.startswith(("http://", "https://")):
            raise BadInput(f"serve: got {url!r}; expected the URL of the API, http://HOST:8000")
        self.url = url.rstrip("/")
        self._clock, self._sleep = clock, sleep
        self._http = httpx2.Client(headers={"Authorization": f"Bearer {key}"} if key else None)

    def close(self) -> None:
        self._http.close()

    def reasons(self, body: bytes, *, deadline_ms: int, explain: bool = False) -> ReasonsResponse:
        deadline = Deadline.after(deadline_ms, now_s=self._clock())
        path = "/v1/reasons?explain=true" if explain else "/v1/reasons"
        return self._tried(lambda left_ms: self._post(body, left_ms=left_ms, path=path, kind=ReasonsResponse), deadline)

    def warm(self, body: bytes, *, deadline_ms: int) -> WarmResponse:
        deadline = Deadline.after(deadline_ms, now_s=self._clock())
        return self._tried(lambda left_ms: self._post(body, left_ms=left_ms, path="/v1/reasons:warm", kind=WarmResponse), deadline)

    def each(self, body: bytes, *, deadline_ms: int) -> Iterator[tuple[int, ItemReason]]:
        deadline, num_told, theirs_s = Deadline.after(deadline_ms, now_s=self._clock()), 0, 0.0
        response = self._tried(lambda left_ms: self._lines(body, left_ms=left_ms), deadline)
        try:
            for text in response.iter_lines():
                line = self._line(text)
                if line.problem is not None:
                    raise by_code(line.problem.code)(f"{line.problem.detail} (request {line.problem.request_id}), after {num_told} items")
                if line.end is not None:
                    return
                if line.item is not None and line.index is not None:
                    num_told += 1
                    given_s = self._clock()
                    yield line.index, line.item
                    theirs_s += self._clock() - given_s  # what the caller does with an item is its own time
                if deadline.left_s(now_s=self._clock() - theirs_s) <= 0:
                    raise Unavailable(f"{self.url}: the answer was not complete in time; {num_told} items were")
        except httpx2.TransportError as error:
            raise Unavailable(f"{self.url}: {type(error).__name__}: {error}, after {num_told} items; ask again") from error
        finally:
            response.close()
        raise Unavailable(f"{self.url}: the answer broke off after {num_told} items; ask again")

    def body(
        self,
        items: Item | Sequence[Item],
        *,
        user: str | Mapping[str, object] | None,
        controls: Mapping[str, str | None] | None,
        personalise: bool,
        deadline_ms: int,
    ) -> bytes:
        if not LIMITS.min_ms <= deadline_ms <= LIMITS.max_ms:
            raise BadInput(f"deadline_ms: got {deadline_ms}; expected {LIMITS.min_ms} to {LIMITS.max_ms} milliseconds")
        items = [items] if isinstance(items, str | Mapping) else items
        asked: dict[str, object] = {"items": [{"product_id": item} if isinstance(item, str) else dict(item) for item in items]}
        if user is not None:
            asked["user"] = {"user_id": user} if isinstance(user, str) else dict(user)
        if not personalise:
            asked["personalise"] = False
        if controls:
            asked["controls"] = dict(controls)
        parse(asked, ReasonsRequest, source="reasons")  # told here, where the caller's line is, before anything is sent
        return orjson.dumps(asked)

    def get(self, path: str, kind: type[Answer]) -> Answer:
        return self._tried(lambda left_ms: self._read(self._whole("GET", path, left_ms=left_ms), kind), None)

    def _post(self, body: bytes, *, left_ms: int, path: str, kind: type[Answer]) -> Answer:
        headers = {"Content-Type": "application/json", HEADER: str(left_ms)}
        return self._read(self._whole("POST", path, left_ms=left_ms, content=body, headers=headers), kind)

    def _lines(self, body: bytes, *, left_ms: int) -> httpx2.Response:
        """An answer that has begun and is read by its caller."""
        headers = {"Content-Type": "application/json", HEADER: str(left_ms), "Accept": LINES}
        request = self._http.build_request("POST", f"{self.url}/v1/reasons", content=body, headers=headers, timeout=left_ms / 1000)
        response = self._http.send(request, stream=True)
        if response.status_code != 200 or response.headers.get("Content-Type", "").partition(";")[0] != LINES:
            response.read()
            response.close()
            raise self._error(response)
        return response

    def _line(self, text: str) -> ReasonsLine:
        try:
            return ReasonsLine.model_validate_json(text)
        except ValidationError as error:
            raise LiyouError(f"{self.url}: a line of the answer is none that this client reads: {error!s:.300}") from error

    def _whole(
        self, method: str, path: str, *, left_ms: int, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        """An answer with its body. The library's own timeout is of each read, and a server that drips never runs into it."""
        end_s, body = self._clock() + left_ms / 1000, bytearray()
        with self._http.stream(method, f"{self.url}{path}", content=content, headers=headers, timeout=left_ms / 1000) as response:
            for chunk in response.iter_raw():
                body += chunk
                if self._clock() > end_s:
                    raise httpx2.ReadTimeout("the answer was not complete in time")
            return httpx2.Response(response.status_code, headers=response.headers, content=bytes(body))

    def _tried(self, ask: Callable[[int], Got], deadline: Deadline | None) -> Got:
        """Asks until an answer, an error that no repetition mends, or the deadline. Asking twice is safe: it changes nothing."""
        deadline = deadline or Deadline.after(LIMITS.default_ms, now_s=self._clock())
        pause_s, last = FIRST_PAUSE_S, "nobody was asked"
        while (left_ms := int(deadline.left_s(now_s=self._clock()) * 1000)) >= LIMITS.min_ms:
            wait_s = pause_s * (1 - random.random() / 2)
            try:
                return ask(left_ms)
            except Later as error:
                last, wait_s = str(error), max(wait_s, error.after_s)
            except httpx2.TransportError as error:
                last = f"{type(error).__name__}: {error}"
            if wait_s * 1000 + LIMITS.min_ms > deadline.left_s(now_s=self._clock()) * 1000:
                break
            self._sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        kind = DeadlineExceeded if last.startswith(DeadlineExceeded.code) else Unavailable
        raise kind(f"{self.url}: no answer within the deadline; the last: {last}")

    def _read(self, response: httpx2.Response, kind: type[Answer]) -> Answer:
        if response.status_code == 200:
            try:
                return kind.model_validate_json(response.content)
            except ValidationError as error:
                raise LiyouError(f"{self.url}: the answer is none that this client reads; is that the API's URL? {error!s:.300}") from error
        raise self._error(response)

    def _error(self, response: httpx2.Response) -> Exception:
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            if response.status_code in (429, 500, 502, 503, 504):  # 500 without a problem: Ray's proxy, whose replica died under the page
                return Later(f"{response.status_code} {response.text:.200}", after_s=_retry_after(response))
            return LiyouError(f"{self.url} answered {response.status_code}, not as the API does; is that its URL? {response.text:.200}")
        told = f"{problem.detail} (request {problem.request_id})"
        if problem.retryable:
            return Later(f"{problem.code}: {told}", after_s=_retry_after(response))
        fields = tuple((entry.pointer, entry.detail) for entry in problem.errors)
        return by_code(problem.code)(told, fields=fields)


class Later(Exception):
    """An answer that may be another one after a while."""

    def __init__(self, message: str, *, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
