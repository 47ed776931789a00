"""`liyou deploy`: a Serve config file checked strictly and put to a running cluster. Parses, calls check and rollout, prints."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.client.dashboard import Dashboard
from cluster.client.rollout import Rollout
from cluster.commands.jobs import Address, TokenFile, token_of
from common.config import parse_documents, read_documents
from common.errors import BadInput, ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def deploy(
    file: Annotated[Path, typer.Argument(help="a Serve config file, or a manifest with a RayService whose serveConfigV2 is meant")],
    address: Address = None,
    token_file: TokenFile = None,
    check: Annotated[bool, typer.Option("--check", help="only check the file; needs no cluster")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="seconds to wait until everything runs")] = 1800,
) -> None:
    """Check a Serve config file strictly, deploy it as `serve deploy` does, and wait until it runs.

    Serve itself ignores the keys it does not know and returns before anything has started. Applications that the file does not name are
    deleted from the cluster, as `serve deploy` deletes them.
    """
    from serve_app.deploy_check import check as checked

    config = serve_config(file)
    checked(config, source=str(file))
    if check:
        print(f"{file}: in order")
        return
    if not address:
        raise BadInput("--address: got nothing; expected the URL of the cluster's dashboard, http://HOST:8265 (or LIYOU_ADDRESS)")
    rollout = Rollout(Dashboard(address, token=token_of(token_file)), clock=time.monotonic, sleep=time.sleep)
    began = time.monotonic()
    for line in rollout.deploy(config, timeout_s=timeout):
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {line}\n")
    print(f"{file}: running")


def serve_config(file: Path) -> dict[str, object]:
    """The file itself, or the serveConfigV2 of the one RayService in it. Raises ConfigError."""
    found = read_documents(file)
    services = [one for one in found if isinstance(one, dict) and one.get("kind") == "RayService"]
    if services:
        texts = [str((one.get("spec") or {}).get("serveConfigV2", "")) for one in services]
        found = [document for text in texts for document in parse_documents(text, source=f"{file}: serveConfigV2")]
    if len(found) != 1 or not isinstance(found[0], dict):
        raise ConfigError(f"{file}: expected one Serve config, a mapping, or one RayService with serveConfigV2; got {len(found)} documents")
    return found[0]
