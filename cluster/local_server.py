"""`liyou serve` as a process of its own, for whatever needs a server for a while: the demo, benchmarks, tests."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import Unavailable

START_S, STOP_S = 120.0, 60.0


@contextmanager
def local_server(
    words: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, start_s: float = START_S
) -> Iterator[dict[str, Any]]:
    """What it says when it is ready (url, bundle_id, pid, …); stopped in the end whatever happens. `log` takes what it writes to stderr,
    `environment` is added to this process's own.

    Raises Unavailable when it does not come up.
    """
    command = [sys.executable, "-m", "cluster.cli", "serve", *words, "--json"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        told = os.environ | dict(environment or {})
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, env=told)
        try:
            assert process.stdout is not None
            answered, _, _ = select.select([process.stdout], [], [], start_s)
            line = process.stdout.readline() if answered else b""
            if not line:
                ended = f"exit code {process.wait(STOP_S)}" if answered else f"nothing within {start_s:.0f} s"
                raise Unavailable(f"the server did not start ({ended}); its words are in {log}")
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """Free now; whoever is quicker may have it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
