"""Pages that flow while something is broken: an open loop in a thread of its own, and its history afterwards."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType

from cluster.bench.faults.history import Promise
from cluster.bench.faults.scene import DEADLINE_MS, Scene
from cluster.load.drive import Outcome, drive
from cluster.load.plan import Item, plan
from common.contract.wire import ReasonsResponse

LONGEST_S = 420.0
NUM_PRODUCTS = 4000
CATEGORIES = ("蓝牙耳机", "跑鞋", "保温杯", "台灯", "双肩包")
BRANDS = ("星野", "轻云", "追风", "禾木")


class Traffic:
    """`with Traffic(scene, name="F1") as traffic:`, and what came back in `traffic.pages` when the block has ended."""

    def __init__(
        self,
        scene: Scene,
        *,
        name: str,
        rate: float = 1.0,
        items: int = 2,
        key: str = "flow",
        found_wrong: Callable[[ReasonsResponse], str] | None = None,
    ) -> None:
        """`rate`: pages a second. `name` begins the ids of its products, which are in no other traffic."""
        self._scene, self._key, self._found_wrong = scene, key, found_wrong or scene.wrong
        sizes, kinds = {items: 1.0}, products(name)
        self._plan = plan(rate=rate, duration_s=LONGEST_S, arrivals="poisson", sizes=sizes, items=kinds, users=[], seed=len(name))
        self._enough, self._zero_s = threading.Event(), 0.0
        self._thread = threading.Thread(target=self._drive, name=f"traffic {name}")
        self._policies = {scene.policy()}
        self.pages: list[Outcome] = []

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._enough.set()
        self._thread.join()

    def flow(self, seconds: float) -> float:
        """Lets it flow; the moment then, in seconds since its first page was due."""
        time.sleep(seconds)
        return self.now_s()

    def now_s(self) -> float:
        return time.monotonic() - self._zero_s

    def promise(self) -> Promise:
        """What is promised of its pages, if nothing was excused."""
        return Promise(bundles={self._scene.bundle_id}, policies=self._policies, deadline_s=DEADLINE_MS / 1000)

    def _drive(self) -> None:
        self.pages = asyncio.run(
            drive(
                self._plan,
                url=self._scene.url,
                key=self._scene.keys[self._key],
                deadline_ms=DEADLINE_MS,
                found_wrong=self._found_wrong,
                enough=self._enough.is_set,
                clock=self._clock,
            )
        )

    def _clock(self) -> float:
        """Its first reading is 0, so that faults and pages have one clock."""
        self._zero_s = self._zero_s or time.monotonic()
        return self.now_s()


def products(name: str, count: int = NUM_PRODUCTS) -> list[Item]:
    """As many that differ, of a few kinds that the starter knows."""
    return [
        {
            "product": {
                "product_id": f"{name}-{number:05d}",
                "title": f"{BRANDS[number % len(BRANDS)]}{CATEGORIES[number % len(CATEGORIES)]}",
                "category": CATEGORIES[number % len(CATEGORIES)],
                "attributes": {"品牌": BRANDS[number % len(BRANDS)], "颜色": ("黑色", "白色", "蓝色")[number % 3]},
                "price": 99 + number,
            }
        }
        for number in range(count)
    ]
