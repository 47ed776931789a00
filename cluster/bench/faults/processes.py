"""The processes that a Ray cluster of ours runs as, found below the one that started it by the titles that Ray gives them."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from common.errors import Unavailable

API, GENERATOR = "ServeReplica:liyou:api", "ServeReplica:liyou:generator"
PROXY, CONTROLLER = "ProxyActor", "ServeController"


def titled(pid: int, title: str) -> dict[int, psutil.Process]:
    """By process id, below `pid`."""
    found = {}
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if title in " ".join(one.cmdline()):
                found[one.pid] = one
        except psutil.Error:
            continue
    return found


def sigkill(process: psutil.Process) -> None:
    """Gone when it returns."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)


def session_folder(pid: int) -> Path:
    """Where a cluster started by `pid` keeps its logs: another cluster of this machine may be the latest."""
    for one in psutil.Process(pid).children(recursive=True):
        for word in one.cmdline():
            if word.startswith(("--session_dir=", "--session-dir=")):
                return Path(word.partition("=")[2])
    raise Unavailable(f"process {pid} runs no Ray cluster")


def wait_until(condition: Callable[[], object], *, within_s: float, what: str) -> float:
    """Seconds that it took. Raises Unavailable, naming what did not come."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > within_s:
            raise Unavailable(f"{what}: not within {within_s:g} s")
        time.sleep(0.2)
    return time.monotonic() - began_s
