import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.domain.context import Context
from common.domain.product import Product
from common.domain.reason import CheckResult, QualityVerdict, Reason
from common.errors import BundleMismatch, PromptTooLong, Unavailable
from common.generation.acceptance import Bar
from common.generation.answer import AnswerPolicy, Fill, answer
from common.generation.candidates import Candidate
from common.quality.variety import Shown


def context(number: int) -> Context:
    product = Product(product_id=f"p{number}", title=f"商品{number}", category="蓝牙耳机")
    return Context(product=product, controls={"style": "concise"} if number % 2 else {})


def candidate(text: str) -> Candidate:
    return Candidate(text=text, ids=(1,), num_tokens=1, mean_logprob=-1.0, min_logprob=-1.0, features=None)


def verdict(accepted: bool, score: float | None = None) -> QualityVerdict:
    return QualityVerdict(accepted=accepted, score=score, checks={"facts": CheckResult(name="facts", passed=accepted)})


def fill(of: Context) -> tuple[str, QualityVerdict]:
    return f"{of.product.product_id} 模板", verdict(True)


class Model:
    """A text names its product, attempt and number; it is accepted when `good` holds (attempt, number) for its product."""

    def __init__(self, good: dict[str, set[tuple[int, int]]] | None = None) -> None:
        self.good = good or {}
        self.asked: list[tuple[int, list[int]]] = []

    async def write(self, items, *, k, attempt):
        self.asked.append((attempt, [index for index, _ in items]))
        return [[candidate(f"{c.product.product_id} {attempt} {number}") for number in range(k)] for _, c in items]

    async def judge(self, contexts, candidates):
        return [[self._verdict(c, one.text) for one in own] for c, own in zip(contexts, candidates, strict=True)]

    def _verdict(self, of: Context, text: str) -> QualityVerdict:
        product_id, attempt, number = text.split()
        assert product_id == of.product.product_id, "a text judged against another product"
        return verdict((int(attempt), int(number)) in self.good.get(product_id, set()), score=0.1 * int(number))


def run(contexts, model, *, clock=lambda: 0.0, deadline_s=math.inf, fill: Fill = fill, beside=None, tell=None, **policy) -> list[Reason]:
    settings = AnswerPolicy(**{"k": 3, "max_attempts": 2, "expected_s": 0.5} | policy)
    return asyncio.run(
        answer(
            contexts,
            write=model.write,
            judge=model.judge,
            fill=fill,
            clock=clock,
            deadline_s=deadline_s,
            policy=settings,
            beside=beside,
            **({"tell": tell} if tell else {}),
        )
    )


def test_the_best_accepted_candidate_is_shown():
    model = Model({"p1": {(0, 0), (0, 2)}})
    assert run([context(1)], model) == [
        Reason(text="p1 0 2", source="model", controls={"style": "concise"}, verdict=verdict(True, 0.2), attempts=1)
    ]


def test_only_undecided_items_are_written_again():
    model = Model({"p0": {(0, 0)}, "p1": {(1, 1)}, "p2": {(0, 1)}})
    reasons = run([context(n) for n in range(4)], model)
    assert model.asked == [(0, [0, 1, 2, 3]), (1, [1, 3])]
    assert [(r.text, r.source, r.attempts, r.degraded) for r in reasons] == [
        ("p0 0 0", "model", 1, None),
        ("p1 1 1", "model", 2, None),
        ("p2 0 1", "model", 1, None),
        ("p3 模板", "template", 2, "no_candidate_accepted"),
    ]


def test_an_empty_page_asks_nobody():
    model = Model()
    assert run([], model) == []
    assert model.asked == []


def test_no_round_is_begun_that_would_not_end_in_time():
    model = Model({"p0": {(1, 0)}})
    times = iter([0.0, 0.0, 0.8, 0.8, 0.8])
    reasons = run([context(0)], model, clock=lambda: next(times), deadline_s=1.0)
    assert [(r.text, r.attempts, r.degraded) for r in reasons] == [("p0 模板", 1, "deadline")]


def test_a_page_without_time_is_answered_by_templates_at_once():
    model = Model()
    assert [(r.text, r.attempts, r.degraded) for r in run([context(0)], model, deadline_s=0.1)] == [("p0 模板", 0, "deadline")]
    assert model.asked == []


def test_a_writer_that_hangs_is_cut_off_before_the_deadline():
    cancelled = []

    class Hanging(Model):
        async def write(self, items, *, k, attempt):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(attempt)
                raise

    reasons = run([context(0), context(1)], Hanging(), deadline_s=0.05, expected_s=0.01)
    assert [(r.text, r.attempts, r.degraded) for r in reasons] == [("p0 模板", 1, "deadline"), ("p1 模板", 1, "deadline")]
    assert cancelled == [0]


@pytest.mark.parametrize("broken", ["write", "judge"])
def test_an_engine_that_cannot_be_reached_leads_to_templates_that_say_so(broken):
    async def fails(*args, **kwargs):
        raise Unavailable("no replica")

    model = Model()
    setattr(model, broken, fails)
    assert [(r.text, r.source, r.degraded) for r in run([context(0)], model)] == [("p0 模板", "template", "engine_unavailable")]


def test_an_error_that_trying_again_cannot_mend_rises():
    async def fails(*args, **kwargs):
        raise BundleMismatch("prompt v1, this build has v2")

    model = Model()
    model.write = fails
    with pytest.raises(BundleMismatch):
        run([context(0)], model)


