"""`liyou serve`: a bundle behind HTTP on this machine, until it is told to stop; nothing is left running."""

import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import orjson
import typer

from common.errors import ConfigError, Unavailable

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

NUM_CPUS = 2
"""Logical cores that the graph's reservations need; a machine with one core runs it too, slower."""

APPLICATION = "liyou"
LOGGING = {"encoding": "JSON", "enable_access_log": False}
"""Of replicas; the lines that Serve itself would write of each request say less than ours."""
ROUND_TRIP_S = 5.0

RAY_ENVIRONMENT = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.http.proxied.middlewares",
}
"""Serve kills a proxy that is not up within 5 s and starts another, and Ray gives its workers niceness 15: beside other work on a two-core
machine no proxy ever came up, and a generator needed minutes. A server is no background work. A proxy that died is replaced when
three looks have missed it; Serve looks every ten seconds. The last keeps from it what it cannot read."""


@app.command()
def serve(
    bundle: Annotated[
        str | None, typer.Option(help="folder of a bundle, or version or alias with --registry; default: the starter")
    ] = None,
    registry: Annotated[str | None, typer.Option(help="URI of a registry: file:///PATH or s3://BUCKET/PREFIX")] = None,
    snapshot: Annotated[str | None, typer.Option(help="folder or s3:// name of a snapshot; without it, products come inline")] = None,
    base: Annotated[str | None, typer.Option(help="where the base model lies, if not where the bundle was trained with it")] = None,
    pack: Annotated[str | None, typer.Option(help="folder or s3:// URI of a pack; its lexicon, knowledge and templates apply")] = None,
    keys: Annotated[str | None, typer.Option(help="file of API keys that callers need, as `liyou keys issue` writes it")] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="a storefront page to try it on, at /demo/; without --snapshot over a simulated shop"),
    ] = False,
    config: Annotated[str | None, typer.Option(help="YAML with the fields of serve_app/config.py")] = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="where Prometheus finds metrics, at /metrics on all interfaces; default: a free port"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON line when ready, instead of words")] = False,
) -> None:
    """Serve a bundle over HTTP on this machine. Stop with Ctrl-C or SIGTERM: pages inside are answered first."""
    phases = Phases()
    with stopped_by_signals(), TemporaryDirectory(prefix="liyou-serve-") as folder:
        from ray import serve as ray_serve

        from cluster.session import connect
        from common.config import parse
        from serve_app.app import assembled, pinned
        from serve_app.config import ServeConfig

        phases.done("imports")
        refuse_taken_port(host, port)
        if metrics_port is not None:
            refuse_taken_port("0.0.0.0", metrics_port)
        arguments = merged(config, {"bundle": bundle, "registry": registry, "snapshot": snapshot, "base": base, "pack": pack})
        if keys is not None:
            doors = arguments.get("doors")
            arguments["doors"] = {**(doors if isinstance(doors, dict) else {}), "keys": str(Path(keys).resolve())}
        if demo:
            arguments = demonstrated(arguments, Path(folder))
            phases.done("demo")
        settings = parse(arguments, ServeConfig, source=config or "liyou serve")
        if settings.doors.refuses(host):
            raise ConfigError(f"--host {host}: anybody who reaches this machine could ask; pass --keys (`liyou keys issue`)")
        config_now, live = pinned(settings)
        application = assembled(config_now)
        phases.done("bundle checks")
        os.environ.update(RAY_ENVIRONMENT)
        with connect(num_cpus=max(NUM_CPUS, os.cpu_count() or 1), metrics_port=metrics_port):
            stop_on_signals()
            phases.done("ray")
            try:
                options = {"host": host, "port": port, "request_timeout_s": settings.http.deadline.max_ms / 1000 + 5}
                ray_serve.start(proxy_location="HeadOnly", http_options=options)
                phases.done("http proxy")
                ray_serve.run(application, name=APPLICATION, route_prefix="/", logging_config=LOGGING)
                phases.done("deployments and canaries")
                url = f"http://{host if host not in ('0.0.0.0', '::') else '127.0.0.1'}:{port}"
                first_answer(f"{url}/readyz")
                phases.done("first answer")
                typer.echo(report(url, live.manifest.bundle_id, phases, as_json=json, demo=settings.demo))
                until_told_to_stop(lambda: drained(settings.http.longest_s))
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                ray_serve.shutdown()  # type: ignore[no-untyped-call]


