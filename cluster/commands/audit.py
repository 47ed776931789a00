"""`liyou audit`: the record of what was shown: whether it is whole, what a user was shown, and the end of what may be forgotten."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cluster.trusted_keys import TrustedKeys, read_pems
from common.artifacts.signing import Keyring
from common.artifacts.storage import Storage, open_storage
from common.contract.audit import Lost, Place, Shown, pseudonym, read_segment
from common.errors import BadInput, NotFound, Tampered
from serve_app.state.secret import read_secret

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)

LEAST_DAYS = 184
"""Six months at least."""
Record = Annotated[str, typer.Argument(help="folder, file:// or s3:// URI, as audit.to of what is served")]


@app.command()
def verify(
    record: Record,
    trusted_key: TrustedKeys = None,
) -> None:
    """Check that no line was changed, taken out or put in. Exit code 1: one was, and where.

    Without a key, whoever can write the record could have written all of it anew. A whole chain, or what
    one showed after its last segment, nobody misses: that nothing is deleted is up to the storage.
    """
    keys = Keyring.of_pems(read_pems(trusted_key)) if trusted_key else None
    storage, wrong, num_shown, num_lost = open_storage(record), [], 0, 0
    kept_from = datetime.now(UTC).date() - timedelta(days=LEAST_DAYS)
    chains = _chains(storage, record)
    for chain, names in chains.items():
        place: Place | None = None
        for key in names:
            try:
                if place is None and not key.endswith(f"/{0:08d}.jsonl") and chain[:8] >= f"{kept_from:%Y%m%d}":
                    raise Tampered("the segments before it are gone, and had to be kept")
                entries, place = read_segment(storage.get(key), place=place, keys=keys)
                if place.chain != chain:
                    raise Tampered(f"it is a segment of {place.chain}")
            except Tampered as error:
                wrong.append(f"{key}: {error}")
                break
            num_shown += sum(isinstance(one, Shown) for one in entries)
            num_lost += sum(one.count for one in entries if isinstance(one, Lost))
    print(f"{len(chains)} chains, {num_shown} texts" + (f", and {num_lost} that storage could not take in time" if num_lost else ""))
    if keys is None:
        print("no key was given: that nobody wrote the whole record anew was not checked")
    if wrong:
        raise Tampered("\n  ".join([f"{record} is not as it was written:", *wrong]))


@app.command()
def show(
    record: Record,
    user: Annotated[str | None, typer.Option(help="what was shown to this user; needs --secret")] = None,
    secret: Annotated[Path | None, typer.Option(help="file that made the pseudonyms, audit.secret of what is served")] = None,
    tenant: Annotated[str | None, typer.Option(help="to this tenant's users; with --user: whose user that is")] = None,
    product: Annotated[str | None, typer.Option(help="what was shown of this product")] = None,
    content: Annotated[str | None, typer.Option(help="content number: produce_id of an item's label")] = None,
    request: Annotated[str | None, typer.Option(help="request_id of an answer")] = None,
    day: Annotated[str | None, typer.Option(help="YYYY-MM-DD, UTC")] = None,
) -> None:
    """Print what was shown, a JSON line each, oldest day first. Stops at a segment that is not as it was written."""
    if (user is None) != (secret is None):
        raise BadInput("--user and --secret: got one of them; a user's lines are found by the pseudonym that the secret makes")
    wanted = {"tenant": tenant, "product_id": product, "produce_id": content, "request_id": request}
    if user is not None and secret is not None:
        wanted["user"] = pseudonym(user, tenant=tenant, secret=read_secret(secret, field="--secret"))
    for entry in recorded(open_storage(record), record, day=day):
        if isinstance(entry, Lost) or all(value is None or getattr(entry, name) == value for name, value in wanted.items()):
            print(entry.model_dump_json())


@app.command()
def prune(
    record: Record,
    keep_days: Annotated[int, typer.Option(min=LEAST_DAYS, help="days that are kept; six months at least")] = LEAST_DAYS,
    yes: Annotated[bool, typer.Option("--yes", help="remove them; without it they are only counted")] = False,
) -> None:
    """Remove the days that no longer have to be kept. `verify` begins with the first segment of a chain that is left."""
    storage, limit = open_storage(record), datetime.now(UTC).date() - timedelta(days=keep_days)
    old = [key for key in _keys(storage, record) if key < limit.isoformat()]
    if yes:
        for key in old:
            storage.remove(key)
    print(f"{'removed' if yes else 'would remove'} {len(old)} segments from before {limit}" + ("" if yes else "; --yes removes them"))


def _keys(storage: Storage, record: str) -> list[str]:
    """DAY/CHAIN/NUMBER.jsonl, sorted. Raises NotFound where there is none."""
    keys = [key for key in storage.list() if key.endswith(".jsonl") and key.count("/") == 2]
    if not keys:
        raise NotFound(f"{record}: no segments there; expected what audit.to of a served application names")
    return keys


def _chains(storage: Storage, record: str) -> dict[str, list[str]]:
    """Chain -> its segments in order, over all days."""
    chains: dict[str, list[str]] = {}
    for key in sorted(_keys(storage, record), key=lambda key: key.rsplit("/", 1)[1]):
        chains.setdefault(key.split("/")[1], []).append(key)
    return chains


def recorded(storage: Storage, record: str, *, day: str | None) -> Iterator[Shown | Lost]:
    for key in _keys(storage, record):
        if day is None or key.startswith(f"{day}/"):
            found, _ = read_segment(storage.get(key), place=None, keys=None)
            yield from found
