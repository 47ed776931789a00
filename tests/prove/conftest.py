"""The sample shop, the starter bundle, servers that are gone when a test is, and the figures that `make prove` writes down.

LIYOU_PROVE_RESULTS names the file for the figures. To try things: LIYOU_PROVE_BUNDLE is another bundle than the starter, LIYOU_PROVE_SHOP
the snapshot of a sample shop that was made before.
"""

import os
import platform
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson
import psutil
import pytest
import torch

from cluster.local_server import free_port
from common.contract.wire import ReasonsRequest
from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.features.rows import ReasonRow
from common.features.snapshot import Snapshot
from common.features.snapshot_build import build_snapshot
from common.packs.load import load_pack
from common.quality.verdict import Checker
from serve_app.graph.features_deployment import Features
from serve_app.http.api import parsed
from serve_app.state.live import STARTER
from train_app.data.examples import Example, example_id, examples
from train_app.data.split import Splits, split
from train_app.sample_shop.generate import generate_shop

ROOT = Path(__file__).resolve().parents[2]
RADOSGW = ROOT.parent / "shared" / "reference" / "radosgw.sh"
QUIET = {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}
FRESH_SEED = 20
"""Of a shop whose products, people and reasons nothing was trained or chosen on: the starter bundle has seed 0, its base 100,000 and up."""
START_S, STOP_S = 180.0, 60.0
"""Before a process is given up: far more than what is asked of it, since a test reports a slow start better than a killed one."""


@dataclass
class Figures:
    """What the tests saw, by point of the specification; printed as it comes, written down at the end."""

    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def table(self, title: str, rows: Mapping[str, object]) -> None:
        self.seen.setdefault(title, {}).update(
            {name: value if isinstance(value, int | float | str) else str(value) for name, value in rows.items()}
        )
        width = max(map(len, rows))
        print(f"\n{title}", *(f"  {name:<{width}}  {_told(value)}" for name, value in rows.items()), sep="\n", flush=True)


def _told(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


FIGURES = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    return FIGURES


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "tests/prove/" in report.nodeid and (report.when == "call" or report.failed):
        FIGURES.outcomes[report.nodeid.split("tests/prove/")[1]] = {"outcome": report.outcome, "seconds": round(report.duration, 1)}


def pytest_sessionfinish() -> None:
    if not (target := os.environ.get("LIYOU_PROVE_RESULTS")) or not FIGURES.outcomes:
        return
    content = {
        "command": "make prove-cluster" if "cluster" in target else "make prove",
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "bundle": bundle_folder().name if "LIYOU_PROVE_BUNDLE" in os.environ else "starter",
        "tests": FIGURES.outcomes,
        "figures": FIGURES.seen,
    }
    path = ROOT / target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


# ---- the shop and what is asked about it ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Shop:
    """A sample shop that no bundle was trained on, and each annotated reason as an example and as a request that asks the same."""

    folder: Path
    snapshot: Snapshot
    vocabulary: ControlVocabulary
    splits: Splits
    rows: Mapping[str, ReasonRow]
    """example id -> the row it was made from"""

    def user(self, example: Example) -> dict[str, Any] | None:
        """The user with the events before the reason's moment inline: serving looks at a user as of now, an example as of then."""
        row = self.rows[example.example_id]
        if row.user_id is None or not self.snapshot.knows_user(row.user_id):
            return None
        past = [event for event in self.snapshot.events(row.user_id) if row.at is None or event.at < row.at]
        return {"user_id": row.user_id, "events": [event.model_dump(mode="json", exclude={"user_id"}, exclude_none=True) for event in past]}

    def item(self, example: Example) -> dict[str, Any]:
        """Every code is asked for, or ruled out by null: else serving would fill it from the user's taste."""
        asked = {control.name: example.context.controls.get(control.name) for control in self.vocabulary.controls}
        return {"product_id": example.product_id, "controls": asked}

    def request(self, example: Example) -> dict[str, Any]:
        return {"user": self.user(example), "items": [self.item(example)]}

    def contexts(self, body: Mapping[str, Any]) -> list[Context]:
        """What serving makes of a request: parsed from bytes, looked up, resolved, as of now."""
        request: ReasonsRequest = parsed(orjson.loads(orjson.dumps(body)), ReasonsRequest)
        found = Features(self.snapshot, checker=Checker(load_pack("shop")), now=lambda: datetime.now(UTC)).contexts(request)
        assert all(isinstance(one, Context) for one in found), found
        return found  # type: ignore[return-value]


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = Path(os.environ.get("LIYOU_PROVE_SHOP") or tmp_path_factory.mktemp("shop") / "snapshot")
    if not folder.exists():
        generate_shop(folder.parent / "raw", seed=FRESH_SEED)
        build_snapshot(folder.parent / "raw", folder)
    snapshot, vocabulary = Snapshot.open(folder), load_pack("shop").vocabulary
    rows = {example_id(row): row for row in snapshot.reasons()}
    return Shop(folder, snapshot, vocabulary, split(examples(snapshot, vocabulary=vocabulary)), rows)


def bundle_folder() -> Path:
    return Path(os.environ.get("LIYOU_PROVE_BUNDLE", STARTER))


@pytest.fixture(scope="session")
def bundle() -> Path:
    folder = bundle_folder()
    assert (folder / "manifest.json").is_file(), f"{folder}: no bundle there; run `make starter`, or name one in LIYOU_PROVE_BUNDLE"
    return folder


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """As the served engine has it."""
    torch.set_num_threads(1)


# ---- processes -----------------------------------------------------------------------------------------------------


@contextmanager
def run_liyou(*words: str, stderr: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """A command as a process of its own; it and all that it started are gone afterwards, each ended by its id. What stays is a failure."""
    command = [sys.executable, "-m", "cluster.cli", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | QUIET, stdout=subprocess.PIPE, stderr=stderr)
    family = [psutil.Process(process.pid)]
    try:
        yield process
    finally:
        if process.poll() is None:
            family += family[0].children(recursive=True)
            process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            _, alive = psutil.wait_procs(family, timeout=10)
            for left in alive:
                left.kill()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
    assert not alive, f"left running after `liyou {words[0]}` had stopped: {alive}"


@dataclass(frozen=True)
class Server:
    url: str
    ready: dict[str, Any]
    """what `liyou serve --json` says once it answers"""
    started: float
    """reading of time.monotonic at the command"""


@contextmanager
def run_server(*words: str, log: Path) -> Iterator[Server]:
    """Without a cache: what is proved here is what the model writes, asked as often as it may be."""
    uncached = log.with_name("uncached.yaml")
    uncached.write_text("cache: {max_entries: 0}\n", encoding="utf-8")
    started = time.monotonic()
    with log.open("wb") as errors, run_liyou("serve", *words, "--config", str(uncached), "--json", stderr=errors) as process:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if readable else b""
        assert line, f"the server did not start within {START_S:.0f} s: {log.read_text(errors='replace')[-2000:]}"
        ready = orjson.loads(line)
        yield Server(ready["url"], ready, started)


@pytest.fixture(scope="session")
def liyou() -> Callable[..., AbstractContextManager[subprocess.Popen[bytes]]]:
    return run_liyou


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Server]]:
    return run_server


