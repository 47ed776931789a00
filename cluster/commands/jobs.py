"""`liyou jobs`: trainings, studies and evaluations on a cluster, submitted as configurations. Parses, calls the client, prints."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cluster.client.client import LiyouClient
from cluster.client.jobs import ERROR, PROGRESS, RESULT, EvaluateConfig, Job
from common.errors import BadInput, ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

Address = Annotated[str | None, typer.Option(envvar="LIYOU_ADDRESS", help="the cluster's dashboard, http://HOST:8265")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="file with the cluster's token; else LIYOU_TOKEN, RAY_AUTH_TOKEN, the file RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token"),
]
JobId = Annotated[str, typer.Argument(help="as `submit` and `list` print it")]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout")]
MAX_LINE = 200


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(help="train, tune or evaluate")],
    config: Annotated[str, typer.Argument(help="a YAML file or, for train and tune, the name of a preset")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value; paths are the cluster's")] = None,
    address: Address = None,
    token_file: TokenFile = None,
    again: Annotated[bool, typer.Option("--again", help="also when it has succeeded: names may stand for other data now")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="print its progress until it ends; Ctrl-C leaves the job running")] = False,
    as_json: Json = False,
) -> None:
    """Submit a job, or find the one that runs or has succeeded with this configuration. The cluster checks the configuration again."""
    client = client_of(address, token_file)
    content = read_config(kind, config, overrides or [])
    if kind == "evaluate":
        job = client.evaluate(**content, again=again)  # type: ignore[arg-type]
    else:
        job = (client.train if kind == "train" else client.tune)(content, again=again)
    print(json.dumps({"id": job.id, "status": job.status()}) if as_json else job.id, flush=True)
    if follow:
        print_progress(job)
    else:
        sys.stderr.write(f"follow it: liyou jobs logs {job.id} --follow\n")


@app.command("list")
def list_jobs(address: Address = None, token_file: TokenFile = None, as_json: Json = False) -> None:
    """The jobs that were submitted so, the latest first: id, status, start in UTC, where its results go or what went wrong."""
    for job in client_of(address, token_file).jobs():
        details = job.details()
        if as_json:
            told = {"id": job.id, "status": details.status, "started_ms": details.start_time, "out": details.out, "message": details.told}
            print(json.dumps(told, ensure_ascii=False))
            continue
        started = f"{datetime.fromtimestamp(details.start_time / 1000, UTC):%m-%d %H:%M}" if details.start_time else ""
        said = details.told if details.status in ("FAILED", "PENDING") else details.out
        print(f"{job.id}  {details.status:<9}  {started:<11}  {said}".rstrip()[:MAX_LINE])


@app.command()
def logs(
    job_id: JobId,
    address: Address = None,
    token_file: TokenFile = None,
    follow: Annotated[bool, typer.Option("--follow", help="until it ends")] = False,
) -> None:
    """What a job has told: its stages with their notes, its error, and what else it printed."""
    job = client_of(address, token_file).job(job_id)
    for line in readable(job.follow() if follow else iter(job.logs().split("\n"))):
        print(line, flush=True)


@app.command()
def stop(job_id: JobId, address: Address = None, token_file: TokenFile = None) -> None:
    """Stop a job. Submitted again it goes on from its last checkpoint."""
    client_of(address, token_file).job(job_id).stop()
    print(f"{job_id} is asked to stop")


def client_of(address: str | None, token_file: Path | None) -> LiyouClient:
    if not address:
        raise BadInput("--address: got nothing; expected the URL of the cluster's dashboard, http://HOST:8265 (or LIYOU_ADDRESS)")
    return LiyouClient(address=address, token=token_of(token_file))


def token_of(file: Path | None) -> str | None:
    """As Ray looks for its token, after what was named here."""
    if file is not None and not file.is_file():
        raise ConfigError(f"--token-file {file}: no such file")
    for name in ("LIYOU_TOKEN", "RAY_AUTH_TOKEN"):
        if file is None and (value := os.environ.get(name)):
            return value.strip()
    path = file or Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text(encoding="utf-8").strip() or None if path.is_file() else None


def read_config(kind: str, name: str, overrides: list[str]) -> dict[str, object]:
    """The fields as they are sent. Raises ConfigError for what is wrong in them already here."""
    from cluster.commands.train import config_path
    from cluster.commands.tune import read_study
    from common.config import load_config
    from train_app.config import TrainConfig

    if kind == "train":
        return load_config(config_path(name), TrainConfig, overrides).model_dump(mode="json")
    if kind == "tune":
        return read_study(name, overrides).model_dump(mode="json")
    if kind != "evaluate":
        raise BadInput(f"kind: got {kind!r}; expected train, tune or evaluate")
    return load_config(name, EvaluateConfig, overrides).model_dump(mode="json")


def print_progress(job: Job) -> None:
    """Progress on stderr, the result on stdout."""
    for line in readable(job.follow()):
        sys.stderr.write(f"{line}\n")
    print(json.dumps(job.result(), ensure_ascii=False))


def readable(lines: Iterator[str]) -> Iterator[str]:
    """A job's lines for people: where a stage begins and ends, its notes, its error in words; what else it prints as it stands."""
    stage = ""
    for line in lines:
        if line.startswith(PROGRESS):
            told = json.loads(line.removeprefix(PROGRESS))
            if told.get("stage") != stage or told.get("step") == told.get("total") or told.get("note"):
                stage = told.get("stage")
                yield f"{stage} {told.get('step')}/{told.get('total')} {told.get('note', '')}".rstrip()
        elif line.startswith(ERROR):
            told = json.loads(line.removeprefix(ERROR))
            yield f"{told.get('code')}: {told.get('message')}"
        elif not line.startswith(RESULT):
            yield line
