"""Jobs on a Ray cluster over its dashboard's REST interface. What is sent is a configuration; what runs is `cluster.job`, which checks it.

Needs no Ray here. Progress is read off the job's log, which is fetched whole at each look: a log of a day's training is a few megabytes.
"""

import builtins
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from pydantic import BaseModel, Field

from cluster.client.dashboard import Dashboard
from common.artifacts.digest import canonical_json, sha256_bytes
from common.config import Frozen
from common.errors import BadInput, JobFailed, LiyouError, NotFound, Unavailable, by_code

ENTRYPOINT = "python -m cluster.job"
KIND, CONFIG, RELEASE = "liyou_kind", "liyou_config", "liyou_version"
"""Keys of a job's metadata, which Ray hands to its driver."""
PROGRESS, RESULT, ERROR = "liyou-progress ", "liyou-result ", "liyou-error "
"""What a job's lines for its client begin with; JSON follows."""
ID = "liyou-"
Status = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


def release() -> str:
    """Of this package; clients and clusters of different ones do not talk."""
    try:
        return version("liyou")
    except PackageNotFoundError:
        return "unpackaged"


class EvaluateConfig(Frozen):
    bundle: str = Field(min_length=1, description="folder, s3://BUCKET/REGISTRY/VERSION, or version or alias of the registry")
    snapshot: str = Field(min_length=1, description="folder or s3:// name; its test rows are read")
    registry: str | None = Field(None, description="URI; null: `bundle` is a folder or s3:// name")
    pack: str | None = Field(None, description="folder or s3:// URI of a pack that does not ship")
    rows: int = Field(500, ge=1, description="test rows, at most")


PATHS = ("data.snapshot", "out", "train.data.snapshot", "train.out", "snapshot")
"""Fields that name a place in the cluster, of trainings, studies and evaluations."""


def refuse_relative(config: Mapping[str, object]) -> None:
    """A relative path would be read from wherever the cluster was started. Raises BadInput naming the field."""
    for dotted in PATHS:
        node: object = config
        for part in dotted.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, str) and not node.startswith(("/", "s3://")):
            raise BadInput(f"{dotted}: got {node!r}; expected a path of the cluster's from its root, /…, or s3://BUCKET/PREFIX")


class Details(BaseModel):
    """The part of Ray's JobDetails that is read."""

    submission_id: str | None = None
    status: Status
    message: str | None = None
    metadata: dict[str, str] | None = None
    start_time: int | None = Field(None, description="milliseconds since 1970")

    @property
    def told(self) -> str:
        """In one line: the job's own error where its message holds one, else the message."""
        lines = (self.message or "").split("\n")
        error = next((line[line.index(ERROR) + len(ERROR) :] for line in reversed(lines) if ERROR in line), None)
        if error is None:
            return " ".join(" ".join(lines).split())
        try:
            found = json.loads(error)
            return f"{found['code']}: {' '.join(str(found['message']).split())}"
        except (ValueError, KeyError, TypeError):
            return " ".join(error.split())

    @property
    def out(self) -> str:
        """Where its configuration says that results go; empty where it does not."""
        try:
            config = json.loads((self.metadata or {}).get(CONFIG, "{}"))
            return str(config.get("out") or config.get("train", {}).get("out") or config.get("bundle") or "")
        except (ValueError, AttributeError):
            return ""


