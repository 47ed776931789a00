"""F1, F2, F3, F26: processes that are killed or told to stop with pages inside them."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import httpx2
import psutil  # type: ignore[import-untyped]

from cluster import LiyouClient
from cluster.bench.faults.history import ended_s, in_flight, open_at, sent_between, sent_s, sent_soon_after
from cluster.bench.faults.matrix import Seen, seen, unless
from cluster.bench.faults.processes import API, CONTROLLER, GENERATOR, PROXY, sigkill, titled, wait_until
from cluster.bench.faults.scene import DEADLINE_MS, Scene
from cluster.bench.faults.traffic import Traffic, products
from cluster.load.drive import Outcome
from common.errors import LiyouError
from serve_app.telemetry.metrics import HOP_FAILURES

BACK_S = 90.0
"""For a generator to be there again: far more than it takes on an idle machine."""
SOON_S = 5.0
TOLD_WITHIN_S = 30.0
"""Ray's processes tell their agent every ten seconds."""
STOPPED_S = 60.0


def model_replica(scene: Scene) -> Seen:
    with Traffic(scene, name="F1", items=6) as traffic:
        traffic.flow(6.0)
        alone_s, alone_back_s = _killed(scene, traffic, 1)
        traffic.flow(3.0)
        all_s, all_back_s = _killed(scene, traffic, 2)
        traffic.flow(4.0)
    meanwhile = [page for page in traffic.pages if all_s <= sent_s(page) <= all_s + all_back_s - 1]
    lost = _waited_for(lambda: scene.metric(HOP_FAILURES.name, deployment="generator"))
    wrong = unless(lost >= 1, "no call to a generator was counted as failed")
    wrong += unless(in_flight(traffic.pages, alone_s) and in_flight(traffic.pages, all_s), "no page was inside when it was killed")
    wrong += unless(any(map(waited, meanwhile)), "without any generator no page said so")
    told = (
        f"One of two generators killed with {in_flight(traffic.pages, alone_s)} pages inside, another up after {alone_back_s:.0f} s; both "
        f"killed with {in_flight(traffic.pages, all_s)} inside, both up after {all_back_s:.0f} s, {len(meanwhile)} pages meanwhile; "
        f"{lost:.0f} calls asked again or given up."
    )
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, since_s=alone_s, calls_failed=lost, back_s=[alone_back_s, all_back_s])


def waited(page: Outcome) -> bool:
    """Templates that say that no generator answered: a page waits for one until its time is over."""
    return bool({"engine_unavailable", "deadline"} & set(page.degraded)) and set(page.sources) == {"template"}


def _killed(scene: Scene, traffic: Traffic, count: int) -> tuple[float, float]:
    """The moment, and seconds until as many were started in their place."""
    before = scene.generators_started()
    victims = list(titled(scene.pid, GENERATOR).values())[:count]
    moment_s = traffic.now_s()
    for victim in victims:
        sigkill(victim)
    took_s = wait_until(lambda: scene.generators_started() >= before + count, within_s=BACK_S, what="generators in their place")
    return moment_s, round(took_s, 1)


def ingress_replica(scene: Scene) -> Seen:
    moments, patient = [], Patient(scene)
    with patient, Traffic(scene, name="F2", rate=1.5) as traffic:
        for _ in range(2):
            traffic.flow(15.0)
            moments.append(traffic.now_s())
            sigkill(next(iter(titled(scene.pid, API).values())))
        traffic.flow(15.0)
    inside = sum(in_flight(traffic.pages, moment) for moment in moments)
    promise = replace(traffic.promise(), excused=lambda page: any(sent_soon_after(one, SOON_S)(page) for one in moments), at_most=inside)
    failed = [page for page in traffic.pages if page.status != 200]
    after = sum(not any(open_at(moment)(page) for moment in moments) for page in failed)
    told = (
        f"Twice one of two ingress replicas killed, {inside} pages open at those moments on both; {len(failed)} failed, {after} of them "
        f"sent in the {SOON_S:.0f} s after. {patient.told()}"
    )
    figures = {"open_at_the_kills": inside, "num_failed": len(failed), "sent_after": after}
    return seen(told, traffic.pages, promise, wrong=patient.wrong, since_s=moments[-1], **figures)


def proxy_and_controller(scene: Scene) -> Seen:
    patient = Patient(scene)
    with patient, Traffic(scene, name="F3") as traffic:
        traffic.flow(4.0)
        replicas = scene.generators() | set(titled(scene.pid, API))
        controller_s = traffic.now_s()
        sigkill(next(iter(titled(scene.pid, CONTROLLER).values())))
        wait_until(lambda: titled(scene.pid, CONTROLLER), within_s=BACK_S, what="a controller")
        killed_s = traffic.flow(12.0)
        sigkill(next(iter(titled(scene.pid, PROXY).values())))
        back_s = wait_until(scene.ready, within_s=BACK_S, what="a proxy")
        traffic.flow(6.0)
    refused = sent_between(killed_s, killed_s + SOON_S)
    promise = replace(traffic.promise(), excused=lambda page: open_at(killed_s)(page) or (refused(page) and not page.status))
    first = [page for page in traffic.pages if ended_s(page) < killed_s and page.status != 200]
    kept = replicas <= scene.generators() | set(titled(scene.pid, API))
    wrong = unless(not first, f"{len(first)} pages failed without a controller")
    wrong += unless(kept, "the new controller replaced replicas that were well") + list(patient.wrong)
    told = (
        f"Controller killed: {len(first)} pages failed in the next {killed_s - controller_s:.0f} s, replicas "
        f"{'kept' if kept else 'replaced'}. Proxy killed: refused for {back_s:.1f} s. {patient.told()}"
    )
    return seen(told, traffic.pages, promise, wrong=wrong, since_s=killed_s, proxy_back_s=round(back_s, 2))


def told_to_stop(scene: Scene) -> Seen:
    health: list[int] = []
    with Traffic(scene, name="F26", rate=1.5) as traffic:
        traffic.flow(6.0)
        server = psutil.Process(scene.pid)
        moment_s = traffic.now_s()
        server.send_signal(signal.SIGTERM)
        watching = threading.Thread(target=_watch, args=(scene.url, health))
        watching.start()
        code = server.wait(STOPPED_S)
        gone_s = traffic.now_s() - moment_s
        watching.join()
    # At the very moment the pages that had just been sent may find the doors closed; told by a 503, they were not let in.
    promise = replace(
        traffic.promise(), excused=lambda page: (sent_s(page) > moment_s and (page.status, page.error) in CLOSED) or _away(page)
    )
    inside = [page for page in traffic.pages if open_at(moment_s)(page)]
    wrong = unless(code == 0, f"exit code {code}") + unless(503 in health, "/readyz never said 503")
    wrong += unless(all(page.status == 200 for page in inside), f"of {len(inside)} pages inside not all were answered")
    told = f"{len(inside)} pages inside, all answered: {not wrong}; gone after {gone_s:.1f} s with exit code {code}; /readyz 503 meanwhile."
    return seen(told, traffic.pages, promise, wrong=wrong, inside=len(inside), stopped_after_s=round(gone_s, 1))


CLOSED = {(503, "unavailable")}


def _away(page: Outcome) -> bool:
    """Nobody listens any more."""
    return page.status == 0 and "Connect" in page.error


def _watch(url: str, health: list[int]) -> None:
    while True:
        try:
            health.append(httpx2.get(f"{url}/readyz", timeout=5).status_code)
        except httpx2.HTTPError:
            return
        time.sleep(0.05)


class Patient:
    """A storefront that asks with `LiyouClient`, page after page: what a caller sees who asks again within its deadline."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._enough = scene, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.wrong: list[str] = []
        self.answered = 0

    def __enter__(self) -> "Patient":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join()

    def told(self) -> str:
        return f"Asking with LiyouClient: {self.answered} pages, {len(self.wrong)} failed."

    def _ask(self) -> None:
        items = products("patient")
        with LiyouClient(self._scene.url, key=self._scene.keys["flow"]) as client:
            while not self._enough.wait(0.3):
                try:
                    client.reasons(items.pop(), deadline_ms=DEADLINE_MS)
                    self.answered += 1
                except LiyouError as error:
                    self.wrong.append(f"LiyouClient: {error}")


def _waited_for(measured: Callable[[], float]) -> float:
    """A metric that is told every ten seconds: once it is above 0, or after a while."""
    end_s = time.monotonic() + TOLD_WITHIN_S
    while not (found := measured()) and time.monotonic() < end_s:
        time.sleep(1)
    return found
