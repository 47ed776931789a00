"""Orders are followed while pages are answered; storage that is away changes nothing of what is known."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.artifacts.storage import FileStorage
from common.contract.takedown import Lift, Standing, Takedown
from common.errors import ConfigError, StorageUnreachable, Tampered
from serve_app.state import following
from serve_app.state.takedown import Takedowns, begin, give_order, key_of, read_orders

AT = datetime(2026, 11, 30, tzinfo=UTC)


def order(value: str) -> Takedown:
    return Takedown(kind="phrase", value=value, by="law", at=AT)


class Gone(FileStorage):
    """Storage that can be taken away."""

    away = False

    def exists(self, key: str) -> bool:
        if self.away:
            raise StorageUnreachable("no route to host")
        return super().exists(key)

    def get(self, key: str) -> bytes:
        if self.away:
            raise StorageUnreachable("no route to host")
        return super().get(key)


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.002)


def test_an_order_stands_soon_and_whoever_keeps_texts_is_told_once(tmp_path: Path) -> None:
    storage, told = Gone(tmp_path), []
    begin(storage)
    give_order(storage, order("旧的说法"))

    async def follow() -> None:
        takedowns = Takedowns(storage)
        assert takedowns.standing.of_text("旧的说法") == 1, "known before the first page is answered"

        async def purge() -> None:
            told.append(takedowns.standing.last)

        task = asyncio.create_task(following.follow("takedowns", takedowns.refresh, every_s=0.01, on_new=purge))
        assert give_order(storage, order("新的说法")) == 2
        await until(lambda: told == [2])
        assert takedowns.standing.of_text("新的说法") == 2
        storage.away = True
        await asyncio.sleep(0.05)
        assert takedowns.standing.of_text("新的说法") == 2, "storage that is away changes nothing"
        storage.away = False
        give_order(storage, Lift(number=2, by="law", at=AT))
        await until(lambda: told == [2, 3])
        assert takedowns.standing.of_text("新的说法") is None
        task.cancel()

    asyncio.run(follow())


def test_a_replica_that_cannot_read_the_orders_does_not_start(tmp_path: Path) -> None:
    storage = Gone(tmp_path)
    with pytest.raises(ConfigError, match="is it the right place"):
        Takedowns(storage)
    assert begin(storage)
    assert not begin(storage), "twice is no harm"
    storage.away = True
    with pytest.raises(StorageUnreachable):
        Takedowns(storage)


def test_a_volume_that_goes_away_while_orders_are_followed_is_not_taken_for_silence(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    begin(storage)
    give_order(storage, order("旧的说法"))
    takedowns = Takedowns(storage)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    with pytest.raises(ConfigError):
        asyncio.run(takedowns.refresh())
    assert takedowns.standing.of_text("旧的说法") == 1


def test_an_order_that_this_build_cannot_read_holds_up_no_other(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    begin(storage)
    give_order(storage, order("旧的说法"))
    storage.put(key_of(2), b'{"order": "takedown", "kind": "galaxy", "value": "x", "by": "a", "at": "2030-01-01T00:00:00Z"}')
    storage.put(key_of(3), order("新的说法").model_dump_json().encode())
    standing = Takedowns(storage).standing
    assert (standing.of_text("旧的说法"), standing.of_text("新的说法"), standing.last) == (1, 3, 3)


def test_what_is_no_order_is_named(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.put(key_of(1), b'{"order": "takedown", "kind": "everything"}')
    with pytest.raises(Tampered, match="takedowns/00000001"):
        read_orders(storage, Standing())


def test_two_who_order_at_once_both_stand(tmp_path: Path) -> None:
    class Raced(FileStorage):
        def put(self, key: str, data: bytes, *, create_only: bool = False) -> None:
            if not self.exists(key_of(1)):
                super().put(key_of(1), order("别人的").model_dump_json().encode(), create_only=True)
            super().put(key, data, create_only=create_only)

    assert give_order(Raced(tmp_path), order("自己的")) == 2
    assert [one.value for one in read_orders(FileStorage(tmp_path), Standing()).takedowns.values()] == ["别人的", "自己的"]
