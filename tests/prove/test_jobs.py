"""Jobs by token against a real `ray start --head`: submitted, followed, stopped, submitted again, promoted, served; and what is refused."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest

from cluster import LiyouClient
from common.errors import ConfigError, NoResources, Unauthorised, VersionMismatch

from .conftest import free_port

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0

pytestmark = [pytest.mark.prove, pytest.mark.ray]


@dataclass(frozen=True)
class Head:
    address: str
    token: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One node with four logical cores, in a process group of its own; its token and its files go with it."""
    with TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as home:
        token, dashboard = secrets.token_hex(32), free_port()
        (Path(home) / ".ray").mkdir()
        (Path(home) / ".ray" / "auth_token").write_text(token)
        binaries = Path(sys.executable).parent
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "HOME": home,
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_WAIT_POLICY": "PASSIVE",
            "HF_HUB_OFFLINE": "1",
        }
        command = [str(binaries / "ray"), "start", "--head", "--block", "--num-cpus=4", f"--temp-dir={home}/t", f"--port={free_port()}"]
        command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"]
        command += [f"--dashboard-agent-listen-port={free_port()}", f"--ray-client-server-port={free_port()}", "--include-dashboard=true"]
        with (
            (Path(home) / "head.log").open("wb") as log,
            subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True) as process,
        ):
            try:
                address = f"http://127.0.0.1:{dashboard}"
                end_s = time.monotonic() + START_S
                while not answers(address, token):
                    assert process.poll() is None, (Path(home) / "head.log").read_text()
                    assert time.monotonic() < end_s, (Path(home) / "head.log").read_text()
                    time.sleep(1)
                yield Head(address, token, environment)
            finally:
                os.killpg(process.pid, signal.SIGKILL)


def answers(address: str, token: str) -> bool:
    try:
        return httpx2.get(f"{address}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def liyou(head: Head, *words: str) -> str:
    environment = head.environment | {"LIYOU_ADDRESS": head.address}
    done = subprocess.run([sys.executable, "-m", "cluster.cli", *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def config(tmp_path_factory, head: Head) -> list[str]:
    """The smallest training, with two workers, on a small shop."""
    place = tmp_path_factory.mktemp("jobs")
    liyou(head, "shop", "generate", "--seed", "7", "--users", "40", "--products", "120", "--reasons", "300", "--out", str(place / "raw"))
    liyou(head, "data", "build", str(place / "raw"), "--out", str(place / "snapshot"))
    return [f"data.snapshot={place / 'snapshot'}", f"out={place / 'runs'}", "runtime.num_workers=2"]


def test_a_training_is_submitted_followed_stopped_submitted_again_promoted_and_served(
    head: Head, config: list[str], figures, tmp_path
) -> None:
    began = time.monotonic()
    client = LiyouClient(address=head.address, token=head.token)
    told = json.loads(liyou(head, "jobs", "submit", "train", "smoke", *config, "--json"))
    job = client.job(told["id"])
    assert json.loads(liyou(head, "jobs", "submit", "train", "smoke", *config, "--json"))["id"] == job.id, "twice is one job"
    for line in job.follow(poll_s=1):
        if '"stage":"discriminator samples"' in line:
            break
    else:
        pytest.fail(f"it ended before it could be stopped: {job.logs()[-3000:]}")
    liyou(head, "jobs", "stop", job.id)
    stopped_s = time.monotonic() - began
    for _ in range(120):
        if job.status() == "STOPPED":
            break
        time.sleep(1)
    assert job.status() == "STOPPED"
    again = client.job(liyou(head, "jobs", "submit", "train", "smoke", *config).strip())
    assert again.id == f"{job.id}-2"
    seen: list[dict] = []
    result = again.wait(seen.append, poll_s=1)
    assert not [one for one in seen if one["stage"] == "sft" and one["step"] == 1], "it goes on from its checkpoint"
    registry = str(tmp_path / "registry")
    assert job.id in liyou(head, "jobs", "list")
    liyou(head, "bundle", "promote", str(result["bundle_path"]), "--registry", registry, "--reason", "by a job", "--force")
    shown = json.loads(liyou(head, "bundle", "show", "prod", "--registry", registry, "--json"))
    assert shown["manifest"]["bundle_id"] == result["bundle_id"]
    figures.table(
        "issue 4, 2: a job by token", {"stopped after s": stopped_s, "all s": time.monotonic() - began, "bundle": result["bundle_id"]}
    )


def test_what_is_refused_says_why(head: Head, config: list[str]) -> None:
    client = LiyouClient(address=head.address, token=head.token)
    for token in (None, "not-" + head.token):
        with pytest.raises(Unauthorised):
            LiyouClient(address=head.address, token=token).jobs()
    with pytest.raises(ConfigError, match="data: Field required"):
        client.train({"out": "/nowhere"}).wait(poll_s=1)
    snapshot, out, _ = config
    big = {"data": {"snapshot": snapshot.partition("=")[2]}, "out": out.partition("=")[2], "runtime": {"num_workers": 16, "use_gpu": True}}
    with pytest.raises(NoResources, match="16 CPU asked for and 4 there, 16 GPU asked for and 0 there"):
        client.train(big).wait(poll_s=1)
    client._jobs.call(
        "POST",
        "/api/jobs/",
        {"entrypoint": "python -m cluster.job", "submission_id": "liyou-train-old", "metadata": {"liyou_version": "0.0"}},
    )
    with pytest.raises(VersionMismatch, match=r"submitted by release 0\.0; the cluster runs"):
        client.job("liyou-train-old").wait(poll_s=1)
