"""A small shop behind the real API on a real port: its writer's sentences are known, and what judges, signs and answers is what serves."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from common.artifacts.signing import Keyring, Signer, generate_private_key, public_key
from common.contract.deadline import Deadline
from common.contract.takedown import Standing
from common.contract.vouching import Voucher
from common.contract.wire import ItemReason, ModelsResponse, ReasonsRequest, ReasonsResponse
from common.domain.context import Context
from common.domain.reason import QualityVerdict
from common.errors import LiyouError
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.generation.answer import Written
from common.generation.candidates import Candidate
from common.quality.verdict import Checker
from serve_app.config import AnswerConfig
from serve_app.graph.features_deployment import Features
from serve_app.graph.ingress import policy_of
from serve_app.graph.page import LeftS, Page
from serve_app.http.api import create_api
from serve_app.http.doors import Caller, Doors
from serve_app.http.lines import TellItem
from serve_app.state.api_keys import ApiKey, KeyFile, KeyStore, digest, new_key
from serve_app.state.counters import Counters
from serve_app.state.live import STARTER, read_live
from serve_app.web.shelf import Shelf
from serve_app.web.storefront import storefront

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> 保温杯"
PRODUCTS: list[dict[str, Any]] = [
    {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "attributes": {"品牌": "云朵", "续航": "30小时"}, "price": 299.0},
    {"product_id": "p2", "title": "轻云跑鞋", "category": "跑鞋", "attributes": {"品牌": "轻云"}, "price": 499.5},
    {"product_id": "p3", "title": HOSTILE, "category": "保温杯"},
    {"product_id": "p4", "title": "ANC Headphones 头戴耳机", "category": "头戴耳机"},
    *({"product_id": f"t{n:02d}", "title": f"云杉{n}号台灯", "category": "台灯", "attributes": {"功率": f"{n}瓦"}} for n in range(11)),
]
SHORT = "😀云朵这款蓝牙耳机续航30小时，只要299元，用得上。"
LONG = "云朵这款蓝牙耳机续航30小时，通勤路上一直有歌听，只要299元，放在包里不占地方，随时拿出来就好。"
KNOWN = "看过轻云跑鞋的你，跑步时配这副云朵蓝牙耳机正合适。"
PLAIN = "这款每天都用得上，放在手边随时拿起来就好。"
UNLAWFUL = "全国第一的保温杯，治愈一切，包你满意。"


def sentence(context: Context) -> str:
    if context.product.product_id == "p3":
        return UNLAWFUL
    if context.product.product_id != "p1":
        return PLAIN
    if context.behavior.last_viewed:
        return KNOWN
    return LONG if context.controls.get("style") == "detailed" else SHORT


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("small-shop")
    events = [
        {"event_id": f"{user}-{n}", "user_id": user, "product_id": "p2", "kind": "view", "at": f"2026-05-01T12:{n:02d}:00+08:00"}
        for user, count in (("u-much", 9), ("u-some", 3), ("u-once", 1))
        for n in range(count)
    ]
    for name, rows in (("products", [product | {"currency": "CNY"} for product in PRODUCTS]), ("events", events)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    build_snapshot(folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


@dataclass
class SmallShop:
    """Served; what its tests turn: who fails, what is held back, what was taken down, what the calendar says."""

    snapshot: Snapshot
    url: str = ""

    def __post_init__(self) -> None:
        self.turn_back()
        self.live = read_live(STARTER)
        private = generate_private_key()
        self.keys = Keyring.of_pems([public_key(private)])
        self.features = Features(self.snapshot, checker=Checker(self.live.pack), now=lambda: datetime.now(UTC))
        self.checker = Checker(self.live.pack)
        self.page = Page(
            live=self.live,
            hops=self,
            checker=self.checker,
            policy=policy_of(self.live, AnswerConfig(k=1, max_attempts=1, expected_s=0.01)),
            varied=False,
            producer="small shop",
            clock=time.monotonic,
            voucher=Voucher(Signer(private), lifetime_s=3600),
            standing=lambda: self.standing,
        )

    def turn_back(self) -> None:
        self.fail: list[LiyouError] = []
        """raised in turn, each for one page"""
        self.break_off: LiyouError | None = None
        """ends a page of lines after its first"""
        self.held = False
        """after its first, a page's lines wait"""
        self.standing = Standing()
        self.later_s = 0.0

    async def contexts(self, request: ReasonsRequest, *, policy: str | None, left_s: LeftS) -> list[Context | ItemReason]:
        return self.features.contexts(request)

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: str | None, left_s: LeftS) -> list[Written]:
        return [[Candidate(sentence(one), ids=(1,), num_tokens=1, mean_logprob=0, min_logprob=0, features=None)] for one in contexts]

    async def each(
        self, contexts: Sequence[Context], *, k: int, attempt: int, tenant: str | None, left_s: LeftS
    ) -> AsyncIterator[tuple[int, Written]]:
        written = await self.write(contexts, k=k, attempt=attempt, tenant=tenant, left_s=left_s)
        for at in range(len(written)):
            yield at, written[at]
            while self.held:
                await asyncio.sleep(0.01)

    async def judge(
        self, contexts: Sequence[Context], candidates: Sequence[Sequence[Candidate]], *, policy: str | None, left_s: LeftS
    ) -> list[list[QualityVerdict]]:
        return [
            [self.checker.judge(candidate.text, context=context, score=0.9) for candidate in own]
            for context, own in zip(contexts, candidates, strict=True)
        ]

    async def answer(
        self,
        request: ReasonsRequest,
        *,
        request_id: str,
        deadline: Deadline,
        caller: Caller,
        explain: bool = False,
        tell: TellItem | None = None,
    ) -> ReasonsResponse:
        if self.fail:
            raise self.fail.pop(0)

        told: list[int] = []

        def telling(at: int, item: ItemReason) -> None:
            assert tell
            if told and self.break_off:
                raise self.break_off
            told.append(at)
            tell(at, item)

        return await self.page.answer(request, request_id=request_id, deadline=deadline, tell=telling if tell else None)

    async def ready(self) -> None:
        return None

    async def models(self) -> ModelsResponse:
        return ModelsResponse(models=(self.live.card(),))

    def app(self, *, doors: Doors | None = None) -> Any:
        entry = doors or Doors(None, Counters(None, local_share=1, clock=time.monotonic, now=time.time), now=time.time)
        app = create_api(
            self.answer,
            ready=self.ready,
            models=self.models,
            keys=self.keys,
            doors=entry,
            standing=lambda: self.standing,
            now=lambda: time.time() + self.later_s,
        )
        app.include_router(storefront(Shelf(self.snapshot, self.live.pack.vocabulary), doors=entry))
        return app


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Its URL, on a port of its own, in a thread."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def served(snapshot: Snapshot) -> Iterator[SmallShop]:
    """Once: to read a pack and to compile its checks takes seconds."""
    shop = SmallShop(snapshot)
    with listening(shop.app()) as shop.url:
        yield shop


@pytest.fixture
def shop(served: SmallShop) -> Iterator[SmallShop]:
    yield served
    served.turn_back()


@pytest.fixture
def guarded_shop(shop: SmallShop, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The same, where a key is asked for: its URL, and the key."""
    key, file = new_key(), tmp_path / "keys.json"
    file.write_text(KeyFile(keys=(ApiKey(name="staff", tenant="shop", sha256=digest(key)),)).model_dump_json(), encoding="utf-8")
    counters = Counters(None, local_share=1, clock=time.monotonic, now=time.time)
    with listening(shop.app(doors=Doors(KeyStore(file, clock=time.monotonic), counters, now=time.time))) as url:
        yield url, key
