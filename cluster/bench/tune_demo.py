"""`make tune-demo`: a study on the sample shop from nothing, killed in its middle and resumed, its winner served. Figures to docs/results.

What is promised of studies is checked here on the real thing: trials, early stops, shared stages run once, nothing lost, nothing repeated.
"""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from cluster.commands.demo import build, pages, promote, serving, simulate
from common.errors import LiyouError
from train_app.runtime.tracking import read_story
from tune_app.result import TuneResult

OUT = Path("out/tune")
RESULTS = Path("docs/results/tune_demo.json")
KILL_AFTER = 3
"""Trials that are done when the driver is killed."""
PORT = 8000
console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Raises LiyouError naming what a study promises and this one did not keep."""
    began = time.monotonic()
    out = OUT.resolve()
    simulate(out / "shop", seed=0)
    snapshot = build(out / "shop", out / "snapshot")
    name = f"demo-{datetime.now(UTC):%m%d-%H%M%S}"
    asked = ["demo", f"name={name}", f"train.out={out}", f"train.data.snapshot={out / 'snapshot'}"]
    before = killed(asked)
    console.print(f"killed after {time.monotonic() - began:.0f} s with {len(before)} trials done; resuming")
    result = TuneResult.model_validate(json.loads(study([*asked, "--resume"])))
    promote(result.bundle, out / "registry")
    with serving(out, port=PORT) as url:
        sources = pages(url, snapshot)
    seconds = time.monotonic() - began
    short = shortfalls(result, before, out)
    told = {
        "command": "make tune-demo",
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip(),
        "machine": f"{os.cpu_count()} cores",
        "seconds": round(seconds),
        "done_before_kill": sorted(before),
        "served": {source: sources.count(source) for source in dict.fromkeys(sources)},
        "shortfalls": short,
        "study": result.model_dump(mode="json", exclude={"uri": True, "report": True, "bundle": {"bundle_path", "run_path"}}),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    console.print(
        f"{len(result.trials)} trials, {result.num('stopped early')} stopped early; SFT begun {sum(result.sft_begun.values())} times"
    )
    console.print(f"report  {result.report}\nfigures {RESULTS}\n{seconds:.0f} s in all")
    if short:
        raise LiyouError("the study ran to its end, and fell short: " + "; ".join(short))


def command(words: list[str]) -> list[str]:
    return [sys.executable, "-m", "cluster.cli", "tune", *words, "--json"]


def study(words: list[str]) -> str:
    done = subprocess.run(command(words), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise LiyouError(f"liyou tune {' '.join(words)} ended with {done.returncode}")
    return done.stdout


def killed(words: list[str]) -> dict[str, str]:
    """Starts the study and kills its driver when KILL_AFTER trials are done; trial id -> status of those."""
    done: dict[str, str] = {}
    with subprocess.Popen(command(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True) as driver:
        assert driver.stderr is not None
        for line in driver.stderr:
            if not line.startswith('{"number"'):
                continue
            row = json.loads(line)
            console.print(f"trial {row['number']} {row['status']}, round {row['round']}, {row['told']}")
            if row["status"] in ("finished", "stopped early"):
                done[row["trial_id"]] = row["status"]
            if len(done) == KILL_AFTER:
                break
        else:
            raise LiyouError(f"the study ended with {driver.wait()} before {KILL_AFTER} trials were done")
        time.sleep(10)  # Tune writes its state every five seconds
        os.killpg(driver.pid, signal.SIGKILL)
    return done


def shortfalls(result: TuneResult, before: dict[str, str], out: Path) -> list[str]:
    """What a study promises and this one did not show."""
    found = []
    ids = {trial.trial_id: trial for trial in result.trials}
    if len(ids) < 8:
        found.append(f"{len(ids)} trials")
    if result.num("stopped early") < 2:
        found.append(f"{result.num('stopped early')} trials stopped early")
    if lost := [trial for trial, status in before.items() if trial not in ids or ids[trial].status != status]:
        found.append(f"trials {', '.join(lost)} were done before the kill and are not now")
    if len(result.sft_begun) != len({trial.start for trial in result.trials}) or set(result.sft_begun.values()) != {1}:
        found.append(f"SFT was begun {result.sft_begun}")
    for trial in result.trials:
        if trial.trial_id in before:
            told = [one.stage for one in read_story(out / "runs" / trial.run) if one.stage.startswith("validation of")]
            if len(told) != len(set(told)):
                found.append(f"trial {trial.number} was done before the kill and repeated")
    return found


if __name__ == "__main__":
    main()