@pytest.fixture(scope="module")
def server(shop: Shop, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The bundle with the shop's snapshot, on a free port."""
    port = str(free_port())
    log = tmp_path_factory.mktemp("server") / "serve.log"
    with run_server("--bundle", str(bundle), "--snapshot", str(shop.folder), "--port", port, log=log) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server (Ceph's radosgw, from Debian): the environment of whoever may use it. Its data are gone when the module is done."""
    if not RADOSGW.is_file():
        pytest.skip(f"shared data is absent: {RADOSGW} starts the S3 server; its tests did not run")
    if not shutil.which("radosgw"):
        subprocess.run(["bash", str(RADOSGW), "install"], check=True, capture_output=True)
    folder, port = tmp_path_factory.mktemp("gateway") / "g", free_port()
    keys = {"AWS_ACCESS_KEY_ID": "AKTEST", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(20)}
    ports = ["--port", str(port), "--mon-port", str(free_port()), "--mon-port-v1", str(free_port())]
    asked = [*ports, "--access-key", keys["AWS_ACCESS_KEY_ID"], "--secret-key", keys["AWS_SECRET_ACCESS_KEY"]]
    # No pipes: its daemons would keep them open for ever.
    with (folder.parent / "start.log").open("wb") as log:
        subprocess.run(["bash", str(RADOSGW), "start", "--dir", str(folder), *asked], check=True, stdout=log, stderr=log, timeout=300)
    cache = tmp_path_factory.mktemp("node")
    environment = keys | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1", "TMPDIR": str(cache)}
    environment |= {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required"}  # docs/storage.md: this one is of 2021
    before = dict(os.environ)
    os.environ.update(environment)
    tempfile.tempdir = None  # or this process would keep to the folder that it asked for first, and to a cache of the last run
    try:
        yield environment
    finally:
        tempfile.tempdir = None
        os.environ.clear()
        os.environ.update(before)
        subprocess.run(
            ["bash", str(RADOSGW), "stop", "--dir", str(folder)], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
