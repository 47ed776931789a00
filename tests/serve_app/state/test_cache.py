"""A kept reason is found under what it was written from and nothing else, for as long as it may be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from common.domain.constraints import Constraints
from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.domain.reason import CheckResult, Claim, QualityVerdict, Reason
from common.errors import ConfigError
from serve_app.config import CacheConfig
from serve_app.state.cache import Kept, MemoryStore, cache_key, kept, open_store, reason_of

PRODUCT = Product(
    product_id="p1", title="静音耳机", category="蓝牙耳机", attributes=(Attribute(key="续航", value="30小时"),), price=money(299)
)
SEEN = BehaviorSummary(last_viewed=ProductMention(product_id="p2", title="跑鞋", category="跑鞋"), num_events=1)
CONTEXT = Context(product=PRODUCT, behavior=SEEN, controls={"style": "concise"}, persona="通勤族", channel="list")
VERDICT = QualityVerdict(
    accepted=True,
    score=0.8,
    checks={"facts": CheckResult(name="facts", passed=True)},
    claims=(Claim(kind="number", text="30小时", span=(2, 6), supported=True, source="product.attributes.续航"),),
    policy_version="v1",
)
ENTRY = Kept(text="续航30小时，通勤够用。", verdict=VERDICT, attempts=1)


class Time:
    s = 0.0

    def __call__(self) -> float:
        return self.s


def key(context: Context = CONTEXT, **changes: Any) -> str:
    return cache_key(context, **({"tenant": "a", "bundle_id": "b1", "policy_version": "v1", "answering": "4 of 2"} | changes))


OF_PRODUCT: list[dict[str, Any]] = [
    {"price": money(298)},
    {"title": "耳机"},
    {"attributes": ()},
    {"description": "新"},
    {"rating": 4.5},
]
OF_CONTEXT: list[dict[str, Any]] = [
    {"behavior": BehaviorSummary()},
    {"controls": {"style": "detailed"}},
    {"controls": {}},
    {"persona": None},
    {"channel": None},
]
CHANGES = [CONTEXT.model_copy(update={"product": PRODUCT.model_copy(update=change)}) for change in OF_PRODUCT]
CHANGES += [CONTEXT.model_copy(update=change) for change in OF_CONTEXT]
OTHERS: list[dict[str, Any]] = [{"tenant": "b"}, {"tenant": None}, {"bundle_id": "b2"}, {"policy_version": "v2"}, {"answering": "1 of 1"}]


@pytest.mark.parametrize("context", CHANGES, ids=range(len(CHANGES)))
def test_whatever_a_reason_was_written_from_is_in_its_key(context: Context) -> None:
    assert key(context) != key()


@pytest.mark.parametrize(
    "change", [{"tenant": "b"}, {"tenant": None}, {"bundle_id": "b2"}, {"policy_version": "v2"}, {"answering": "1 of 1"}], ids=str
)
def test_so_is_who_asked_which_bundle_and_policy_answered_and_how(change: dict[str, Any]) -> None:
    assert key(**change) != key() == key()


def test_what_is_found_says_that_it_was_kept_and_has_the_verdict_it_had() -> None:
    reason = Reason(text=ENTRY.text, source="model", controls=CONTEXT.controls, verdict=VERDICT, attempts=1)
    assert kept(reason) == ENTRY
    assert reason_of(ENTRY, CONTEXT) == reason.model_copy(update={"source": "cache"})


def test_memory_forgets_what_is_old_and_what_was_used_longest_ago() -> None:
    moment = Time()
    store = MemoryStore(max_entries=2, lifetime_s=60, clock=moment)

    async def use() -> list[set[str]]:
        await store.put({"a": ENTRY, "b": ENTRY})
        await store.get(["a"])
        await store.put({"c": ENTRY})
        full = await store.get(["a", "b", "c"])
        moment.s = 60.1
        return [set(full), set(await store.get(["a", "b", "c"]))]

    assert asyncio.run(use()) == [{"a", "c"}, set()]


def test_nothing_is_kept_where_nothing_may_be_and_redis_wants_a_secret(tmp_path: Path) -> None:
    assert open_store(CacheConfig(max_entries=0)) is None
    assert isinstance(open_store(CacheConfig()), MemoryStore)
    with pytest.raises(ValueError, match="redis is set and secret is not"):
        CacheConfig(redis="redis-url")
    (tmp_path / "short").write_text("abc")
    with pytest.raises(ConfigError, match=r"cache\.secret: .*got 3 bytes"):
        open_store(CacheConfig(redis="redis-url", secret=str(tmp_path / "short")))


@pytest.mark.parametrize("text", [None, "valkeys://app:S3cret@host"])
def test_a_file_without_a_redis_is_named_and_its_password_is_not_shown(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    if text is not None:
        (tmp_path / "url").write_text(text)
    with pytest.raises(ConfigError, match=r"cache\.redis: .*url") as caught:
        open_store(CacheConfig(redis=str(tmp_path / "url"), secret=str(tmp_path / "secret")))
    assert "S3cret" not in str(caught.value)


def test_what_an_item_asks_of_its_text_is_in_its_key_and_so_is_what_a_query_wishes_for() -> None:
    asked = [
        {"constraints": Constraints(must_mention=("真丝",))},
        {"constraints": Constraints(must_avoid=("真丝",))},
        {"constraints": Constraints(max_chars=40)},
        {"wished": ("product.price",)},
        {"wished": ("product.price", "product.category")},
    ]
    keys = {key(CONTEXT.model_copy(update=change)) for change in asked}
    assert len(keys | {key()}) == len(asked) + 1


def test_a_context_without_them_is_told_as_it_was_before_there_were_any() -> None:
    assert not {"constraints", "wished"} & CONTEXT.model_dump(mode="json").keys()
