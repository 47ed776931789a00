"""Jobs by token against a real `ray start --head`: submitted, followed, stopped, submitted again, promoted, served; and what is refused."""

import json
import time
from collections.abc import Iterator

import pytest

from cluster import LiyouClient
from common.errors import ConfigError, NoResources, Unauthorised, VersionMismatch

from .conftest import free_port
from .nodes import Head, liyou
from .nodes import head as start_head

pytestmark = [pytest.mark.prove, pytest.mark.ray]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One node with four logical cores."""
    with start_head("--num-cpus=4") as found:
        yield found


@pytest.fixture(scope="module")
def config(tmp_path_factory, head: Head) -> list[str]:
    """The smallest training, with two workers, on a small shop."""
    place = tmp_path_factory.mktemp("jobs")
    liyou(head, "shop", "generate", "--seed", "7", "--users", "40", "--products", "120", "--reasons", "300", "--out", str(place / "raw"))
    liyou(head, "data", "build", str(place / "raw"), "--out", str(place / "snapshot"))
    return [f"data.snapshot={place / 'snapshot'}", f"out={place / 'runs'}", "runtime.num_workers=2"]


def test_a_training_is_submitted_followed_stopped_submitted_again_promoted_and_served(
    head: Head, config: list[str], figures, serving, tmp_path
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
    with serving("--registry", registry, "--port", str(free_port()), log=tmp_path / "serve.log") as server, LiyouClient(server.url) as shop:
        item = {"product": {"product_id": "p1", "title": "静音蓝牙耳机", "category": "蓝牙耳机", "price": 299}}
        page = shop.reasons([item], deadline_ms=30_000)
    assert page.bundle_id == result["bundle_id"]
    assert page.items[0].text
    figures.table(
        "issue 4, 2: a job by token, its bundle served",
        {"stopped after s": stopped_s, "all s": time.monotonic() - began, "bundle": result["bundle_id"]},
    )


def test_what_is_refused_says_why(head: Head, config: list[str]) -> None:
    client = LiyouClient(address=head.address, token=head.token)
    for token in (None, "not-" + head.token):
        with pytest.raises(Unauthorised):
            LiyouClient(address=head.address, token=token).jobs()
    with pytest.raises(ConfigError, match="data: Field required"):
        client._jobs.submit("train", {"out": "/nowhere"}).wait(poll_s=1)  # past the client's own check
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
