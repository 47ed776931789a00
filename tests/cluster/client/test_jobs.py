"""The client against a dashboard that a test plays; the real one is in tests/prove/test_jobs.py."""

import tomllib
from pathlib import Path

import pytest

from cluster import LiyouClient
from cluster.client.dashboard import RAY_VERSION
from cluster.client.jobs import CONFIG, ENTRYPOINT, KIND, RELEASE, release
from common.errors import BadInput, ConfigError, JobFailed, NoResources, NotFound, Unauthorised, Unavailable, VersionMismatch
from train_app.config import TrainConfig

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "t0ken"
TRAINING = {"data": {"snapshot": "/data/snapshot"}, "out": "/data/runs", "seed": 3}


class Dashboard:
    """What Ray's dashboard does with jobs, as far as the client asks."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict] = {}
        self.logs: dict[str, str] = {}
        self.ray_version = RAY_VERSION

    def __call__(self, asked):
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "unauthorised"}
        parts = asked.path.strip("/").split("/")
        if parts == ["api", "version"]:
            return 200, {"ray_version": self.ray_version}
        if parts == ["api", "jobs"] and asked.method == "POST":
            if asked.body["submission_id"] in self.jobs:
                return 500, {"error": "already exists"}
            self.jobs[asked.body["submission_id"]] = {**asked.body, "status": "PENDING"}
            return 200, {"submission_id": asked.body["submission_id"]}
        if parts == ["api", "jobs"]:
            return 200, [*self.jobs.values(), {"submission_id": "somebody-elses", "status": "RUNNING"}]
        job = parts[2]
        if job not in self.jobs:
            return 404, {"error": "no such job"}
        if asked.method == "DELETE":
            return 200, self.jobs.pop(job)
        if parts[3:] == ["logs"]:
            return 200, {"logs": self.logs.get(job, "")}
        if parts[3:] == ["stop"]:
            self.jobs[job]["status"] = "STOPPED"
        return 200, self.jobs[job]


@pytest.fixture
def dashboard(server) -> Dashboard:
    server.answer = Dashboard()
    return server.answer


@pytest.fixture
def client(server, dashboard) -> LiyouClient:
    return LiyouClient(address=server.url, token=TOKEN, sleep=lambda seconds: None)


def test_what_is_submitted_is_a_configuration_and_nothing_that_runs(server, client) -> None:
    job = client.train(TRAINING)
    sent = next(asked.body for asked in server.asked if asked.method == "POST")
    assert sent["entrypoint"] == ENTRYPOINT == "python -m cluster.job"
    assert sent["submission_id"] == job.id
    assert "runtime_env" not in sent
    assert sent["metadata"][KIND] == "train"
    assert TrainConfig.model_validate_json(sent["metadata"][CONFIG]) == TrainConfig.model_validate(TRAINING)
    assert sent["metadata"][RELEASE] == release()


def test_submitting_twice_is_one_job_and_a_stopped_one_starts_again(dashboard, client) -> None:
    first = client.train(TRAINING)
    typed = {"seed": 3, "out": "/data/runs", "data": {"snapshot": "/data/snapshot", "pack": "shop"}, "lora": {"rank": 16}}
    assert client.train(typed).id == first.id, "neither the order of keys nor a default that is written out says anything"
    assert client.train(TRAINING | {"seed": 4}).id != first.id
    assert client.evaluate("lb-1", snapshot="/data/snapshot").id != client.evaluate("lb-1", snapshot="/data/snapshot", pack="/p").id
    assert len(dashboard.jobs) == 4
    first.stop()
    assert first.status() == "STOPPED"
    second = client.train(TRAINING)
    assert (second.id, second.status()) == (f"{first.id}-2", "PENDING")
    assert client.train(TRAINING).id == second.id
    dashboard.jobs[second.id]["status"] = "SUCCEEDED"
    assert client.train(TRAINING).id == second.id, "what is done is not done again"
    assert client.train(TRAINING, again=True).id == f"{first.id}-3", "but where that is asked for"
    assert {job.id for job in client.jobs()} == set(dashboard.jobs), "other people's jobs are not listed"


def test_progress_is_told_once_and_the_result_is_the_jobs(dashboard, client) -> None:
    job = client.train(TRAINING)
    lines = ['liyou-progress {"stage": "sft", "step": 1}', "a word of Ray", 'liyou-progress {"stage": "sft", "step": 2}']
    seen: list = []
    dashboard.logs[job.id] = "\n".join(lines)  # the last line is not whole yet
    dashboard.jobs[job.id]["status"] = "RUNNING"

    def finish(seconds: float) -> None:
        dashboard.logs[job.id] = "\n".join([*lines, 'liyou-result {"bundle_id": "lb-1"}']) + "\n"
        dashboard.jobs[job.id]["status"] = "SUCCEEDED"

    client._jobs.sleep = finish
    assert job.wait(seen.append) == {"bundle_id": "lb-1"}
    assert [one["step"] for one in seen] == [1, 2]


def test_waiting_ends_in_time_though_the_job_says_nothing_and_a_strange_title_ends_no_line(dashboard, server) -> None:
    ticks = iter(range(1000))
    client = LiyouClient(address=server.url, token=TOKEN, clock=lambda: float(next(ticks)), sleep=lambda seconds: None)
    job = client.train(TRAINING)
    with pytest.raises(Unavailable, match="still runs after 10 s"):
        job.wait(timeout_s=10)
    dashboard.logs[job.id] = 'liyou-progress {"stage": "sft", "title": "灯\u2028罩\x85"}\nliyou-result {"title": "灯\u2028罩"}\n'
    dashboard.jobs[job.id]["status"] = "SUCCEEDED"
    seen: list = []
    assert job.wait(seen.append) == {"title": "灯\u2028罩"}
    assert seen == [{"stage": "sft", "title": "灯\u2028罩\x85"}]


def test_what_answers_and_is_no_dashboard_is_told(server) -> None:
    for answer in ((404, {}), (200, ["page"]), (302, {})):
        server.answer = lambda asked, answer=answer: answer
        with pytest.raises(Unavailable, match=r"is no Ray dashboard|answered 302"):
            LiyouClient(address=server.url, token=TOKEN).jobs()


def test_a_jobs_error_is_raised_as_itself(dashboard, client) -> None:
    job = client.train(TRAINING)
    with pytest.raises(Unavailable, match="is pending; `wait` for it"):
        job.result()
    dashboard.jobs[job.id]["status"] = "FAILED"
    for code, kind in (("bad_config", ConfigError), ("no_resources", NoResources), ("version_mismatch", VersionMismatch)):
        dashboard.logs[job.id] = f'liyou-error {{"code": "{code}", "message": "sft.steps: why"}}\nRay says goodbye\n'
        with pytest.raises(kind, match=r"sft\.steps: why"):
            job.result()
    dashboard.logs[job.id] = "Traceback\nMemoryError\n"
    with pytest.raises(JobFailed, match=r"(?s)was failed without a result.*MemoryError"):
        job.result()


def test_tokens_addresses_and_versions_that_are_wrong_are_told(server, dashboard) -> None:
    for token, told in ((None, "it asks for a token and none was given"), ("stale", "the token was refused")):
        with pytest.raises(Unauthorised, match=told) as error:
            LiyouClient(address=server.url, token=token).jobs()
        assert "stale" not in str(error.value)
    with pytest.raises(Unavailable, match="nobody answers"):
        LiyouClient(address="http://127.0.0.1:9", token=TOKEN).jobs()
    with pytest.raises(BadInput, match="address: got 'head:8265'; expected the URL"):
        LiyouClient(address="head:8265")
    with pytest.raises(BadInput, match="address: got nothing"):
        LiyouClient().train(TRAINING)
    with pytest.raises(ConfigError, match="data: Field required"):
        LiyouClient(address=server.url).train({"out": "/data/runs"})
    with pytest.raises(BadInput, match="serve: got 'shop:8000'; expected the URL"):
        LiyouClient("shop:8000")
    with pytest.raises(NotFound, match="there is none; `liyou jobs list`"):
        LiyouClient(address=server.url, token=TOKEN).job("liyou-train-none")
    dashboard.ray_version = "2.40.0"
    client = LiyouClient(address=server.url, token=TOKEN)
    for _ in range(2):
        with pytest.raises(VersionMismatch, match=r"runs Ray 2\.40\.0; this client is of Ray"):
            client.jobs()


def test_the_clients_ray_is_the_one_that_is_installed_with_us() -> None:
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any(entry.startswith("ray[") and entry.endswith(f"=={RAY_VERSION}") for entry in pinned)
