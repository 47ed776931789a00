"""`make faults`: every fault of the matrix that one machine can do while pages flow; docs/results/faults.json and faults.md.

One served graph takes most of them one after the other, and has to be well again before the next without anybody's help.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from cluster.bench.faults import killing, sending, state, storing
from cluster.bench.faults.matrix import Fault, Seen, markdown
from cluster.bench.faults.processes import wait_until
from cluster.bench.faults.scene import Scene, scene
from cluster.bench.first_run import commit, machine
from common.errors import LiyouError, Unavailable

RESULTS = Path("docs/results")
WELL_S = 120.0
FAULTS = (
    Fault(
        "F20",
        "malformed bodies",
        "2,000 of the requests of `make fuzz`, through Serve",
        "listed statuses and schemas, no 500; 99 of 100 refusals within 50 ms; ready afterwards",
        on=sending.malformed,
    ),
    Fault(
        "F22",
        "unicode bombs",
        "as titles, categories, attributes, queries and reviews; banned words in disguise as what a text must mention",
        "200 or 400, 413, 422 within the deadline; nothing invisible and no banned word is shown",
        on=sending.unicode_bombs,
    ),
    Fault(
        "F21",
        "prompt injection",
        "the corpus of attacks, zh and en, in every field that a shop or a customer writes",
        "no planted string is shown, no forged code followed, no prompt leaked",
        on=sending.injected,
    ),
    Fault(
        "F30",
        "tampered reason",
        "a character changed in what Redis keeps, and in an answer on its way",
        "what was kept is dropped and written anew; `signature_invalid` by server and client",
        on=state.tampered_reason,
    ),
    Fault(
        "F19",
        "slow clients",
        "bodies and heads byte by byte, callers that read nothing, idle ones",
        "bodies and heads are cut off, sockets are bounded, others notice nothing",
        on=sending.slow_clients,
    ),
    Fault(
        "F9",
        "Redis gone",
        "SIGSTOP, SIGKILL and an empty Redis instead, with limits and cache in it",
        "no 5xx; each replica grants its local share; a metric; Redis counts again when it is back",
        on=state.redis_away,
    ),
    Fault(
        "F16",
        "disk of the record full",
        "a tmpfs filled to its last byte, then freed",
        "pages are answered; no text that was shown is missing on record afterwards",
        on=storing.full_disk_of_the_record,
    ),
    Fault(
        "F14",
        "poisoned bundles",
        "ten of them, to `liyou bundle promote`, `liyou serve` and an alias moved by hand; policies put in force, one of them unreadable",
        "each refused with its code, the old bundle answers, also from replicas that start then; no page of two policies",
        on=storing.poisoned,
    ),
    Fault(
        "F12",
        "corrupt bundle in storage",
        "a bit flipped in the stored object, then in the node's copy, generators killed",
        "`digest_mismatch`: no replica starts from it; the others answer; healed by publishing again, without a restart",
        on=storing.flipped_byte,
    ),
    Fault(
        "F1",
        "model replicas killed",
        "SIGKILL to one generator, then to both",
        "no page fails: asked again elsewhere, or templates that say so within the deadline; calls counted; replaced",
        on=killing.model_replica,
    ),
    Fault(
        "F2",
        "ingress replica killed",
        "SIGKILL to one of two, twice",
        "at most as many pages fail as were open, none that is sent 5 s later; LiyouClient asks again and loses none",
        on=killing.ingress_replica,
    ),
    Fault(
        "F3",
        "controller and proxy killed",
        "SIGKILL to each",
        "controller: no page fails, no replica replaced; proxy: refused for at most 5 s; LiyouClient loses none",
        on=killing.proxy_and_controller,
    ),
    Fault(
        "F26",
        "SIGTERM",
        "to the server under load",
        "/readyz 503, pages inside answered, exit code 0",
        on=killing.told_to_stop,
    ),
    Fault(
        "F16-logs",
        "disk of the logs full",
        "Ray's folder on a tmpfs filled to its last byte, then freed",
        "pages are answered; logs go on once there is room",
        own=storing.full_disk_of_the_logs,
    ),
    Fault(
        "F29",
        "clock jumps",
        "the calendar set past the end of a signature and back, monotonic time goes on",
        "no page fails; signatures end after skew, not before; a used-up limit stays used up",
        own=state.clock_jumps,
    ),
)


def chosen(only: list[str]) -> list[Fault]:
    """In the order of the matrix. Raises LiyouError for a fault that is not in it."""
    known = {fault.id for fault in FAULTS}
    if strangers := sorted(set(only) - known):
        raise LiyouError(f"--only: got {', '.join(strangers)}; expected some of {', '.join(sorted(known))}")
    return [fault for fault in FAULTS if not only or fault.id in only]


def merged(before: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In the order of the matrix; what was not done this time stands as it was seen."""
    found = {row["id"]: row for row in [*before, *rows]}
    return [found[fault.id] for fault in FAULTS if fault.id in found]


