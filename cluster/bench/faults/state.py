"""F9, F29, F30: what serving keeps elsewhere and trusts only so far: a Redis, the machine's clock, a reason that was kept or sent on."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import redis

from cluster import LiyouClient
from cluster.bench.faults.matrix import Seen, seen, unless
from cluster.bench.faults.scene import COUNTED_PER_MINUTE, LOCAL_SHARE, Scene, issued
from cluster.bench.faults.traffic import Traffic, products
from cluster.bench.serve.bodies import Asked
from cluster.bench.serve.fuzz import called
from cluster.bench.serve.rehearsal import Rehearsal
from common.artifacts.signing import generate_private_key
from common.contract.vouching import SKEW_S
from common.contract.wire import KeysResponse, ReasonsResponse
from common.errors import Unavailable
from serve_app.config import DoorsConfig, ServeConfig, SigningConfig
from serve_app.telemetry.metrics import REDIS_FAILURES

NUM_REPLICAS = 2
AWAY_S = 10.0
IN_A_ROW = 40
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
    """Items, one a page, until many are refused in a row: each replica counts alone, and one may be asked seldom. Of a product that nobody
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


JUMPS = {
    "past the end, within the skew": LIFETIME_S + SKEW_S // 2,
    "past the end and the skew": LIFETIME_S + SKEW_S + 120,
    "two hours back": -7200,
}
EXPECTED = ("valid", "signature_expired", "valid")
CHILD = """
import sys, time
real, ahead_s = time.time, [0]
time.time = lambda: real() + ahead_s[0]
from cluster.bench.faults.state import jumping
jumping(sys.argv[1], lambda offset_s: ahead_s.__setitem__(0, offset_s))
"""
"""The calendar is put in place before anything of ours is imported: whoever reads time.time reads it."""


def clock_jumps(folder: Path) -> Seen:
    """Under libfaketime no Ray starts: with its monotonic time left alone, time.sleep of Python 3.11 fails (EINVAL)."""
    folder.mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(done.stderr[-500:])
    seen_by_jump: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    before = seen_by_jump.pop("before")
    wrong = [
        f"{name}: {told['verdict']}; expected {expected}"
        for (name, told), expected in zip(seen_by_jump.items(), EXPECTED, strict=True)
        if told["verdict"] != expected
    ]
    wrong += [
        f"{name}: a limit that was used up gave {told['granted']} more" for name, told in seen_by_jump.items() if told["granted"] > SLIDES
    ]
    wrong += [f"{name}: a page was answered with {told['status']}" for name, told in seen_by_jump.items() if told["status"] != 200]
    told = "; ".join(f"{name}: {one['verdict']}, {one['granted']} granted" for name, one in seen_by_jump.items())
    return Seen(
        f"The calendar of the ingress set in one process, without Ray and model (no Ray starts under libfaketime). A page signed for "
        f"{LIFETIME_S} s, and a key that had used up its {before} items of a minute: {told}. Pages were answered after each jump.",
        wrong,
        seen_by_jump,
    )


def jumping(folder: str, jump: Callable[[int], None]) -> None:
    print(json.dumps(asyncio.run(_jumped(Path(folder), jump))))


async def _jumped(folder: Path, jump: Callable[[int], None]) -> dict[str, Any]:
    keys = issued(folder)
    (folder / "private.pem").write_text(generate_private_key())
    signing = SigningConfig(key=str(folder / "private.pem"), lifetime_s=LIFETIME_S)
    async with Rehearsal(ServeConfig(doors=DoorsConfig(keys=str(folder / "keys.json")), signing=signing)) as rehearsal:

        async def asked(path: str, body: object, key: str) -> tuple[int, dict[str, Any]]:
            headers = ((b"content-type", b"application/json"), (b"authorization", f"Bearer {keys[key]}".encode()))
            status, _, data = await called(rehearsal.app, Asked("POST", path, b"", headers, orjson.dumps(body)))
            return status, orjson.loads(data)

        async def granted() -> int:
            """Until it is refused: one replica counts."""
            count = 0
            while (await asked("/v1/reasons", {"items": [{"product_id": "nobody"}]}, "hung"))[0] != 429:
                count += 1
            return count

        _, page = await asked("/v1/reasons", {"items": products("F29", 3)}, "flow")
        found: dict[str, Any] = {"before": await granted()}
        for number, (name, offset_s) in enumerate(JUMPS.items()):
            jump(offset_s)
            _, told = await asked("/v1/reasons:verify", page, "flow")
            codes = sorted({one["code"] or "valid" for one in told["items"]})
            status, _ = await asked("/v1/reasons", {"items": products(f"F29-{number}", 3)}, "flow")
            found[name] = {"verdict": ", ".join(codes), "granted": await granted(), "status": status}
    return found


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
