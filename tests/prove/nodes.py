"""A Ray cluster as `ray start` makes it: a head, and nodes that join it, each in a process group of its own; by token."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2

from .conftest import QUIET, ROOT, free_port

START_S = 120.0
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    address: str
    """of the dashboard"""
    token: str
    environment: dict[str, str]
    """of whoever submits from beside it"""


@contextmanager
def head(*words: str, nodes: Sequence[Sequence[str]] = (), settings: Mapping[str, str] | None = None) -> Iterator[Head]:
    """`words`, and each of `nodes`: what `ray start` is told beside ports. Token, logs and all processes go when the block ends."""
    with TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True) as home, ExitStack() as running:
        token, dashboard, gcs = secrets.token_hex(32), free_port(), free_port()
        (Path(home) / ".ray").mkdir()
        (Path(home) / ".ray" / "auth_token").write_text(token)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | QUIET | dict(settings or {})
        environment |= {
            "HOME": home,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "LIYOU_ADDRESS": f"http://127.0.0.1:{dashboard}",
        }
        log = Path(home) / "head.log"

        def start(*more: str, log: Path) -> subprocess.Popen[bytes]:
            command = [
                str(BIN / "ray"),
                "start",
                "--block",
                "--node-ip-address=127.0.0.1",
                f"--dashboard-agent-listen-port={free_port()}",
                *more,
            ]
            process = running.enter_context(
                subprocess.Popen(
                    command, env=environment, stdout=running.enter_context(log.open("wb")), stderr=subprocess.STDOUT, start_new_session=True
                )
            )
            running.callback(os.killpg, process.pid, signal.SIGKILL)
            return process

        ports = [f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={free_port()}"]
        process = start("--head", f"--temp-dir={home}/t", "--dashboard-host=127.0.0.1", "--include-dashboard=true", *ports, *words, log=log)
        found = Head(f"http://127.0.0.1:{dashboard}", token, environment)
        wait_until(lambda: answers(found), process, log)
        for number, node in enumerate(nodes, start=2):  # one after the other: two at once take the same sockets
            own = Path(home) / f"node{number}.log"
            wait_until(lambda: num_nodes(found) == number, start(f"--address=127.0.0.1:{gcs}", *node, log=own), own)  # noqa: B023
        yield found


def wait_until(condition: object, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end_s = time.monotonic() + START_S
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(1)


def answers(head: Head) -> bool:
    try:
        return get(head, "/api/jobs/").status_code == 200
    except httpx2.TransportError:
        return False


def num_nodes(head: Head) -> int:
    nodes = get(head, "/nodes?view=summary").json()["data"]["summary"]
    return sum(node["raylet"].get("state") == "ALIVE" for node in nodes)


def get(head: Head, path: str) -> httpx2.Response:
    return httpx2.get(f"{head.address}{path}", headers={"Authorization": f"Bearer {head.token}"}, timeout=10)


def liyou(head: Head, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "cluster.cli", *words], env=head.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout
