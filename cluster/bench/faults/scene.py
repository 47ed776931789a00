"""The served graph that is broken: the starter from a registry, two replicas of each deployment, keys, limits and cache in a Redis, signed
answers, a record on a small disk; two candidates an item and one round, so that two cores carry the traffic."""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import yaml

from cluster.bench.faults.processes import GENERATOR, session_folder, titled, wait_until
from cluster.bench.faults.redis_server import RedisServer, redis_server
from cluster.local_server import free_port, local_server
from common.artifacts.registry import Registry
from common.artifacts.signing import Keyring, generate_private_key, public_key
from common.artifacts.storage import open_storage
from common.bundle.admission import read_manifest
from common.bundle.published import fetch_bundle
from common.contract.vouching import verified
from common.contract.wire import ReasonsResponse
from common.features.snapshot_build import build_snapshot
from serve_app.state.api_keys import digest, new_key
from serve_app.state.live import DEFAULT_ALIAS, STARTER

DEADLINE_MS = 10_000
COUNTED = ("hung", "gone", "back")
COUNTED_PER_MINUTE = 40
"""Items of each of these keys."""
LOCAL_SHARE = 0.25
DISK_BYTES = 64_000_000
STARTED_WITHIN_S = 400.0
"""Far more than an idle machine needs: eight replicas start at once."""
TWO = {"min_replicas": 2, "max_replicas": 2}
Moves = dict[str, object]


@dataclass(frozen=True)
class Scene:
    folder: Path
    url: str
    pid: int
    bundle_id: str
    metrics_port: int
    keys: Mapping[str, str]
    """flow: may ask as it likes; sandbox: gets templates; those of COUNTED have a limit"""
    keyring: Keyring
    session: Path
    """where the cluster's logs lie"""
    redis: RedisServer | None

    @property
    def registry(self) -> Registry:
        return Registry(open_storage(self.folder / "registry"))

    @property
    def record(self) -> Path:
        return self.folder / "record"

    def authorised(self, key: str = "flow") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[key]}", "X-Deadline-Ms": str(DEADLINE_MS)}

    def client(self, key: str = "flow") -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers=self.authorised(key), timeout=DEADLINE_MS / 1000 + 5)

    def policy(self) -> str:
        """The one that pages are judged by now."""
        with self.client() as client:
            return str(client.get("/v1/models").json()["models"][0]["policy_version"])

    def wrong(self, answer: ReasonsResponse) -> str:
        """Signatures bind each item to the bundle and the policy that stand over the page."""
        told = verified(answer, keys=self.keyring, now_s=time.time()).items
        return "; ".join(f"{one.product_id}: {one.message}" for one in told if not one.valid)

    def log_lines(self, deployment: str) -> list[str]:
        return [
            line
            for path in sorted((self.session / "logs" / "serve").glob(f"replica_liyou_{deployment}_*.log"))
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        ]

    def generators_started(self) -> int:
        """Since the scene began, canaries and all."""
        return sum("canaries passed" in line for line in self.log_lines("generator"))

    def generators(self) -> set[int]:
        return set(titled(self.pid, GENERATOR))

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series, as Prometheus would read them now."""
        text = httpx2.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith(f"ray_{name}{{")]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(one in line for one in wanted))

    def ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


def moved(by: str = "faults", reason: str = "make faults") -> dict[str, object]:
    """Who moves an alias, and when."""
    return {"by": by, "reason": reason, "at": datetime.now(UTC)}


@contextmanager
def scene(
    folder: Path,
    *,
    shared: bool = True,
    more: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    rows: Mapping[str, list[dict[str, object]]] | None = None,
) -> Iterator[Scene]:
    """`shared`: limits and cache in a Redis, the record on a disk of DISK_BYTES; else each replica for itself, and no record. `more`:
    fields of the configuration; `rows`: raw tables of a snapshot. Raises Unavailable where it does not come up."""
    folder.mkdir(parents=True)
    with ExitStack() as running:
        keys = issued(folder)
        private = generate_private_key()
        (folder / "private.pem").write_text(private)
        (folder / "secret").write_text(secrets.token_hex(32))
        config: dict[str, object] = {
            "doors": {"keys": str(folder / "keys.json")},
            "signing": {"key": str(folder / "private.pem")},
            "answer": {"k": 2, "max_attempts": 1},
            "generator": {"replicas": TWO, "resources": {"num_cpus": 0.4}},
            **{name: {"replicas": TWO} for name in ("api", "features")},
            "quality": {"replicas": TWO, "resources": {"num_cpus": 0.2}},
        }
        redis = None
        if shared:
            redis = running.enter_context(redis_server(folder))
            (folder / "redis-url").write_text(redis.url)
            running.enter_context(small_disk(folder / "record", num_bytes=DISK_BYTES))
            config["doors"] = {"keys": str(folder / "keys.json"), "redis": str(folder / "redis-url"), "local_share": LOCAL_SHARE}
            config["cache"] = {"redis": str(folder / "redis-url"), "secret": str(folder / "secret")}
            config["audit"] = {"to": str(folder / "record"), "secret": str(folder / "secret"), "flush_s": 1.0}
        if rows:
            (folder / "raw").mkdir()
            for name, table in rows.items():
                (folder / "raw" / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table))
            build_snapshot(folder / "raw", folder / "snapshot")
            config["snapshot"] = str(folder / "snapshot")
        (folder / "serve.yaml").write_text(yaml.safe_dump(config | dict(more or {}), allow_unicode=True))
        store = Registry(open_storage(folder / "registry"))
        store.promote(DEFAULT_ALIAS, publish(store, STARTER), **moved())  # type: ignore[arg-type]
        fetch_bundle(store, DEFAULT_ALIAS)
        metrics_port = free_port()
        words = ["--registry", str(folder / "registry"), "--config", str(folder / "serve.yaml"), "--port", str(free_port())]
        server = local_server(
            [*words, "--metrics-port", str(metrics_port)], log=folder / "serve.log", environment=environment, start_s=STARTED_WITHIN_S
        )
        ready = running.enter_context(server)
        made = Scene(
            folder, ready["url"], ready["pid"], ready["bundle_id"], metrics_port, keys,
            Keyring.of_pems([public_key(private)]), session_folder(ready["pid"]), redis,
        )  # fmt: skip
        wait_until(lambda: made.generators_started() >= 2, within_s=STARTED_WITHIN_S, what="two generators")
        yield made


def publish(store: Registry, folder: Path) -> str:
    """Without asking whether it may be served: as somebody does who can write to the registry."""
    return store.publish(folder, version=read_manifest(folder)[0].bundle_id)


@contextmanager
def small_disk(folder: Path, *, num_bytes: int) -> Iterator[None]:
    """A tmpfs: writing beyond its size is ENOSPC, as on a disk that is full. Needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def issued(folder: Path) -> dict[str, str]:
    """Keys by name, for a server that reads `keys.json` there."""
    keys = {name: new_key() for name in ("flow", "sandbox", *COUNTED)}
    entries: list[dict[str, object]] = [{"name": name, "tenant": name, "sha256": digest(key)} for name, key in keys.items()]
    for entry in entries:
        if entry["name"] in COUNTED:
            entry["limits"] = {"items_per_minute": COUNTED_PER_MINUTE}
        entry["sandbox"] = entry["name"] == "sandbox"
    (folder / "keys.json").write_text(json.dumps({"keys": entries}))
    return keys
