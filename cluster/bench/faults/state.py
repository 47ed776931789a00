"""F9, F29, F30: what serving keeps elsewhere and trusts only so far: a Redis, the machine's clock, a reason that was kept or sent on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import redis

from cluster import LiyouClient
from cluster.bench.faults.matrix import Seen, seen, unless
from cluster.bench.faults.scene import COUNTED_PER_MINUTE, LOCAL_SHARE, Scene, scene
from cluster.bench.faults.traffic import Traffic, products
from common.contract.vouching import SKEW_S
from common.contract.wire import KeysResponse, ReasonsResponse
from common.errors import Unavailable
from serve_app.telemetry.metrics import REDIS_FAILURES

NUM_REPLICAS = 2
AWAY_S = 10.0
IN_A_ROW = 10
SLIDES = 2
"""Items that a minute's window gives back while they are asked for."""
LIFETIME_S = 3600
KEPT = "liyou:reason:"


def redis_away(scene: Scene) -> Seen:
    assert scene.redis is not None
    with Traffic(scene, name="F9") as traffic:
        traffic.flow(3.0)
        scene.redis.hang()
        hung_s = traffic.flow(1.0)
        hung = _granted(scene, "hung")
        traffic.flow(AWAY_S)
        scene.redis.go_on()
        traffic.flow(7.0)  # it is asked again after five seconds
        scene.redis.kill()
        killed_s = traffic.flow(1.0)
        gone = _granted(scene, "gone")
        traffic.flow(AWAY_S)
        scene.redis.start()
        traffic.flow(7.0)
        back = _granted(scene, "back")
    local = NUM_REPLICAS * int(COUNTED_PER_MINUTE * LOCAL_SHARE)
    failures = scene.metric(REDIS_FAILURES.name)
    wrong = [
        f"a key had {granted} items while Redis {how}; expected {local}"
        for how, granted in (("hung", hung), ("was gone", gone))
        if not local <= granted <= local + SLIDES
    ]
    wrong += unless(COUNTED_PER_MINUTE <= back <= COUNTED_PER_MINUTE + SLIDES, f"a Redis that is back granted {back} items")
    wrong += unless(failures >= 1, "no metric says that Redis did not answer")
    told = (
        f"Redis hung, went on, was killed, and an empty one came. Of keys with {COUNTED_PER_MINUTE} items a minute, asking for as many "
        f"as they get, one had {hung} while it hung, one {gone} while it was gone (local share of two replicas: {local}), one {back} then."
    )
    moments = {"hung_s": round(hung_s, 1), "killed_s": round(killed_s, 1)}
    granted = {"hung": hung, "gone": gone, "back": back}
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, granted=granted, redis_failures=failures, **moments)


def _granted(scene: Scene, key: str, *, tries: int = 200) -> int:
    """Items, one a page, until some are refused in a row: each replica counts alone, and one may have some left. Of a product that nobody
    knows: it counts, and costs no time."""
    granted = refusals = 0
    with scene.client(key) as client:
        for _ in range(tries):
            answer = client.post("/v1/reasons", json={"items": [{"product_id": "nobody"}]})
            if answer.status_code not in (404, 429):
                raise Unavailable(f"expected 404 or 429, got {answer.status_code}: {answer.text[:200]}")
            granted, refusals = (granted + 1, 0) if answer.status_code == 404 else (granted, refusals + 1)
            if refusals == IN_A_ROW:
                break
    return granted


def clock_jumps(folder: Path) -> Seen:
    folder.mkdir(parents=True)
    clock = Clock(folder)
    more = {"signing": {"key": str(folder / "s" / "private.pem"), "lifetime_s": LIFETIME_S}, "api": {"replicas": {}}}
    with scene(folder / "s", shared=False, more=more, environment=clock.environment) as made:
        with Traffic(made, name="F29", rate=1.0, found_wrong=lambda answer: "") as traffic:
            traffic.flow(3.0)
            page = made.client().post("/v1/reasons", json={"items": products("F29b", 3)}).json()
            before = _granted(made, "hung")
            verdicts, granted = {}, {}
            for name, offset_s in JUMPS.items():
                clock.set(offset_s)
                traffic.flow(3.0)
                verdicts[name] = _verdict(made, page)
                granted[name] = _granted(made, "hung")
        clock.set(0)
    wrong = [
        f"after a jump {name}: {verdicts[name]}; expected {expected}" for name, expected in EXPECTED.items() if verdicts[name] != expected
    ]
    wrong += [f"a jump {name} gave a key whose minute was used up {more} items" for name, more in granted.items() if more > ALLOWED]
    told = (
        f"The clock of all processes of a served graph moved (libfaketime), {', '.join(JUMPS)}. Signatures of {LIFETIME_S} s: "
        f"{_told(verdicts)}. A key that had used its {before} items of a minute was granted then: {_told(granted)}."
    )
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, verdicts=verdicts, granted=granted)