class Stage:
    """The shared scene, made when it is needed and again when it is not well after a fault."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._running, self._made = folder, ExitStack(), 0
        self._scene: Scene | None = None

    def ready(self) -> Scene:
        if self._scene is not None:
            try:
                wait_until(self._scene.ready, within_s=WELL_S, what="a graph that is ready")
                return self._scene
            except Unavailable:
                self.close()
        self._made += 1
        made = self._running.enter_context(scene(self._folder / f"scene-{self._made}", rows=sending.rows()))
        self._scene = made
        return made

    def close(self) -> None:
        self._scene = None
        self._running.close()


def run(fault: Fault, stage: Stage, folder: Path) -> dict[str, Any]:
    """Its row. A recipe that breaks off is a fault that was not survived, and says why."""
    began_s = time.monotonic()
    try:
        if fault.on is not None:
            found = fault.on(stage.ready())
        else:
            assert fault.own is not None
            stage.close()
            found = fault.own(folder / fault.id)
    except Exception as error:
        traceback.print_exc()
        found = Seen("The check broke off.", [f"{type(error).__name__}: {error}"[:500]])
    seconds = round(time.monotonic() - began_s, 1)
    kept = not found.wrong
    row = {"id": fault.id, "name": fault.name, "done": fault.done, "expected": fault.expected, "kept": kept, "seconds": seconds}
    return row | {"told": found.told, "wrong": list(found.wrong), "figures": dict(found.figures)}


def main() -> None:
    """Raises LiyouError where a promise was not kept, results written."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", nargs="*", default=[], help="ids of faults; default: all")
    words.add_argument("--out", type=Path, default=RESULTS, help="folder of faults.json and faults.md")
    asked = words.parse_args()
    faults, rows = chosen(asked.only), list[dict[str, Any]]()
    ran = {
        "command": "make faults" if not asked.only else f"python -m cluster.bench.faults --only {' '.join(asked.only)}",
        "commit": commit(),
    }
    folder = Path(tempfile.mkdtemp(prefix="liyou-faults-"))
    stage = Stage(folder)
    try:
        for fault in faults:
            print(f"{fault.id} {fault.name}: {fault.done}", flush=True)
            row = run(fault, stage, folder) | ran | {"load_average": os.getloadavg()[1]}
            rows.append(row)
            print(f"  {row['seconds']:.0f} s, {'kept' if row['kept'] else 'NOT KEPT'}: {row['told']}", flush=True)
            for wrong in row["wrong"]:
                print(f"  NOT KEPT: {wrong}", flush=True)
    finally:
        stage.close()
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "faults.json"
    before = json.loads(path.read_bytes())["faults"] if asked.only and path.is_file() else []
    results = {"machine": machine(), "faults": merged(before, rows)}
    path.write_text(json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    (asked.out / "faults.md").write_text(markdown(results))
    print(f"results: {asked.out / 'faults.md'}")
    if broken := [row["id"] for row in rows if not row["kept"]]:
        raise LiyouError(f"not kept: {', '.join(broken)}")


if __name__ == "__main__":
    try:
        main()
    except LiyouError as error:
        sys.exit(str(error))
