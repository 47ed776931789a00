"""One call to another deployment: asked again when it died, never longer than there is time, and no foreign error comes out."""

import asyncio
from collections.abc import Callable, Generator
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayTaskError
from ray.serve.exceptions import BackPressureError

from common.errors import BadControl, LiyouError, Unavailable
from serve_app.graph.hop import Hop


class Answering:
    """A response that resolves to a value, raises an error, or hangs until it is cancelled."""

    def __init__(self, outcome: Any) -> None:
        self.outcome, self.cancelled = outcome, False

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        if self.outcome is None:
            await asyncio.sleep(60)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def cancel(self) -> None:
        self.cancelled = True


def failed(cause: Exception) -> Exception:
    return RayTaskError("write", "traceback", cause, proctitle="p", pid=1, ip="1").as_instanceof_cause()


def ask(*outcomes: Any, timeout_s: float | None = None, left_s: Callable[[], float] = lambda: 5.0) -> tuple[Any, list[Answering]]:
    """The hop's result or its error, and the calls that were made."""
    calls: list[Answering] = []

    def start() -> Answering:
        calls.append(Answering(outcomes[len(calls)]))
        return calls[-1]

    async def run() -> Any:
        try:
            return await Hop[Any]("generator", timeout_s=timeout_s)(start, left_s=left_s)
        except LiyouError as error:
            return error

    return asyncio.run(run()), calls


LOST = [
    ActorDiedError(),
    ActorUnavailableError("gone", None),
    BackPressureError(3, 2),
    failed(ValueError("bug")),
    failed(Unavailable("stopped")),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
def test_a_lost_call_is_made_once_more_elsewhere(lost: Exception) -> None:
    assert ask(lost, "text")[0] == "text"


@pytest.mark.parametrize("lost", LOST, ids=lambda error: type(error).__name__)
def test_a_call_lost_twice_is_unavailable_and_not_made_a_third_time(lost: Exception) -> None:
    error, calls = ask(lost, lost, "never")
    assert isinstance(error, Unavailable)
    assert "generator" in str(error)
    assert len(calls) == 2


def test_what_the_caller_can_mend_comes_back_as_it_was_raised_and_is_not_retried() -> None:
    raised = BadControl("no such", fields=(("/controls/style", "got 'x'"),))
    error, calls = ask(failed(raised))
    assert type(error) is BadControl
    assert error.fields == raised.fields
    assert len(calls) == 1


def test_a_replica_that_hangs_costs_its_timeout_and_is_told_to_stop() -> None:
    answer, calls = ask(None, "text", timeout_s=0.02)
    assert answer == "text"
    assert calls[0].cancelled


def test_without_time_left_nothing_is_asked() -> None:
    error, calls = ask("text", left_s=lambda: 0.0)
    assert isinstance(error, Unavailable)
    assert not calls


def test_time_that_runs_out_ends_the_call() -> None:
    left = iter([0.03, 0.03, 0.0, 0.0])
    error, calls = ask(None, "late", left_s=lambda: next(left))
    assert isinstance(error, Unavailable)
    assert [call.cancelled for call in calls] == [True]


def test_a_caller_who_leaves_stops_the_call_on_the_other_side() -> None:
    call = Answering(None)

    async def leave() -> None:
        task = asyncio.create_task(Hop[Any]("generator")(lambda: call, left_s=lambda: 5.0))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    assert call.cancelled


class Streaming:
    """Parts that come one after another; an exception among them is raised, None hangs until it is cancelled."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts, self.cancelled = iter(parts), False

    def __aiter__(self) -> "Streaming":
        return self

    async def __anext__(self) -> Any:
        part = next(self.parts, StopAsyncIteration())
        if part is None:
            await asyncio.sleep(60)
        if isinstance(part, Exception):
            raise part
        return part

    def cancel(self) -> None:
        self.cancelled = True


def stream(*outcomes: list[Any], left_s: Callable[[], float] = lambda: 5.0) -> tuple[list[Any], list[Streaming]]:
    """The parts that came and, last, the error if there was one; the calls that were made."""
    calls: list[Streaming] = []

    def start() -> Streaming:
        calls.append(Streaming(outcomes[len(calls)]))
        return calls[-1]

    async def run() -> list[Any]:
        found: list[Any] = []
        try:
            async for part in Hop[Any]("generator").each(start, left_s=left_s):
                found.append(part)
        except LiyouError as error:
            found.append(error)
        return found

    return asyncio.run(run()), calls


@pytest.mark.parametrize("lost", LOST)
def test_a_stream_that_breaks_off_is_asked_for_once_more(lost: Exception) -> None:
    parts, calls = stream([1, 2, lost], [3])
    assert parts == [1, 2, 3]
    assert [call.cancelled for call in calls] == [True, False]
    parts, calls = stream([1, lost], [2, lost])
    assert parts[:2] == [1, 2]
    assert isinstance(parts[2], Unavailable)


def test_what_the_other_side_says_of_a_stream_is_raised_as_itself() -> None:
    parts, calls = stream([failed(BadControl("style"))])
    assert isinstance(parts[0], BadControl)
    assert len(calls) == 1


def test_a_stream_that_hangs_is_left_when_time_is_up_and_cancelled() -> None:
    parts, calls = stream([1, None], [None], left_s=iter([0.05, 0.05, 0.05, 0.0, 0.0, 0.0]).__next__)
    assert parts[0] == 1
    assert isinstance(parts[1], Unavailable)
    assert all(call.cancelled for call in calls)