def test_an_item_that_is_wrong_in_itself_costs_its_neighbours_nothing():
    class Strict(Model):
        async def write(self, items, *, k, attempt):
            if any(c.product.product_id == "p1" for _, c in items):
                raise PromptTooLong("product p1: 5,000 tokens")
            return await super().write(items, k=k, attempt=attempt)

    model = Strict({"p0": {(0, 0)}, "p2": {(1, 2)}})
    reasons = run([context(n) for n in range(3)], model)
    assert [(r.text, r.degraded) for r in reasons] == [("p0 0 0", None), ("p1 模板", "prompt_too_long"), ("p2 1 2", None)]


def test_an_item_for_which_nothing_was_written_in_time_is_asked_for_again():
    class Slow(Model):
        async def write(self, items, *, k, attempt):
            return [[] for _ in items] if attempt == 0 else await super().write(items, k=k, attempt=attempt)

    assert [r.text for r in run([context(0)], Slow({"p0": {(1, 0)}}))] == ["p0 1 0"]


@given(
    st.lists(st.integers(0, 6), max_size=12),
    st.dictionaries(st.sampled_from([f"p{n}" for n in range(7)]), st.sets(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=3)),
    st.lists(st.sampled_from(["fine", "unavailable", "too_long", "nothing"]), max_size=4),
    st.floats(0, 3),
)
def test_no_item_is_lost_or_moved_whatever_happens(numbers, good, weather, time_s):
    """The same product may stand on a page twice; each round takes a second."""

    class Weathered(Model):
        async def write(self, items, *, k, attempt):
            sky = weather[attempt] if attempt < len(weather) else "fine"
            if sky == "unavailable":
                raise Unavailable("gone")
            if sky == "too_long" and len(items) > 1 and any(c.product.product_id == "p3" for _, c in items):
                raise PromptTooLong("p3")
            written = await super().write(items, k=k, attempt=attempt)
            return [[] for _ in items] if sky == "nothing" else written

    contexts = [context(number) for number in numbers]
    model = Weathered(good)
    reasons = run(contexts, model, clock=lambda: float(len(model.asked)), deadline_s=time_s, max_attempts=3)
    assert [reason.text.split()[0] for reason in reasons] == [of.product.product_id for of in contexts]
    assert [reason.controls for reason in reasons] == [of.controls for of in contexts]
    for reason in reasons:
        assert (reason.source == "template") == (reason.degraded is not None)
        assert reason.verdict.accepted


class Says(Model):
    """Every candidate is accepted; `texts` are what each attempt offers any product, best last."""

    def __init__(self, *texts: list[str]) -> None:
        super().__init__()
        self.texts = texts

    async def write(self, items, *, k, attempt):
        self.asked.append((attempt, [index for index, _ in items]))
        return [[candidate(text) for text in self.texts[attempt]] for _ in items]

    async def judge(self, contexts, candidates):
        return [[verdict(True, score=0.1 * at) for at, _ in enumerate(own)] for own in candidates]


class Beside:
    """A page on which no two texts read alike, and from which some were taken down."""

    def __init__(self, *texts: str, down: Sequence[str] = ()) -> None:
        self.shown, self.down = Shown(texts), down

    def bars(self, context: Context, text: str) -> Bar | None:
        return "taken_down" if text in self.down else "too_alike" if self.shown.has_like(text) else None

    def add(self, text: str) -> None:
        self.shown.add(text)


LASTING, QUIET, LIGHT = "续航30小时，通勤够用。", "降噪安静，听歌不吵。", "机身很轻，戴着不累。"


def test_a_varied_page_takes_the_next_best_writes_again_and_says_when_all_are_alike():
    model = Says([QUIET, LASTING], [LASTING, LIGHT])
    reasons = run([context(n) for n in range(4)], model, beside=Beside())
    assert [(r.text, r.attempts, r.degraded) for r in reasons] == [
        (LASTING, 1, None),
        (QUIET, 1, None),
        (LIGHT, 2, None),
        ("p3 模板", 2, "too_alike"),
    ]
    assert [r.text for r in run([context(n) for n in range(2)], Says([QUIET, LASTING]))] == [LASTING, LASTING]


def test_what_a_page_shows_already_counts_too():
    page = Beside(LASTING)
    assert [reason.text for reason in run([context(1)], Says([QUIET, LASTING]), max_attempts=1, beside=page)] == [QUIET]
    assert page.bars(context(2), QUIET) == "too_alike", "and what is accepted counts from then on"


def test_what_was_taken_down_is_not_shown_and_the_next_best_is():
    beside = Beside(down=[LASTING])
    assert [reason.text for reason in run([context(1)], Says([QUIET, LASTING]), max_attempts=1, beside=beside)] == [QUIET]
    (reason,) = run([context(1)], Says([LASTING]), max_attempts=1, beside=Beside(down=[LASTING]))
    assert (reason.source, reason.degraded) == ("template", "taken_down")


def test_an_item_that_was_not_begun_says_so_and_is_not_asked_for_again():
    class Crowded(Model):
        async def write(self, items, *, k, attempt):
            return [own if at < 1 else None for at, own in enumerate(await super().write(items, k=k, attempt=attempt))]

    model = Crowded({"p0": {(0, 0)}, "p1": {(0, 0)}})
    reasons = run([context(0), context(1)], model)
    assert [(r.text, r.attempts, r.degraded) for r in reasons] == [("p0 0 0", 1, None), ("p1 模板", 1, "overloaded")]
    assert len(model.asked) == 1


def test_each_reason_is_told_when_it_is_accepted_and_not_at_the_end():
    model, told = Model({"p0": {(1, 0)}, "p1": {(0, 0)}}), []
    reasons = run([context(0), context(1)], model, tell=lambda at, reason: told.append((at, reason.text, len(model.asked))))
    assert told == [(1, "p1 0 0", 1), (0, "p0 1 0", 2)]
    assert [reason.text for reason in reasons] == ["p0 1 0", "p1 0 0"]
