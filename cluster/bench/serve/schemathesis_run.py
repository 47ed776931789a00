"""Schemathesis, in an environment of its own, against `liyou serve` with the starter bundle: what the OpenAPI document promises."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster.local_server import local_server
from common.errors import LiyouError

OUT = Path("out/fuzz")
SCHEMA = Path("serve_app/openapi.json")
VERSION = "4.32.5"
PORT = 8317
WITH_BODIES = 3
"""Operations that take a body; the others have little to vary, and most requests go here."""
NOT_CHECKED = "positive_data_acceptance"
"""That all which is valid by the schema is accepted: no JSON schema says which codes a bundle has, or one of two fields, in one way that
clients can read."""


def served_part(count: int) -> dict[str, Any]:
    """What it counted and found; a server is started and stopped. Raises LiyouError where schemathesis itself failed."""
    tool, report, began = _installed(), OUT / "report.json", time.monotonic()
    report.unlink(missing_ok=True)
    with local_server(["--port", str(PORT)], log=OUT / "serve.log") as ready:
        command = [
            *(
                str(tool.resolve()),
                "run",
                str(SCHEMA.resolve()),
                "--url",
                ready["url"],
                "--max-examples",
                str(math.ceil(count / WITH_BODIES)),
            ),
            *("--seed", "26", "--phases", "fuzzing", "--mode", "all", "--checks", "all", "--exclude-checks", NOT_CHECKED),
            *("--workers", "2", "--request-timeout", "30", "--continue-on-failure", "--no-color", "-H", "X-Deadline-Ms: 5000"),
            *("--report", "json", "--report-json-path", str(report.resolve())),
        ]
        done = subprocess.run(command, cwd=OUT, capture_output=True, text=True, check=False)  # it leaves a folder
    (OUT / "schemathesis.txt").write_text(done.stdout + done.stderr)
    if done.returncode not in (0, 1) or not report.is_file():
        raise LiyouError(f"schemathesis ended with {done.returncode}; its words are in {OUT / 'schemathesis.txt'}")
    told = json.loads(report.read_text())
    return {
        "version": VERSION,
        "not_checked": NOT_CHECKED,
        "requests": told["test_cases"],
        "operations": told["operations"],
        "failures": told["failures"],
        "errors": told["errors"],
        "seconds": round(time.monotonic() - began, 1),
    }


def _installed() -> Path:
    folder = OUT / "venv"
    if not (folder / "bin" / "schemathesis").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"schemathesis=={VERSION}"], check=True)
    return folder / "bin" / "schemathesis"
