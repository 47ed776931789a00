"""F12, F14, F16: what lies on disks is spoilt, poisoned, or has no room left."""

import errno
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx2

from cluster.bench.faults.matrix import Seen, seen, unless
from cluster.bench.faults.poison import POISONS, flip
from cluster.bench.faults.processes import GENERATOR, sigkill, titled, wait_until
from cluster.bench.faults.scene import Scene, moved, publish, scene, small_disk
from cluster.bench.faults.traffic import Traffic
from common.artifacts.registry import Registry
from common.bundle.manifest import ADAPTER_WEIGHTS
from common.contract.audit import Lost, Shown, read_segment
from common.contract.wire import ReasonsResponse
from common.errors import Unavailable
from common.packs.load import load_pack
from common.packs.policy import ALIAS, publish_policy
from common.packs.schema import Pack
from serve_app.state.live import DEFAULT_ALIAS, STARTER

BACK_S = 120.0
FULL_S = 8.0
COMMAND_S = 120.0
MARKED = "黑色"
"""What the stricter policy does not allow; a third of the products of the traffic are of it."""
LOG_DISK_BYTES = 200_000_000


def flipped_byte(scene: Scene) -> Seen:
    store = scene.registry
    stored = scene.folder / "registry" / "objects" / store.describe(scene.bundle_id).files[ADAPTER_WEIGHTS]
    copy = store.storage.cache_dir / scene.bundle_id / ADAPTER_WEIGHTS
    with Traffic(scene, name="F12") as traffic:
        traffic.flow(4.0)
        flip(stored)
        from_copy_s = _one_replaced(scene)
        flip(copy)
        before = scene.generators_started()
        sigkill(next(iter(titled(scene.pid, GENERATOR).values())))
        traffic.flow(20.0)
        started = scene.generators_started() - before
        refusals = _refusals(scene)
        alias = store.resolve(DEFAULT_ALIAS)
        publish(store, STARTER)
        mended_s = wait_until(lambda: scene.generators_started() > before, within_s=BACK_S, what="a generator, after the bundle was mended")
        traffic.flow(4.0)
    wrong = unless(started == 0, "a generator started from a damaged bundle") + unless(refusals, "no log says digest_mismatch")
    wrong += unless(alias == scene.bundle_id, "the alias moved")
    told = (
        f"Stored object damaged: a killed generator came back from the verified copy in {from_copy_s:.0f} s. Copy damaged too: the next "
        f"was refused (DigestMismatch in the logs: {refusals}), the other went on; published again, it was up after {mended_s:.0f} s."
    )
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, mended_s=round(mended_s, 1), refusals=refusals)


def _one_replaced(scene: Scene) -> float:
    before = scene.generators_started()
    sigkill(next(iter(titled(scene.pid, GENERATOR).values())))
    return wait_until(lambda: scene.generators_started() > before, within_s=BACK_S, what="a generator in its place")


def _refusals(scene: Scene) -> int:
    """Lines of Serve's logs in which a bundle is refused for its digest."""
    folder = scene.session / "logs" / "serve"
    return sum(path.read_text(encoding="utf-8", errors="replace").count("DigestMismatch") for path in folder.glob("*.log"))


def poisoned(scene: Scene) -> Seen:
    store, shop = scene.registry, load_pack("shop")
    strict, wrong = stricter(shop), list[str]()
    versions = {one.policy_version for one in (shop, strict)}

    def found_wrong(answer: ReasonsResponse) -> str:
        return scene.wrong(answer) or mixed(answer, strict=strict.policy_version)

    with Traffic(scene, name="F14", rate=1.5, found_wrong=found_wrong) as traffic:
        for number, (name, (spoil, told)) in enumerate(POISONS.items()):
            folder = scene.folder / "poisoned" / f"{number}"
            shutil.copytree(STARTER, folder)
            spoil(folder)
            wrong += refused(["bundle", "promote", str(folder), "--registry", store.storage.uri, "--reason", name], name=name, told=told)
            if number == 0:
                wrong += refused(["serve", "--bundle", str(folder)], name=f"served, {name}", told=told)
                # As who can write to the registry would do it, past `liyou bundle promote`.
                store.promote(DEFAULT_ALIAS, publish(store, folder), **moved("somebody"))  # type: ignore[arg-type]
                wrong += refused(["serve", "--registry", store.storage.uri], name=f"by the alias, {name}", told=told)
                _one_replaced(scene)
                store.rollback(DEFAULT_ALIAS, **moved())  # type: ignore[arg-type]
        policies = _moving(store, scene, traffic, strict, shop)
        warned = _refused_policy(store, scene)
    wrong += unless(store.resolve(DEFAULT_ALIAS) == scene.bundle_id, "the alias is not where it was")
    wrong += unless(warned, "a policy that cannot be read was not told at /readyz")
    wrong += unless(versions == policies, f"pages were answered under {sorted(policies)}; expected those of both policies")
    promise = replace(traffic.promise(), policies=versions)
    told = (
        f"{len(POISONS)} poisoned bundles ({', '.join(POISONS)}), each refused with its code by `liyou bundle promote`, the first by "
        "`liyou serve` too, by folder and by an alias that was moved by hand, while a killed generator came back with the old one. Two "
        "policies put in force in turn: no text that the one of its page bans. One that cannot be read was refused and told at /readyz: "
        f"{'yes' if warned else 'no'}."
    )
    return seen(told, traffic.pages, promise, wrong=wrong, refused=list(POISONS))


