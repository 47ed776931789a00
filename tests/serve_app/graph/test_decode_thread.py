"""The thread that owns an engine: many callers, one engine, nobody waits for ever."""

import asyncio
import threading
import time

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from common.domain.decoding import DecodingParams
from common.errors import PromptTooLong, Unavailable
from common.generation.engine import Generated, Sequence, generate
from common.generation.hf import HfEngine
from serve_app.graph.decode_thread import Crowded, DecodeThread

DECODING = DecodingParams(max_new_tokens=12)


def tiny_engine() -> HfEngine:
    torch.manual_seed(7)
    config = Qwen2Config(
        vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return HfEngine(Qwen2ForCausalLM(config).eval(), eos_ids=[1], max_len=64, slots=4)


def prompted(seed: int, length: int = 5) -> Sequence:
    return Sequence(prompt_ids=tuple(2 + (seed + i) % 38 for i in range(length)), prefix_len=0, seed=seed)


class Stuck:
    """An engine that never ends a sequence unless it is cancelled, and breaks on demand."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        self.cancelled: list[int] = []
        self.breaks = False

    def submit(self, sequence: Sequence, *, decoding: DecodingParams) -> int:
        self.running.add(sequence.seed)
        return sequence.seed

    def step(self) -> list[tuple[int, Generated]]:
        if self.breaks:
            raise RuntimeError("out of memory")
        time.sleep(0.001)
        ended, self.cancelled = self.cancelled, []
        self.running -= set(ended)
        return [(i, Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled")) for i in ended]

    def cancel(self, sequence_id: int) -> None:
        self.cancelled.append(sequence_id)

    @property
    def busy(self) -> bool:
        return bool(self.running)


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.002)


def test_pages_of_several_callers_get_what_the_bare_engine_gives_each_in_its_order() -> None:
    pages = [[prompted(10 * page + i) for i in range(page + 1)] for page in range(6)]
    alone = [generate(tiny_engine(), page, decoding=DECODING) for page in pages]
    thread = DecodeThread(tiny_engine, slots=4)

    async def together() -> list[list[Generated | Exception]]:
        return await asyncio.gather(*(thread.generate(page, decoding=DECODING) for page in pages))

    answers = asyncio.run(together())
    thread.close()
    assert [[g.ids for g in page if isinstance(g, Generated)] for page in answers] == [[g.ids for g in page] for page in alone]


def test_a_prompt_that_does_not_fit_fails_alone() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    answers = asyncio.run(thread.generate([prompted(1), prompted(2, length=60), prompted(3)], decoding=DECODING))
    thread.close()
    assert isinstance(answers[1], PromptTooLong)
    assert all(isinstance(answer, Generated) for answer in (answers[0], answers[2]))


def test_a_caller_who_gives_up_frees_its_slots_and_nobody_elses() -> None:
    engine = Stuck()
    thread = DecodeThread(lambda: engine, slots=4)

    async def give_up() -> None:
        keeps = asyncio.create_task(thread.generate([prompted(1)], decoding=DECODING))
        leaves = asyncio.create_task(thread.generate([prompted(2), prompted(3)], decoding=DECODING))
        await until(lambda: engine.running == {1, 2, 3})
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        await until(lambda: engine.running == {1})
        assert not keeps.done()
        keeps.cancel()

    asyncio.run(give_up())
    asyncio.run(until(lambda: not engine.running))
    thread.close()


def test_an_engine_that_breaks_fails_what_runs_and_what_comes_later_at_once() -> None:
    engine = Stuck()
    thread = DecodeThread(lambda: engine, slots=4)

    async def break_it() -> None:
        page = asyncio.create_task(thread.generate([prompted(1), prompted(2)], decoding=DECODING))
        await until(lambda: len(engine.running) == 2)
        engine.breaks = True
        with pytest.raises(Unavailable):
            await page
        with pytest.raises(Unavailable):
            await thread.generate([prompted(3)], decoding=DECODING)

    asyncio.run(break_it())
    assert isinstance(thread.broken, RuntimeError)


def test_what_a_sequence_takes_is_measured_and_shared_by_those_that_run_together() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    assert thread.seconds_a_sequence == 0.0
    asyncio.run(thread.generate([prompted(1)], decoding=DECODING))
    alone = thread.seconds_a_sequence
    for _ in range(5):
        asyncio.run(thread.generate([prompted(seed) for seed in range(8)], decoding=DECODING))
    thread.close()
    assert 0 < thread.seconds_a_sequence < alone


def test_cancelled_sequences_are_time_and_no_work() -> None:
    thread = DecodeThread(Stuck, slots=4)
    asyncio.run(thread.generate([prompted(1)], decoding=DECODING, within_s=0.1))
    thread.close()
    assert thread.seconds_a_sequence > 0.05


def test_closing_ends_the_thread_and_whoever_waits() -> None:
    thread = DecodeThread(Stuck, slots=4)

    async def close() -> None:
        page = asyncio.create_task(thread.generate([prompted(1)], decoding=DECODING))
        await until(lambda: thread.num_running == 1)
        await asyncio.to_thread(thread.close)
        with pytest.raises(Unavailable):
            await page

    asyncio.run(close())
    assert thread.broken is None


def test_what_an_engine_cannot_be_made_from_is_told_where_it_was_asked_for() -> None:
    def refuse() -> HfEngine:
        raise PromptTooLong("max_len")

    with pytest.raises(PromptTooLong):
        DecodeThread(refuse, slots=4)


def test_what_cannot_end_in_time_is_not_begun_and_said_at_once() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    thread.run([prompted(seed) for seed in range(12)], decoding=DECODING)
    pace_s = thread.seconds_a_sequence

    async def flood() -> tuple[list[Generated | Exception], list[Generated | Exception]]:
        page = asyncio.create_task(thread.generate([prompted(seed) for seed in range(400)], decoding=DECODING, within_s=60.0))
        await until(lambda: thread.num_running > 100)
        late = await thread.generate([prompted(1), prompted(2)], decoding=DECODING, within_s=50 * pace_s)
        assert not page.done()
        return await page, late

    page, late = asyncio.run(flood())
    thread.close()
    assert [type(result) for result in late] == [Crowded, Crowded]
    assert all(isinstance(result, Generated) and result.finish_reason != "cancelled" for result in page)


def test_a_pace_that_was_measured_on_a_bad_day_is_not_believed_for_ever() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    thread._full_pace.measure(100.0, 1)
    thread._pace.measure(100.0, 1)

    async def page() -> list[Generated | Exception]:
        return await thread.generate([prompted(seed) for seed in range(12)], decoding=DECODING, within_s=30.0)

    assert sum(isinstance(result, Crowded) for result in asyncio.run(page())) == 8, "what it is thought to do in time, which is four slots"
    thread._pace.measure(0.0, 0)
    thread.forget()
    asyncio.run(thread.generate([prompted(1)], decoding=DECODING))
    assert not any(isinstance(result, Crowded) for result in asyncio.run(page()))
    thread._full_pace.measure(100.0, 1)
    assert not any(isinstance(result, Crowded) for result in asyncio.run(page())), "what any step tells bounds it"
    thread.close()


def test_tenants_take_turns_at_the_engine() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    ended: list[str] = []

    async def ask(tenant: str, num: int) -> None:
        async for _ in thread.each([prompted(seed) for seed in range(num)], decoding=DECODING, tenant=tenant):
            ended.append(tenant)

    async def together() -> None:
        flood = asyncio.create_task(ask("a", 120))
        await until(lambda: thread.num_running > 20)
        await ask("b", 10)
        assert not flood.done()
        await flood

    asyncio.run(together())
    thread.close()
    assert ended.count("a") == 120
    assert len(ended) - ended[::-1].index("b") < 60, "ten among many do not wait for the many"


def test_groups_come_as_they_are_done_and_late_ones_as_cancelled() -> None:
    engine = Stuck()
    thread = DecodeThread(lambda: engine, slots=4)

    async def each() -> list[tuple[int, list[str]]]:
        found = []
        sequences = [prompted(seed) for seed in (1, 2, 3, 4)]
        async for number, results in thread.each(sequences, decoding=DECODING, group=2, within_s=0.3):
            found.append((number, [result.finish_reason for result in results if isinstance(result, Generated)]))
        return found

    async def played() -> list[tuple[int, list[str]]]:
        task = asyncio.create_task(each())
        await until(lambda: len(engine.running) == 4)
        engine.cancelled += [3, 4]  # as if they had ended
        return await task

    assert asyncio.run(played()) == [(1, ["cancelled"] * 2), (0, ["cancelled"] * 2)]
    thread.close()


def test_work_beside_has_the_engine_to_itself_between_steps_and_its_error_is_its_callers() -> None:
    thread = DecodeThread(tiny_engine, slots=4)
    names: list[str] = []

    def work() -> int:
        names.append(threading.current_thread().name)
        return 7

    async def ask() -> tuple[list[Generated | Exception], int]:
        return await asyncio.gather(thread.generate([prompted(1)], decoding=DECODING), thread.beside(work))

    results, made = asyncio.run(ask())
    assert (made, names) == (7, ["decode"])
    assert isinstance(results[0], Generated)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(thread.beside(lambda: 1 // 0))
    assert asyncio.run(thread.beside(work)) == 7, "and harms nobody else"
    thread.close()
    with pytest.raises(Unavailable):
        asyncio.run(thread.beside(work))
