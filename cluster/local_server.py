"""`liyou serve` as a process of its own, for whatever needs a server for a while: the demo, benchmarks, tests."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import Unavailable

START_S, STOP_S = 120.0, 60.0


@contextmanager
def local_server(words: Sequence[str], *, log: Path) -> Iterator[dict[str, Any]]:
    """What it says when it is ready (url, bundle_id, …); stopped in the end whatever happens. `log` takes what it writes to stderr.

    Raises Unavailable when it does not come up.
    """
    command = [sys.executable, "-m", "cluster.cli", "serve", *words, "--json"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        try:
            assert process.stdout is not None
            answered, _, _ = select.select([process.stdout], [], [], START_S)
            line = process.stdout.readline() if answered else b""
            if not line:
                ended = f"exit code {process.wait(STOP_S)}" if answered else f"nothing within {START_S:.0f} s"
                raise Unavailable(f"the server did not start ({ended}); its words are in {log}")
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
