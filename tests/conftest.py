"""What all tests share: where the shared data lies, deterministic property tests, a receiver of spans, and no network."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from common.generation.vllm import ENVIRONMENT as VLLM_ENVIRONMENT

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """The folder of public data sets beside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"shared data is absent: {SHARED_DATA} does not exist; its tests did not run")
    return SHARED_DATA


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """In-process moto, with a cache of its own. It proves no signatures, checksums or network faults: those are tests/prove's."""
    import boto3
    from moto import mock_aws

    for name, value in {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="shop-bundles")
        yield "shop-bundles"


class Receiver:
    """Takes spans as OTLP over HTTP, as a collector does, and decodes them."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.spans: list[tuple[str, Any]] = []
        """deployment and span"""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in asked.resource_spans:
                    about = {one.key: one.value.string_value for one in resource.resource.attributes}
                    outer.spans += [(about["liyou.deployment"], span) for scope in resource.scope_spans for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/traces"

    def waited(self, number: int) -> dict[str, Any]:
        """Deployment and name -> span, once there are so many."""
        end_s = time.monotonic() + 30
        while len(self.spans) < number and time.monotonic() < end_s:
            time.sleep(0.02)
        assert len(self.spans) == number, [(deployment, span.name) for deployment, span in self.spans]
        return {f"{deployment} {span.name}": span for deployment, span in self.spans}


@contextmanager
def run_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()


@pytest.fixture(scope="session")
def receiving() -> Callable[[], AbstractContextManager[Receiver]]:
    return run_receiver


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What drives vLLM is left out where it is not installed; where it is, it warns as it likes, and as no caller of ours can help."""
    driving = [item for item in items if item.get_closest_marker("vllm")]
    if find_spec("vllm") is None:
        config.hook.pytest_deselected(items=driving)
        items[:] = [item for item in items if item not in driving]
    elif driving:
        os.environ.update(VLLM_ENVIRONMENT)
    for item in driving:
        item.add_marker(pytest.mark.filterwarnings("ignore"))


# A test may be skipped for these reasons and for no other: a skip nobody decided on hides a failure.
ALLOWED_SKIPS = (
    "shared data is absent",
    "the real base is absent",
    "the kernel's namespaces are root's",
    "an extra is absent",
    "chromium is absent",
)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in skipped]
    unexpected = [reason for reason in reasons if not any(allowed in reason for allowed in ALLOWED_SKIPS)]
    if unexpected:
        reporter.write_line(f"skips that are on no list: {unexpected}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