class Jobs:
    def __init__(self, dashboard: Dashboard, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self.call = dashboard.call
        self.clock, self.sleep = clock, sleep

    def submit(self, kind: str, config: Mapping[str, object], *, again: bool = False) -> "Job":
        """One job for one configuration, until it has failed or was stopped: then the next attempt, which has a number behind its id.
        `again`: also when it has succeeded, since what its names stand for may have changed.

        Raises BadInput for a relative path, Unauthorised, VersionMismatch, Unavailable; what else is wrong in `config` the job tells.
        """
        content = json.dumps(config, ensure_ascii=False, default=str)
        refuse_relative(json.loads(content))
        first = f"{ID}{kind}-{sha256_bytes(canonical_json(json.loads(content)))[:20]}"
        attempts = {self._attempt(one.submission_id or ""): one for one in self._ours() if (one.submission_id or "").startswith(first)}
        last = max(attempts, default=0)
        if last and attempts[last].status not in ("FAILED", "STOPPED", *(("SUCCEEDED",) if again else ())):
            return Job(self, str(attempts[last].submission_id))
        # Not the old id again: Ray's supervisor of a stopped job lives on for a moment and takes the new one down with it.
        job = Job(self, f"{first}-{last + 1}" if last else first)
        metadata = {KIND: kind, CONFIG: content, RELEASE: release()}
        try:
            self.call("POST", "/api/jobs/", {"entrypoint": ENTRYPOINT, "submission_id": job.id, "metadata": metadata})
        except Unavailable:
            try:
                job.status()  # somebody else submitted the same at this moment
            except NotFound:
                pass
            else:
                return job
            raise
        return job

    def list(self) -> list["Job"]:
        return [Job(self, str(one.submission_id)) for one in self._ours()]

    def _ours(self) -> "builtins.list[Details]":
        """The latest first."""
        found = [Details.model_validate(entry) for entry in self.call("GET", "/api/jobs/").json()]
        ours = [one for one in found if (one.submission_id or "").startswith(ID)]
        return sorted(ours, key=lambda one: one.start_time or 0, reverse=True)

    @staticmethod
    def _attempt(job_id: str) -> int:
        """liyou-KIND-DIGEST is the first, liyou-KIND-DIGEST-2 the second."""
        _, _, _, *number = job_id.split("-")
        return int(number[0]) if number else 1

    def get(self, job_id: str) -> "Job":
        job = Job(self, job_id)
        job.status()
        return job


class Job:
    """A handle: it holds the id, everything else is asked for."""

    def __init__(self, jobs: Jobs, job_id: str) -> None:
        self._jobs, self.id = jobs, job_id

    def details(self) -> Details:
        return Details.model_validate(self._jobs.call("GET", f"/api/jobs/{self.id}").json())

    def status(self) -> Status:
        return self.details().status

    def logs(self) -> str:
        """All that it has printed so far."""
        return str(self._jobs.call("GET", f"/api/jobs/{self.id}/logs").json()["logs"])

    def follow(self, *, poll_s: float = 2.0, timeout_s: float | None = None) -> Iterator[str]:
        """Its lines as they come, until it has ended. Raises Unavailable where it still runs after `timeout_s`."""
        end_s, told = None if timeout_s is None else self._jobs.clock() + timeout_s, 0
        while True:
            ended = self.status() in ENDED
            *whole, rest = self.logs().split("\n")  # not splitlines: a title may hold other ends of lines than ours
            yield from whole[told:]
            told = len(whole)
            if ended:
                yield from [rest] if rest else []
                return
            if end_s is not None and self._jobs.clock() > end_s:
                raise Unavailable(f"job {self.id} still runs after {timeout_s:g} s; wait on, or `stop` it")
            self._jobs.sleep(poll_s)

    def wait(
        self, on_progress: Callable[[dict[str, object]], None] | None = None, *, timeout_s: float | None = None, poll_s: float = 2.0
    ) -> dict[str, object]:
        """The result; `on_progress` gets each Progress. Raises as `result` and `follow`."""
        for line in self.follow(poll_s=poll_s, timeout_s=timeout_s):
            if on_progress and line.startswith(PROGRESS):
                on_progress(json.loads(line.removeprefix(PROGRESS)))
        return self.result()

    def stop(self) -> None:
        """Asks it to stop; `status` tells when it has. What it has checkpointed stays."""
        self._jobs.call("POST", f"/api/jobs/{self.id}/stop")

    def result(self) -> dict[str, object]:
        """What the job gave back. Raises its error as itself (ConfigError, NoResources, …), JobFailed where it has none, Unavailable while
        it runs."""
        details = self.details()
        if details.status not in ENDED:
            raise Unavailable(f"job {self.id} is {details.status.lower()}; `wait` for it")
        lines = self.logs().split("\n")
        for line in reversed(lines):
            if line.startswith(RESULT):
                found: dict[str, object] = json.loads(line.removeprefix(RESULT))
                return found
            if line.startswith(ERROR):
                told = json.loads(line.removeprefix(ERROR))
                kind: type[LiyouError] = by_code(told["code"])
                raise kind(told["message"])
        last = "\n".join(lines[-6:])
        raise JobFailed(f"job {self.id} was {details.status.lower()} without a result: {details.message or ''}\n{last}".rstrip())
