"""`liyou serve` up to the point where Ray begins: arguments, port, report."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster.commands.serve import (
    Phases,
    app,
    demonstrated,
    first_answer,
    merged,
    refuse_taken_port,
    report,
    stopped_by_signals,
    until_told_to_stop,
)
from common.errors import BundleNotFound, ConfigError, Unavailable
from common.features.snapshot import Snapshot
from serve_app.config import ServeConfig
from serve_app.state.keys import read_keys

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*")  # Ray Serve 2.60 warns while it is imported


def test_the_command_line_stands_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("bundle: from-file\nproducer: shop\n", encoding="utf-8")
    assert merged(str(file), {"bundle": "given", "snapshot": None}) == {"bundle": "given", "producer": "shop"}
    assert merged(None, {"bundle": None}) == {}


def test_a_file_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"serve\.yaml"):
        merged(str(file), {})


def test_a_taken_port_is_refused_before_ray_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=str(port)):
            refuse_taken_port("127.0.0.1", port)
    refuse_taken_port("127.0.0.1", port)


def test_a_folder_that_is_no_bundle_is_refused_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="manifest"):
        app(["--bundle", str(tmp_path), "--port", "18999"], prog_name="liyou serve", standalone_mode=False)


def test_an_unknown_field_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("generatr: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="generatr"):
        app(["--config", str(file), "--port", "18999"], prog_name="liyou serve", standalone_mode=False)


def test_outside_of_loopback_keys_are_asked_for_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: anybody .* could ask; pass --keys"):
        app(["--host", "0.0.0.0", "--port", "18999"], prog_name="liyou serve", standalone_mode=False)


def test_the_report_says_where_the_time_went_and_how_to_try_it() -> None:
    phases = Phases()
    phases.seconds = {"imports": 1.5, "ray": 4.0}
    words = report("http://127.0.0.1:8000", "lb-1", phases, as_json=False)
    assert "lb-1" in words
    assert "after 5.5 s" in words


def test_a_demonstration_without_anything_has_a_shop_and_a_key_of_its_own(tmp_path: Path) -> None:
    settings = ServeConfig.model_validate(demonstrated({}, tmp_path))
    assert settings.demo
    assert len(list(Snapshot.open(str(settings.snapshot)).products())) == 300
    voucher, keys = read_keys(settings.signing)
    assert voucher is not None
    assert len(keys.jwks()) == 1


def test_a_demonstration_takes_the_snapshot_and_the_key_that_are_given(tmp_path: Path) -> None:
    given = {"snapshot": "mine", "signing": {"key": "mine.pem"}}
    assert demonstrated(given, tmp_path) == given | {"demo": True}
    assert list(tmp_path.iterdir()) == []


def test_the_report_leads_to_the_page_where_there_is_one() -> None:
    assert "http://127.0.0.1:8000/demo/" in report("http://127.0.0.1:8000", "lb-1", Phases(), as_json=False, demo=True)
    assert "demo" not in report("http://127.0.0.1:8000", "lb-1", Phases(), as_json=False)


def test_a_server_that_never_answers_is_told_as_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.commands.serve.time.sleep", lambda seconds: None)
    with pytest.raises(Unavailable, match="did not answer"):
        first_answer("http://127.0.0.1:1/readyz")


def tell(*_: object) -> int:
    """To stop, as a platform does; whatever this stands for ends then."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    return 0


def test_before_it_stops_it_waits_for_those_inside_and_says_who_was_not_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cluster.commands.serve.time", SimpleNamespace(sleep=tell))
    with before_and_after(), stopped_by_signals():
        until_told_to_stop(lambda: 2)
    assert capsys.readouterr().err.splitlines()[1:] == ["2 requests were still inside", "stopped"]


def test_told_twice_it_leaves_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("cluster.commands.serve.time", SimpleNamespace(sleep=tell))
    with before_and_after(), stopped_by_signals():
        until_told_to_stop(tell)
    assert capsys.readouterr().err.splitlines()[1:] == ["stopped"]


def test_a_signal_unwinds_what_was_started_and_counts_as_success() -> None:
    undone = []
    with before_and_after(), stopped_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            undone.append(True)
    assert undone == [True]


@contextmanager
def before_and_after() -> Iterator[None]:
    """Whatever handles signals here handles them again afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
