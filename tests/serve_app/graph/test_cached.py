"""What several pages ask for at once is written once, and nobody has another's trouble."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from common.contract.takedown import Standing, Takedown
from common.domain.context import Context
from common.domain.product import Product
from common.domain.reason import QualityVerdict, Reason
from common.generation.answer import Beside, Tell
from common.quality.variety import Shown
from serve_app.graph.cached import Cached
from serve_app.graph.showing import Showing
from serve_app.state.cache import MemoryStore

NOTHING = Showing(Standing, lambda context, text: "", None)
VERDICT = QualityVerdict(accepted=True, score=0.5, checks={})
CONTEXTS = {name: Context(product=Product(product_id=name, title=name, category="耳机")) for name in "abc"}


class Writer:
    """Writes each context's name, or the first of `offers` that nothing beside it is; told to, with templates, late, or not at all."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.source: Any = "model"
        self.error: Exception | None = None
        self.offers: list[str] = []

    async def __call__(self, contexts: list[Context], beside: Beside, tell: Tell) -> None:
        names = [context.product.product_id for context in contexts]
        self.asked += names
        source, error = self.source, self.error
        await self.gate.wait()
        if error:
            raise error
        degraded = "engine_unavailable" if source == "template" else None
        for at in reversed(range(len(names))):
            text = next((offer for offer in self.offers if not beside.bars(contexts[at], offer)), names[at])
            if source == "model":
                beside.add(text)
            tell(at, Reason(text=text, source=source, controls={}, verdict=VERDICT, degraded=degraded))


def run(scene: Callable[[Cached, Writer], Awaitable[None]]) -> None:
    async def played() -> None:
        cached = Cached(MemoryStore(max_entries=10, lifetime_s=60, clock=lambda: 0.0))
        await scene(cached, Writer())
        await asyncio.sleep(0)
        assert cached.num_flights == 0, "nothing is left in flight"

    asyncio.run(played())


async def ask(
    cached: Cached, writer: Writer, names: str, *, left_s: float = 5.0, varied: bool = False, standing: Standing | None = None
) -> list[tuple[str, str]]:
    contexts = [CONTEXTS[name] for name in names]
    told: dict[int, Reason] = {}
    beside = Showing(lambda: standing or Standing(), lambda context, text: f"content of {text}", Shown() if varied else None)
    reasons = await cached.answer(contexts, list(names), write=writer, beside=beside, left_s=lambda: left_s, tell=told.__setitem__)
    assert reasons == [told[at] for at in range(len(names))]
    await asyncio.sleep(0)
    return [(reason.text, reason.source) for reason in reasons]


def test_a_page_writes_what_is_missing_and_keeps_the_order() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        assert await ask(cached, writer, "b") == [("b", "model")]
        assert await ask(cached, writer, "abca") == [("a", "model"), ("b", "cache"), ("c", "model"), ("a", "model")]
        assert await ask(cached, writer, "cba") == [("c", "cache"), ("b", "cache"), ("a", "cache")]
        assert writer.asked == ["b", "a", "c"]

    run(scene)


def test_pages_that_ask_at_once_have_it_written_once() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.gate.clear()
        pages = [asyncio.create_task(ask(cached, writer, names)) for names in ("ab", "ba", "a", "bc")]
        await asyncio.sleep(0.01)
        writer.gate.set()
        found = await asyncio.gather(*pages)
        assert sorted(writer.asked) == ["a", "b", "c"]
        assert [[text for text, _ in page] for page in found] == [["a", "b"], ["b", "a"], ["a"], ["b", "c"]]
        assert found[1] == [("b", "cache"), ("a", "cache")]

    run(scene)


@pytest.mark.parametrize("trouble", ["template", "error", "cancelled"])
def test_who_waited_for_a_page_that_came_to_nothing_has_it_written_anew(trouble: str) -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.gate.clear()
        writer.source = "template" if trouble == "template" else "model"
        writer.error = ZeroDivisionError() if trouble == "error" else None
        first = asyncio.create_task(ask(cached, writer, "a"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(cached, writer, "a"))
        await asyncio.sleep(0.01)
        writer.source, writer.error = "model", None
        if trouble == "cancelled":
            first.cancel()
        writer.gate.set()
        await asyncio.gather(first, return_exceptions=True)
        assert await second == [("a", "model")]
        assert writer.asked == ["a", "a"]

    run(scene)


def test_many_who_waited_for_nothing_have_it_written_once_more_and_not_by_each() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.gate.clear()
        writer.source = "template"
        first = asyncio.create_task(ask(cached, writer, "a"))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(ask(cached, writer, "a")) for _ in range(20)]
        await asyncio.sleep(0.01)
        writer.source = "model"
        writer.gate.set()
        assert await first == [("a", "template")]
        assert {page[0] for page in await asyncio.gather(*others)} == {("a", "model"), ("a", "cache")}
        assert writer.asked == ["a", "a"]

    run(scene)


def test_a_reason_that_reads_alike_stays_where_nothing_better_comes_of_writing_it_anew() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.offers = [LASTING]
        for name in "ab":
            assert await ask(cached, writer, name) == [(LASTING, "model")]
        writer.source = "template"
        assert await ask(cached, writer, "ab", varied=True) == [(LASTING, "cache"), (LASTING, "cache")]

    run(scene)