JUMPS = {
    "past the end within the skew": LIFETIME_S + SKEW_S // 2,
    "past the end and the skew": LIFETIME_S + SKEW_S + 120,
    "two hours back": -7200,
}
EXPECTED = {
    "past the end within the skew": "valid",
    "past the end and the skew": "signature_expired",
    "two hours back": "valid",
}
ALLOWED = COUNTED_PER_MINUTE // 4
"""Of a limit that is used up, what comes back in the seconds of this check as the window slides: no jump may give more."""


def _verdict(scene: Scene, page: dict[str, Any]) -> str:
    with scene.client() as client:
        told = client.post("/v1/reasons:verify", json=page).json()["items"]
    return "valid" if all(one["valid"] for one in told) else "; ".join(sorted({str(one["code"]) for one in told}))


def _told(by_name: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in by_name.items())


class Clock:
    """Of processes that get its environment: libfaketime reads from a file by how many seconds it is wrong. Monotonic time goes on."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(faketime(folder / "faketime")),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_s: int) -> None:
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset_s:+d}\n")
        os.replace(written, self._file)


def faketime(folder: Path) -> Path:
    """The library from Debian's package, unpacked and not installed."""
    folder.mkdir(parents=True)
    subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
    subprocess.run(["apt-get", "download", "-qq", "libfaketime"], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob("libfaketime_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
    return next(folder.rglob("libfaketimeMT.so.1")).resolve()


def tampered_reason(scene: Scene) -> Seen:
    assert scene.redis is not None
    items = products("F30k", 6)
    with Traffic(scene, name="F30") as traffic, scene.client() as client, _raw(scene.redis.url) as store:
        first = _asked(client, items)
        again = _asked(client, items)
        sealed = {name: store.get(name) for name in store.scan_iter(f"{KEPT}*")}
        names = [name for name, data in sealed.items() if data and any(text.encode() in data for text in _texts(first))]
        for name in names:
            store.set(name, _flipped(sealed[name], _texts(first)))
        after = _asked(client, items)
        wire, caller = _on_the_wire(scene, client, after)
        traffic.flow(3.0)
    hits = [item["source"] for item in again["items"]].count("cache")
    forged = [item["source"] for item in after["items"]].count("cache")
    shown = [text for text in _texts(after) if MARK in text]
    wrong = unless(hits and hits == len(names), f"{hits} of the page came from the cache, {len(names)} entries were found in it")
    wrong += unless(not forged and not shown, f"{forged} tampered entries were shown")
    wrong += unless(
        wire == caller == ["signature_invalid"] + [None] * (len(items) - 1), f"verified: {wire} at the server, {caller} in Python"
    )
    told = (
        f"{len(names)} kept reasons changed by a character in Redis: {forged} shown, {len(items)} items written anew. A character of an "
        f"answer changed on its way: {wire[0]} by /v1/reasons:verify and by LiyouClient.verify, its neighbours valid."
    )
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, kept=len(names))


MARK = "改"


@contextmanager
def _raw(url: str) -> Iterator[Any]:
    store = redis.Redis.from_url(url)
    try:
        yield store
    finally:
        store.close()


def _asked(client: httpx2.Client, items: list[dict[str, object]]) -> dict[str, Any]:
    return dict(client.post("/v1/reasons", json={"items": items}).raise_for_status().json())


def _texts(page: dict[str, Any]) -> list[str]:
    return [item["text"] for item in page["items"]]


def _flipped(sealed: bytes, texts: list[str]) -> bytes:
    """With the first character of its text another."""
    text = next(text for text in texts if text.encode() in sealed)
    return sealed.replace(text.encode(), (MARK + text[1:]).encode())


def _on_the_wire(scene: Scene, client: httpx2.Client, page: dict[str, Any]) -> tuple[list[str | None], list[str | None]]:
    """Codes of each item of a page whose first text was changed: by the server, and offline."""
    first, *others = page["items"]
    changed = page | {"items": [first | {"text": MARK + first["text"][1:]}, *others]}
    told = client.post("/v1/reasons:verify", json=changed).json()["items"]
    keys = KeysResponse.model_validate(client.get("/v1/keys").json())
    offline = LiyouClient.verify(ReasonsResponse.model_validate(changed), keys=keys)
    return [one["code"] for one in told], [one.code for one in offline]
