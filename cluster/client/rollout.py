"""A Serve config put to a running cluster and watched until it runs. `serve deploy` only puts: it returns before anything has started."""

from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel

from cluster.client.dashboard import Dashboard
from common.errors import DeployFailed, Unavailable

PATH = "/api/serve/applications/"
POLL_S = 1.0


class Deployment(BaseModel):
    status: str
    message: str = ""
    target_num_replicas: int | None = None
    replicas: list[dict[str, object]] = []

    @property
    def running(self) -> int:
        return sum(one.get("state") == "RUNNING" for one in self.replicas)


class Application(BaseModel):
    status: str
    message: str = ""
    last_deployed_time_s: float = 0.0
    deployments: dict[str, Deployment] = {}


class Rollout:
    def __init__(self, dashboard: Dashboard, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.dashboard, self.clock, self.sleep = dashboard, clock, sleep

    def applications(self) -> dict[str, Application]:
        """What is deployed now, by name."""
        told = self.dashboard.call("GET", PATH).json().get("applications", {})
        return {name: Application.model_validate(one) for name, one in told.items()}

    def deploy(self, config: Mapping[str, object], *, timeout_s: float) -> Iterator[str]:
        """Lines that tell how it comes up, until every application of `config` runs.

        Applications that `config` does not name are deleted: so Serve takes a config file. Raises DeployFailed with what the failed
        deployment says, Unavailable after `timeout_s`; Serve goes on trying then.
        """
        listed = config["applications"]
        assert isinstance(listed, list)
        names = [str(one.get("name", "default")) for one in listed]
        before = self.applications()
        if gone := sorted(before.keys() - set(names)):
            yield f"deletes {', '.join(gone)}: not in the file"
        self.dashboard.call("PUT", PATH, config)
        end_s, told = self.clock() + timeout_s, dict[str, str]()
        while True:
            now = {name: one for name, one in self.applications().items() if name in names}
            # Until the controller has taken the new config it still tells the state of the old one.
            new = {
                name: one for name, one in now.items() if name not in before or one.last_deployed_time_s > before[name].last_deployed_time_s
            }
            for name, application in new.items():
                for line in lines(name, application):
                    if told.get(key := line.partition(" ")[0]) != line:
                        told[key] = line
                        yield line
                if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                    reasons = [f"{one}: {state.message}" for one, state in application.deployments.items() if state.message]
                    raise DeployFailed(f"application {name}: {application.status.lower()}: {application.message}\n" + "\n".join(reasons))
            if len(new) == len(names) and all(one.status == "RUNNING" for one in new.values()):
                return
            if self.clock() > end_s:
                raise Unavailable(f"not up after {timeout_s:g} s; Serve goes on trying: " + "; ".join(told.values()))
            self.sleep(POLL_S)


def lines(name: str, application: Application) -> list[str]:
    parts = [
        f"{name}/{one} {state.status.lower()}, {state.running} of {state.target_num_replicas} replicas"
        for one, state in application.deployments.items()
    ]
    return [f"{name} {application.status.lower()}", *parts]
