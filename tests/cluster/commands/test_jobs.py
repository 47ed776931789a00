"""`docs/jobs.md` against a dashboard that a test plays, and what the command tells before it sends anything."""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster import LiyouClient
from cluster.client.dashboard import RAY_VERSION
from cluster.client.jobs import Details
from cluster.commands import jobs
from common import errors
from common.errors import BadInput, ConfigError

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "jobs.md").read_text(encoding="utf-8")
LINES = [line.strip() for line in DOCUMENT.splitlines() if line.startswith("    liyou")]
STUDY = """
name: first
train: demo
space:
  adversarial.weights.realism: {low: 0, high: 2}
  adversarial.weights.codes: {low: 0, high: 1}
  adversarial.weights.controls: {low: 0, high: 2}
"""


class Dashboard:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def __call__(self, asked: Any) -> Any:
        if asked.path == "/api/version":
            return 200, {"ray_version": RAY_VERSION}
        if asked.method == "POST" and isinstance(asked.body, dict):
            self.sent.append(asked.body)
            return 200, {}
        job = {
            "submission_id": "liyou-train-1",
            "status": "SUCCEEDED",
            "message": "ended",
            "start_time": 1764201600000,
            "metadata": {"liyou_config": '{"out": "/shop/runs"}'},
        }
        if asked.path == "/api/jobs/":
            return 200, [job]
        return 200, {"logs": 'liyou-progress {"stage":"sft","step":1,"total":1}\nliyou-result {"bundle_id":"lb-1"}\n'} | job


@pytest.fixture
def dashboard(server: Any) -> Dashboard:
    server.answer = found = Dashboard()
    return found


def run(*words: str) -> str:
    done = CliRunner().invoke(jobs.app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("line", LINES)
def test_the_documented_commands_work(line: str, dashboard: Dashboard, server: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    words = shlex.split(line.replace("http://127.0.0.1:8265", server.url))[2:]
    told = run(*words)
    if words[0] == "submit":
        assert json.loads(dashboard.sent[-1]["metadata"]["liyou_config"])
        assert told.splitlines()[0].startswith(f"liyou-{words[1]}-")
    elif words[0] == "list":
        assert told == "liyou-train-1  SUCCEEDED  11-27 00:00  /shop/runs\n"
    elif words[0] == "logs":
        assert told == "sft 1/1\n"


def test_a_job_that_failed_is_told_in_one_line() -> None:
    error = json.dumps({"code": "no_resources", "message": "too\nsmall"})
    message = f"Job entrypoint command failed with exit code 1, last logs:\n10:00 x\nliyou-error {error}\n"
    assert Details(status="FAILED", message=message).told == "no_resources: too small"
    assert Details(status="FAILED", message="a\n b").told == "a b"
    assert Details(status="FAILED").told == ""


def test_relative_paths_are_refused_before_anything_is_sent(dashboard: Dashboard, server: Any) -> None:
    done = CliRunner().invoke(jobs.app, ["submit", "train", "smoke", "data.snapshot=/shop/snapshot", "--address", server.url])
    assert isinstance(done.exception, BadInput)
    assert str(done.exception).startswith("out: got 'out/smoke'; expected a path of the cluster's from its root")
    assert not dashboard.sent


def test_logs_are_for_people_notes_and_errors_in_words() -> None:
    lines = [
        'liyou-progress {"stage":"sft","step":1,"total":3}',
        'liyou-progress {"stage":"sft","step":2,"total":3}',
        'liyou-progress {"stage":"sft","step":3,"total":3,"note":"best 0.7"}',
        "something else",
        'liyou-error {"code":"bad_input","message":"no rows"}',
    ]
    assert list(jobs.readable(iter(lines))) == ["sft 1/3", "sft 3/3 best 0.7", "something else", "bad_input: no rows"]


def test_the_documented_client_calls_exist() -> None:
    code = DOCUMENT.partition("```python\n")[2].partition("```")[0]
    called = {
        node.func.attr: {one.arg for one in node.keywords}
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }
    for name, keywords in called.items():
        if name in ("train", "evaluate", "reasons"):
            known = getattr(LiyouClient, name).__kwdefaults__ or {}
            assert keywords <= set(known) | set(getattr(LiyouClient, name).__annotations__), name


def test_the_documented_errors_exist() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LiyouError)}
    rows = [line.split("`")[1] for line in DOCUMENT.splitlines() if line.startswith("| `")]
    assert len(rows) == 6
    assert set(rows) <= codes


def test_what_is_wrong_is_told_before_anything_is_sent(dashboard: Dashboard, server: Any) -> None:
    with pytest.raises(ConfigError, match=r"sft\.batch_size"):
        jobs.read_config("train", "demo", ["sft.batch_size=-1"])
    with pytest.raises(BadInput, match="kind: got 'trian'"):
        jobs.read_config("trian", "demo", [])
    with pytest.raises(BadInput, match="--address: got nothing"):
        jobs.client_of(None, None)
    with pytest.raises(ConfigError, match="--token-file /nowhere: no such file"):
        jobs.token_of(Path("/nowhere"))
    assert not dashboard.sent


def test_the_token_is_looked_for_where_ray_does(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("LIYOU_TOKEN", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert jobs.token_of(None) is None
    for name, place in (("home", tmp_path / ".ray" / "auth_token"), ("path", tmp_path / "path"), ("file", tmp_path / "file")):
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"{name}\n")
    assert jobs.token_of(None) == "home"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "path"))
    assert jobs.token_of(None) == "path"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "rays")
    monkeypatch.setenv("LIYOU_TOKEN", "ours")
    assert jobs.token_of(None) == "ours"
    assert jobs.token_of(tmp_path / "file") == "file"