def stricter(pack: Pack) -> Pack:
    always = {"scope": ("all",), "exempt": (), "allow": (), "contexts": ()}
    rule = pack.lexicon.rules[0].model_copy(update={"id": "faults-marked", "patterns": (MARKED,), **always})
    return pack.model_copy(update={"lexicon": pack.lexicon.model_copy(update={"rules": (*pack.lexicon.rules, rule)})})


def mixed(answer: ReasonsResponse, *, strict: str) -> str:
    """A text on a page of the stricter policy that only the other lets pass."""
    if answer.policy_version != strict:
        return ""
    return "; ".join(f"{item.product_id}: {MARKED}, under {strict}" for item in answer.items if MARKED in (item.text or ""))


def refused(words: Sequence[str], *, name: str, told: str) -> list[str]:
    """What is wrong with how `liyou` refuses it; nothing where it says `told` and ends with 1 or 2."""
    command = [sys.executable, "-m", "cluster.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_S)
    return unless(
        done.returncode in (1, 2) and told in done.stderr,
        f"{name}: exit code {done.returncode}, {done.stderr.strip()[-300:]!r}; expected a refusal that says {told!r}",
    )


def _moving(store: Registry, scene: Scene, traffic: Traffic, *policies: Pack) -> set[str]:
    """Each in force for a while; under which pages were answered."""
    found = set()
    for policy in policies:
        store.promote(ALIAS, publish_policy(store, policy), **moved())  # type: ignore[arg-type]
        wait_until(lambda: scene.policy() == policy.policy_version, within_s=30.0, what="another policy")  # noqa: B023
        traffic.flow(8.0)
        found.add(scene.policy())
    return found


def _refused_policy(store: Registry, scene: Scene) -> bool:
    """Something that is no policy is put in force; whether that is told, and taken back."""
    folder = scene.folder / "no-policy"
    folder.mkdir()
    (folder / "lexicon.json").write_text("{")
    store.promote(ALIAS, store.publish(folder), **moved("somebody"))  # type: ignore[arg-type]
    try:
        wait_until(lambda: _warnings(scene), within_s=15.0, what="a warning")
    except Unavailable:
        return False
    finally:
        store.rollback(ALIAS, **moved())  # type: ignore[arg-type]
    return True


def _warnings(scene: Scene) -> object:
    return httpx2.get(f"{scene.url}/readyz", timeout=10).json().get("warnings")


def full_disk_of_the_record(scene: Scene) -> Seen:
    with Traffic(scene, name="F16") as traffic:
        traffic.flow(3.0)
        filler = fill(scene.record)
        traffic.flow(FULL_S)
        waiting = _count(scene, "F16-")
        filler.unlink()
        traffic.flow(3.0)
    shown = Counter(product for page in traffic.pages for product in page.answered)
    time.sleep(5.0)
    kept, lost = _on_record(scene.record)
    missing = shown - Counter(product for product in kept if product.startswith("F16-"))
    extra = Counter(product for product in kept if product.startswith("F16-")) - shown
    verified = subprocess.run([sys.executable, "-m", "cluster.cli", "audit", "verify", str(scene.record)], capture_output=True, check=False)
    wrong = unless(waiting < shown.total(), "nothing waited: the disk was not full")
    wrong += unless(not missing and not lost, f"{missing.total()} texts shown are not on record, {lost} are lost")
    wrong += unless(not extra, f"{extra.total()} texts are on record and were not shown")
    wrong += unless(verified.returncode == 0, f"liyou audit verify: {verified.stdout[-300:]!r}{verified.stderr[-300:]!r}")
    told = (
        f"The disk of the record (a tmpfs) full for {FULL_S:.0f} s: {shown.total()} texts shown, {waiting} of them on record meanwhile, "
        f"{shown.total() - missing.total()} once there was room, {lost} lost; `liyou audit verify` holds."
    )
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, shown=shown.total(), missing=missing.total(), lost=lost)


def _count(scene: Scene, begins: str) -> int:
    return sum(product.startswith(begins) for product in _on_record(scene.record)[0])


def _on_record(folder: Path) -> tuple[list[str], int]:
    """Ids of the products whose texts are on record, and how many texts were lost."""
    segments = [path.read_bytes() for path in sorted(folder.rglob("*.jsonl")) if not path.name.startswith(".")]
    entries = [entry for data in segments for entry in read_segment(data, place=None, keys=None)[0]]
    return [one.product_id for one in entries if isinstance(one, Shown)], sum(one.count for one in entries if isinstance(one, Lost))


def fill(folder: Path) -> Path:
    """A file that leaves no byte free there; who made it takes it away."""
    filler = folder / ".fill"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return filler


def full_disk_of_the_logs(folder: Path) -> Seen:
    home = Path(tempfile.mkdtemp(prefix="ly", dir="/tmp"))  # short: Ray puts sockets below it
    with small_disk(home / "t", num_bytes=LOG_DISK_BYTES), scene(folder, shared=False, environment={"RAY_TMPDIR": str(home / "t")}) as made:
        with Traffic(made, name="F16-logs") as traffic:
            traffic.flow(3.0)
            filler = fill(home / "t")
            traffic.flow(15.0)
            lines = len(made.log_lines("api"))
            filler.unlink()
            traffic.flow(8.0)
        more = len(made.log_lines("api")) - lines
    wrong = unless(more > 0, "nothing more was logged once there was room")
    told = f"The disk of Ray's logs (a tmpfs) full for 15 s, then free: {more} lines of api were logged after it."
    return seen(told, traffic.pages, traffic.promise(), wrong=wrong, lines_after=more)
