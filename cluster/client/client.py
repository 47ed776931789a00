"""`LiyouClient`: one object for a storefront (`reasons`, `models`) and for an ML engineer (`train`, `tune`, `evaluate`)."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from cluster.client.dashboard import Dashboard
from cluster.client.jobs import EvaluateConfig, Job, Jobs
from cluster.client.serving import Item, Serving
from common.artifacts.signing import Keyring
from common.config import Frozen, parse
from common.contract.vouching import verified
from common.contract.wire import ItemReason, KeysResponse, ModelsResponse, ReasonsResponse, Verification, WarmResponse
from common.errors import BadInput
from train_app.config import TrainConfig
from tune_app.config import TuneConfig


class LiyouClient:
    """`serve`: where reasons are asked for, http://HOST:8000; `key`: an API key, where that wants one. `address`: a cluster's dashboard,
    http://HOST:8265; `token`: its own."""

    def __init__(
        self,
        serve: str | None = None,
        *,
        key: str | None = None,
        address: str | None = None,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._serving = None if serve is None else Serving(serve, key=key, clock=clock, sleep=sleep)
        self._jobs = None if address is None else Jobs(Dashboard(address, token=token), clock=clock, sleep=sleep)

    def close(self) -> None:
        """Its connections to the API; `with LiyouClient(...) as client` does it too."""
        if self._serving is not None:
            self._serving.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def reasons(
        self,
        items: Item | Sequence[Item],
        *,
        user: str | Mapping[str, object] | None = None,
        controls: Mapping[str, str | None] | None = None,
        personalise: bool = True,
        explain: bool = False,
        deadline_ms: int = 10_000,
    ) -> ReasonsResponse:
        """A reason for each item, in their order; an item is a product's id or the fields of a RequestItem
        ({"product": {"product_id": …, "title": …}} for one that the shop's snapshot lacks), a user an id or a RequestUser.
        `personalise=False` for a user who opted out: neither past nor tastes are looked at. `explain`: each reason that a model wrote has
        `attribution`, what each code had to do with it, and counts twice against the key's limits.

        Tries again within the deadline where that is safe. Raises what the server answered as itself (BadControl, ProductNotFound, …), and
        Unavailable or DeadlineExceeded when nobody answered in time.
        """
        serving = self._storefront()
        body = serving.body(items, user=user, controls=controls, personalise=personalise, deadline_ms=deadline_ms)
        return serving.reasons(body, deadline_ms=deadline_ms, explain=explain)

    def each_reason(
        self,
        items: Item | Sequence[Item],
        *,
        user: str | Mapping[str, object] | None = None,
        controls: Mapping[str, str | None] | None = None,
        personalise: bool = True,
        deadline_ms: int = 10_000,
    ) -> Iterator[tuple[int, ItemReason]]:
        """As `reasons`, but each item as soon as it is accepted, with its place in what was asked. Tries again until the first has come;
        raises Unavailable where the answer breaks off later, and keys, bundle and policy are those of `reasons`."""
        serving = self._storefront()
        body = serving.body(items, user=user, controls=controls, personalise=personalise, deadline_ms=deadline_ms)
        return serving.each(body, deadline_ms=deadline_ms)

    def warm(
        self,
        items: Item | Sequence[Item],
        *,
        user: str | Mapping[str, object] | None = None,
        controls: Mapping[str, str | None] | None = None,
        personalise: bool = True,
        deadline_ms: int = 60_000,
    ) -> WarmResponse:
        """Has a page written and kept before anybody asks for it; how many of its items are, in numbers. `liyou warm` takes plans."""
        serving = self._storefront()
        body = serving.body(items, user=user, controls=controls, personalise=personalise, deadline_ms=deadline_ms)
        return serving.warm(body, deadline_ms=deadline_ms)

    def models(self) -> ModelsResponse:
        """Which bundle answers, with its control codes."""
        return self._storefront().get("/v1/models", ModelsResponse)

    def keys(self) -> KeysResponse:
        """Public keys of the signatures under reasons, to be kept where answers are checked: `verify` asks nobody."""
        return self._storefront().get("/v1/keys", KeysResponse)

    @staticmethod
    def verify(answer: ReasonsResponse, *, keys: KeysResponse, now: Callable[[], float] = time.time) -> tuple[Verification, ...]:
        """Of every item, in order, whether it is what was signed, by keys that were got from the server once. Asks nobody: the answer may
        have come over a cache, a queue or a file (`ReasonsResponse.model_validate_json`). Raises ConfigError for keys that are none."""
        return verified(answer, keys=Keyring.of_jwks(keys.keys), now_s=now()).items

    def train(self, config: Mapping[str, object], *, again: bool = False) -> Job:
        """Trains on the cluster as `liyou train` does here; `config` has the fields of train_app/config.py, its paths are the cluster's.

        The same configuration is the same job: submitted again it is the one that runs or has succeeded, and one that failed or was
        stopped goes on from its last checkpoint. `again`: one that succeeded is done once more, since names may stand for other data now.
        Raises ConfigError, Unauthorised, VersionMismatch, Unavailable.
        """
        return self._cluster().submit("train", normal(config, TrainConfig), again=again)

    def tune(self, config: Mapping[str, object], *, again: bool = False) -> Job:
        """A study on the cluster; `config` has the fields of tune_app/config.py. As `train` otherwise."""
        return self._cluster().submit("tune", normal(config, TuneConfig), again=again)

    def evaluate(
        self,
        bundle: str,
        *,
        snapshot: str,
        registry: str | None = None,
        pack: str | None = None,
        rows: int = 500,
        again: bool = False,
    ) -> Job:
        """Measures a bundle (a folder, an s3:// name, or a version or alias of `registry`) on a snapshot's test rows."""
        config = {"bundle": bundle, "snapshot": snapshot, "registry": registry, "pack": pack, "rows": rows}
        return self._cluster().submit("evaluate", normal(config, EvaluateConfig), again=again)

    def jobs(self) -> list[Job]:
        """All that were submitted by this client or `liyou jobs`, the latest first."""
        return self._cluster().list()

    def job(self, job_id: str) -> Job:
        """Raises NotFound."""
        return self._cluster().get(job_id)

    def _storefront(self) -> Serving:
        if self._serving is None:
            raise BadInput('serve: got nothing; expected the URL of the API, LiyouClient("http://HOST:8000")')
        return self._serving

    def _cluster(self) -> Jobs:
        if self._jobs is None:
            raise BadInput('address: got nothing; expected the URL of the cluster\'s dashboard, LiyouClient(address="http://HOST:8265")')
        return self._jobs


def normal(config: Mapping[str, object], model: type[Frozen]) -> dict[str, object]:
    """With every default written out: however it was typed, the same configuration has the same digest. Raises ConfigError."""
    return parse(dict(config), model, source=model.__name__).model_dump(mode="json")
