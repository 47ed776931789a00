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