def test_templates_are_not_kept() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.source = "template"
        assert await ask(cached, writer, "a") == [("a", "template")]
        writer.source = "model"
        assert await ask(cached, writer, "a") == [("a", "model")]

    run(scene)


def test_nobody_waits_longer_than_the_page_has() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.gate.clear()
        first = asyncio.create_task(ask(cached, writer, "a"))
        await asyncio.sleep(0.01)
        late = Writer()
        late.source = "template"  # as the answer loop does, with no time left
        assert await ask(cached, late, "a", left_s=0.02) == [("a", "template")]
        writer.gate.set()
        assert await first == [("a", "model")]

    run(scene)


def test_what_is_written_ahead_is_kept_and_waited_for_by_nobody() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        slow = Writer()
        slow.gate.clear()
        contexts = [CONTEXTS["a"]]
        ahead = asyncio.create_task(
            cached.answer(contexts, ["a"], write=slow, beside=NOTHING, left_s=lambda: 60.0, tell=lambda *_: None, ahead=True)
        )
        await asyncio.sleep(0.01)
        assert await ask(cached, writer, "a") == [("a", "model")], "a customer does not wait for it"
        slow.gate.set()
        await ahead
        assert await ask(cached, writer, "a") == [("a", "cache")]

    run(scene)


LASTING, QUIET, LIGHT = "续航30小时，通勤够用。", "降噪安静，听歌不吵。", "机身很轻，戴着不累。"


def test_reasons_of_two_pages_that_read_alike_on_a_third_are_told_apart_there() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        writer.offers = [LASTING, QUIET, LIGHT]
        for name in "ab":
            assert await ask(cached, writer, name) == [(LASTING, "model")]
        assert await ask(cached, writer, "ab", varied=True) == [(LASTING, "cache"), (QUIET, "model")]
        assert await ask(cached, writer, "abb", varied=True) == [(LASTING, "cache"), (QUIET, "cache"), (LIGHT, "model")]
        asked = len(writer.asked)
        assert await ask(cached, writer, "abb", varied=True) == [(LASTING, "cache"), (QUIET, "cache"), (LIGHT, "cache")]
        assert len(writer.asked) == asked, "a page that was told apart once is not written again"
        assert await ask(cached, writer, "b") == [(LASTING, "cache")], "what another page shows is left as it was"

    run(scene)


def test_who_waits_has_an_item_when_it_is_accepted_and_not_when_the_other_page_is_done() -> None:
    async def scene(cached: Cached, writer: Writer) -> None:
        gate = asyncio.Event()

        async def first_b_then_long_nothing(contexts: list[Context], beside: Beside, tell: Tell) -> None:
            tell(1, Reason(text="b", source="model", controls={}, verdict=VERDICT))
            await gate.wait()
            tell(0, Reason(text="a", source="model", controls={}, verdict=VERDICT))

        page = [CONTEXTS["a"], CONTEXTS["b"]]
        slow = cached.answer(page, ["a", "b"], write=first_b_then_long_nothing, beside=NOTHING, left_s=lambda: 5.0, tell=lambda *_: None)
        first = asyncio.create_task(slow)
        await asyncio.sleep(0)
        assert await ask(cached, writer, "b") == [("b", "cache")]
        assert not first.done()
        gate.set()
        await first
        assert writer.asked == []

    run(scene)


@pytest.mark.parametrize(("kind", "value"), [("phrase", LASTING), ("content", f"content of {LASTING}")])
def test_what_was_taken_down_is_not_shown_again_from_store_or_flight_and_is_written_anew(kind: str, value: str) -> None:
    down = Standing().after([Takedown.model_validate({"kind": kind, "value": value, "by": "law", "at": "2026-11-30T00:00:00Z"})])

    async def scene(cached: Cached, writer: Writer) -> None:
        writer.offers = [LASTING, QUIET]
        assert await ask(cached, writer, "a") == [(LASTING, "model")]
        assert await ask(cached, writer, "a", standing=down) == [(QUIET, "model")]
        assert await ask(cached, writer, "a", standing=down) == [(QUIET, "cache")]
        writer.gate.clear()
        flight = asyncio.create_task(ask(cached, writer, "b"))
        await asyncio.sleep(0.01)
        joined = asyncio.create_task(ask(cached, writer, "b", standing=down))
        await asyncio.sleep(0.01)
        writer.gate.set()
        assert await flight == [(LASTING, "model")]
        assert await joined == [(QUIET, "model")]

    run(scene)


def test_what_was_taken_down_leaves_the_rest_of_the_page_as_it_was() -> None:
    down = Standing().after([Takedown.model_validate({"kind": "phrase", "value": LASTING, "by": "law", "at": "2026-11-30T00:00:00Z"})])

    async def scene(cached: Cached, writer: Writer) -> None:
        writer.offers = [LASTING]
        await ask(cached, writer, "a")
        writer.offers, writer.asked = [], []
        writer.gate.clear()
        first = asyncio.create_task(ask(cached, writer, "b"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(ask(cached, writer, "ab", standing=down))
        await asyncio.sleep(0.01)
        writer.gate.set()
        assert await first == [("b", "model")]
        assert await second == [("a", "model"), ("b", "cache")]
        assert sorted(writer.asked) == ["a", "b"]

    run(scene)