def until_told_to_stop(drain: Callable[[], int]) -> None:
    """Always raises Stopped: after `drain`, which says how many requests are still inside, or at once when told a second time."""
    try:
        while True:
            time.sleep(3600)
    except Stopped:
        typer.echo("stopping: pages inside are answered first; once more to leave at once", err=True)
        if left := drain():
            typer.echo(f"{left} requests were still inside", err=True)
        raise


def drained(within_s: float) -> int:
    """Every replica of `api` lets nobody in any more, says so at /readyz, and answers whom it has let in; how many it could not."""
    from ray import serve as ray_serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    try:
        response = ray_serve.get_app_handle(APPLICATION).broadcast("drain", within_s=within_s)
        return sum(response.results(timeout_s=within_s + ROUND_TRIP_S))
    except (RayError, RayServeException, TimeoutError) as error:
        typer.echo(f"a replica of api did not say that it is empty ({type(error).__name__})", err=True)
        return 0


class Phases:
    """Seconds that each phase of the start took, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.monotonic()

    def done(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._since, 2)
        self._since = now
        if name != "imports":  # what is wrong with the command is one line, and stands alone
            typer.echo(f"{name}: {self.seconds[name]:.1f} s", err=True)


def stop_on_signals() -> None:
    """SIGTERM and SIGINT become an exception in the main thread, so that what was started is stopped on the way out.

    Called again once Ray is up: `ray.init` puts a handler of its own in place, under which SIGTERM aborts the process.
    """

    def stop(number: int, frame: object) -> None:
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Being told to stop is success: exit code 0."""
    stop_on_signals()
    try:
        yield
    except Stopped:
        typer.echo("stopped", err=True)


class Stopped(BaseException):
    """Not an Exception: no handler on the way may take it for a failure."""


def merged(path: str | None, given: dict[str, str | None]) -> dict[str, object]:
    """The file's fields, and over them what stands on the command line."""
    from common.config import read_yaml

    fields = read_yaml(path) if path else {}
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, got {type(fields).__name__}")
    return fields | {name: value for name, value in given.items() if value is not None}


def demonstrated(arguments: dict[str, object], folder: Path) -> dict[str, object]:
    """With the page, and what it shows where nothing was given: a simulated shop, and a key that signs for as long as this runs."""
    from common.artifacts.signing import generate_private_key

    if arguments.get("snapshot") is None:
        from common.features.snapshot_build import build_snapshot
        from train_app.sample_shop.generate import generate_shop

        generate_shop(folder / "shop", users=60, products=300, reasons=300)
        build_snapshot(folder / "shop", folder / "snapshot")
        arguments = arguments | {"snapshot": str(folder / "snapshot")}
    if arguments.get("signing") is None:
        (folder / "signing.pem").write_text(generate_private_key(), encoding="ascii")
        arguments = arguments | {"signing": {"key": str(folder / "signing.pem")}}
    return arguments | {"demo": True}


def refuse_taken_port(host: str, port: int) -> None:
    """Ray would find out a minute later and say less."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error.strerror}; stop what does, or pass --port") from error


def first_answer(url: str) -> None:
    """Asked for over HTTP as anybody would; the proxy may need a moment to hear of the routes."""
    for _ in range(50):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise Unavailable(f"{url} did not answer though all deployments are up; see the Serve logs")


def report(url: str, bundle_id: str, phases: Phases, *, as_json: bool, demo: bool = False) -> str:
    total_s = round(sum(phases.seconds.values()), 1)
    if as_json:
        facts = {"url": url, "bundle_id": bundle_id, "phases_s": phases.seconds, "total_s": total_s, "pid": os.getpid()}
        return orjson.dumps(facts).decode()
    lines = [f"serving {bundle_id} at {url}/v1/reasons after {total_s} s"]
    lines += [f"  {name:<26}{seconds:6.1f} s" for name, seconds in phases.seconds.items()]
    if demo:
        lines.append(f"  look: {url}/demo/")
    lines.append('  try: curl -s -H "Content-Type: application/json" ' + url + "/v1/reasons -d '" + EXAMPLE + "'")
    return "\n".join(lines)


EXAMPLE = '{"items": [{"product": {"product_id": "p1", "title": "真无线降噪耳机", "category": "蓝牙耳机", "price": 299}}]}'
