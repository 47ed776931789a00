"""A rollout against a dashboard that a test plays; a real one is in tests/prove/test_deploy.py."""

from typing import Any

import pytest

from cluster.client.dashboard import RAY_VERSION, Dashboard
from cluster.client.rollout import Rollout
from common.errors import DeployFailed, Unavailable

CONFIG = {"applications": [{"name": "liyou", "import_path": "serve_app.app:build"}]}


def state(status: str, *, running: int = 0, at: float = 2.0, message: str = "") -> dict[str, Any]:
    replicas = [{"state": "RUNNING"}] * running + [{"state": "STARTING"}] * (2 - running)
    generator = {"status": "UPDATING" if running < 2 else "HEALTHY", "message": message, "target_num_replicas": 2, "replicas": replicas}
    return {"status": status, "message": message, "last_deployed_time_s": at, "deployments": {"generator": generator}}


class Serve:
    """Tells one state after the other from the moment that a config was put."""

    def __init__(self, before: dict[str, Any], after: list[dict[str, Any]]) -> None:
        self.before, self.after, self.put = before, after, None

    def __call__(self, asked: Any) -> Any:
        if asked.path == "/api/version":
            return 200, {"ray_version": RAY_VERSION}
        if asked.method == "PUT":
            self.put = asked.body
            return 200, None
        if self.put is None:
            return 200, {"applications": self.before}
        return 200, {"applications": self.after.pop(0) if len(self.after) > 1 else self.after[0]}


def rollout(server: Any, serve: Serve) -> Rollout:
    server.answer, ticks = serve, iter(range(10_000))
    return Rollout(Dashboard(server.url, token=None), clock=lambda: float(next(ticks)), sleep=lambda seconds: None)


def test_it_waits_for_what_was_put_and_tells_each_change_once(server: Any) -> None:
    old = {"liyou": state("RUNNING", running=2, at=1.0), "other": state("RUNNING", running=2, at=1.0)}
    new = [{"liyou": state("DEPLOYING")}, {"liyou": state("DEPLOYING", running=1)}, {"liyou": state("RUNNING", running=2)}]
    serve = Serve(old, [old, old, *new])
    lines = list(rollout(server, serve).deploy(CONFIG, timeout_s=1000))
    assert serve.put == CONFIG
    assert lines == [
        "deletes other: not in the file",
        "liyou deploying",
        "liyou/generator updating, 0 of 2 replicas",
        "liyou/generator updating, 1 of 2 replicas",
        "liyou running",
        "liyou/generator healthy, 2 of 2 replicas",
    ]


def test_an_application_that_fails_is_told_with_its_reason(server: Any) -> None:
    serve = Serve({}, [{"liyou": state("DEPLOY_FAILED", message="canary_failed: log-probabilities differ")}])
    with pytest.raises(DeployFailed, match=r"(?s)application liyou: deploy_failed.*generator: canary_failed"):
        list(rollout(server, serve).deploy(CONFIG, timeout_s=1000))


def test_it_stops_waiting_and_says_what_it_last_saw(server: Any) -> None:
    with pytest.raises(Unavailable, match="not up after 5 s; Serve goes on trying: liyou deploying; liyou/generator updating, 1 of 2"):
        list(rollout(server, Serve({}, [{"liyou": state("DEPLOYING", running=1)}])).deploy(CONFIG, timeout_s=5))
