"""What all tests share: where the shared data lies, deterministic property tests, and no network."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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


# A test may be skipped for these reasons and for no other: a skip nobody decided on hides a failure.
ALLOWED_SKIPS = ("shared data is absent", "the real base is absent")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    reasons = [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in skipped]
    unexpected = [reason for reason in reasons if not any(allowed in reason for allowed in ALLOWED_SKIPS)]
    if unexpected:
        reporter.write_line(f"skips that are on no list: {unexpected}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
