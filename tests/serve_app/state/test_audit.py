"""What was shown is on record whatever storage does, or its number is."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.artifacts.signing import Keyring, Signer, generate_private_key, public_key
from common.artifacts.storage import FileStorage
from common.contract.audit import Entry, Lost, Place, Shown, pseudonym, read_segment
from common.contract.provenance import Aigc
from common.contract.wire import ItemReason, ItemVerdict, ReasonsRequest, ReasonsResponse
from common.errors import ConfigError, StorageUnreachable
from serve_app.config import AuditConfig
from serve_app.state.audit import AuditLog, open_audit

SECRET = b"0123456789abcdef0123456789abcdef"
PRIVATE = generate_private_key()
KEYS = Keyring.of_pems([public_key(PRIVATE)])
REQUEST = ReasonsRequest.model_validate({"user": {"user_id": "u1"}, "items": [{"product_id": "p1"}]})


class Flaky(FileStorage):
    """Fails as long as it is told to, `before` or `after` the bytes are kept."""

    fails: str | None = None

    def put(self, key: str, data: bytes, *, create_only: bool = False) -> None:
        if self.fails != "before":
            super().put(key, data, create_only=create_only)
        if self.fails:
            raise StorageUnreachable("no route to the bucket")


@pytest.fixture
def storage(tmp_path: Path) -> Flaky:
    return Flaky(tmp_path)


def log_in(storage: Flaky, *, pending: int = 1000, day: int = 30) -> AuditLog:
    return AuditLog(storage, secret=SECRET, signer=Signer(PRIVATE), pending=pending, now=lambda: datetime(2026, 11, day, 8, 0, tzinfo=UTC))


def page(text: str) -> ReasonsResponse:
    label = Aigc(label=1, display="AI生成", producer="shop", produce_id=text)
    verdict = ItemVerdict(accepted=True, score=0.5, checks={})
    item = ItemReason(product_id="p1", status="ok", text=text, source="model", controls={}, verdict=verdict, aigc=label, revision="r")
    return ReasonsResponse(request_id="r", bundle_id="b1", policy_version="v1", degraded=False, items=(item,))


def note(log: AuditLog, *texts: str) -> None:
    for text in texts:
        log.note(REQUEST, page(text), tenant="shop")


def flushed(log: AuditLog) -> bool:
    return asyncio.run(log.flush())


def read(storage: Flaky) -> list[Entry]:
    """Everything on record, one chain after the other, checked."""
    found: list[Entry] = []
    place: Place | None = None
    for key in storage.list():
        if place is not None and key.split("/")[1] != place.chain:
            place = None
        entries, place = read_segment(storage.get(key), place=place, keys=KEYS)
        found += entries
    return found


def texts(storage: Flaky) -> list[str]:
    return [one.text if isinstance(one, Shown) else f"{one.count} lost" for one in read(storage)]


def test_the_channel_is_on_record_and_what_the_user_looked_for_is_not(storage: Flaky) -> None:
    log, query = log_in(storage), "送女友的耳机"
    asked = REQUEST.model_copy(update={"channel": "search", "query": query})
    log.note(asked, page("一"), tenant="shop")
    assert flushed(log)
    assert [one.channel for one in read(storage) if isinstance(one, Shown)] == ["search"]
    assert not any(query.encode() in storage.get(key) for key in storage.list())


def test_texts_are_on_record_in_order_under_a_pseudonym(storage: Flaky) -> None:
    log = log_in(storage)
    note(log, "一", "二")
    assert flushed(log)
    note(log, "三")
    assert flushed(log)
    assert flushed(log), "nothing waits, and nothing is written"
    assert texts(storage) == ["一", "二", "三"]
    assert [key.split("/")[0] for key in storage.list()] == ["2026-11-30"] * 2
    assert {one.user for one in read(storage) if isinstance(one, Shown)} == {pseudonym("u1", tenant="shop", secret=SECRET)}
    assert not any(b"u1" in storage.get(key) for key in storage.list())


@pytest.mark.parametrize("fails", ["before", "after"])
def test_while_storage_fails_texts_wait_and_none_is_lost_or_written_twice(storage: Flaky, fails: str) -> None:
    log = log_in(storage)
    note(log, "一")
    storage.fails = fails
    assert not flushed(log)
    note(log, "二")
    assert not flushed(log)
    storage.fails = None
    assert flushed(log)
    assert texts(storage) == ["一", "二"]


def test_of_texts_beyond_what_may_wait_the_number_is_on_record(storage: Flaky) -> None:
    log = log_in(storage, pending=2)
    note(log, "一", "二", "三", "四")
    assert flushed(log)
    assert texts(storage) == ["一", "二", "2 lost"]
    assert [one.count for one in read(storage) if isinstance(one, Lost)] == [2]


def test_two_replicas_keep_two_chains(storage: Flaky) -> None:
    for log in (log_in(storage), log_in(storage)):
        note(log, "一")
        assert flushed(log)
    assert len({key.split("/")[1] for key in storage.list()}) == 2
    assert texts(storage) == ["一", "一"]


def test_it_is_written_by_itself_every_so_often(storage: Flaky) -> None:
    async def served() -> None:
        log = log_in(storage)
        writing = asyncio.create_task(log.run(every_s=0.01))
        note(log, "一")
        async with asyncio.timeout(10):
            while not storage.list():
                await asyncio.sleep(0.01)
        writing.cancel()

    asyncio.run(served())
    assert texts(storage) == ["一"]


def test_a_secret_that_is_missing_or_short_is_named(tmp_path: Path) -> None:
    assert open_audit(AuditConfig(), signer=None) is None
    with pytest.raises(ConfigError, match=r"audit\.secret: .*absent"):
        open_audit(AuditConfig(to=str(tmp_path / "record"), secret=str(tmp_path / "absent")), signer=None)
    (tmp_path / "short").write_text("abc\n")
    with pytest.raises(ConfigError, match=r"audit\.secret: .*got 3 bytes"):
        open_audit(AuditConfig(to=str(tmp_path / "record"), secret=str(tmp_path / "short")), signer=None)
    with pytest.raises(ValueError, match="to is set and secret is not"):
        AuditConfig(to=str(tmp_path))
