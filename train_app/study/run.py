"""A study from its configuration to a summary: seeds one after another, each kept when it is done. Measures and compares nothing itself."""

from collections.abc import Callable, Sequence
from pathlib import Path

from common.errors import ConfigError
from common.features.snapshot import Snapshot
from common.language.base_model import source_digest
from train_app.runtime.run import absolute
from train_app.study.config import StudyConfig
from train_app.study.figures import SeedResult
from train_app.study.report import render
from train_app.study.summary import Summary, summarise
from train_app.study.unit import Tell, run_seed, start_digest

SUMMARY, REPORT = "summary.json", "report.html"

OnSeed = Callable[[SeedResult, Summary], None]
"""Called after each seed, with the summary of all that are there."""


def study(config: StudyConfig, *, results: Path, tell: Tell, on_seed: OnSeed | None = None, commit: str = "unknown") -> Summary:
    """Ray must be running. `results`: the folder of seed-N.json, summary.json and report.html; what stands there is not made again.

    Raises ConfigError where a kept seed was made by another configuration or from other data, and what `fit` raises.
    """
    done: list[SeedResult] = []
    for seed in config.seeds:
        file = results / f"seed-{seed}.json"
        if file.exists():
            result = kept(file, config)
        else:
            result = run_seed(config, seed=seed, tell=tell, commit=commit)
            results.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".part")
            partial.write_text(result.model_dump_json() + "\n", encoding="utf-8")
            partial.replace(file)
        done.append(result)
        summary = written(config, done, results)
        if on_seed:
            on_seed(result, summary)
    return summary


def written(config: StudyConfig, done: Sequence[SeedResult], results: Path) -> Summary:
    summary = summarise(config, done)
    (results / SUMMARY).write_text(summary.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (results / REPORT).write_text(render(config, done, summary), encoding="utf-8")
    return summary


def kept_seeds(config: StudyConfig, results: Path) -> list[SeedResult]:
    """Those of the study's seeds that are there, in its order. Raises as `kept`."""
    return [kept(file, config) for seed in config.seeds if (file := results / f"seed-{seed}.json").exists()]


def kept(file: Path, config: StudyConfig) -> SeedResult:
    """Raises ConfigError where it belongs to another study."""
    result = SeedResult.model_validate_json(file.read_bytes())
    train = absolute(config.train)
    expected = {
        "study": config.digest,
        "data": Snapshot.open(train.data.snapshot).manifest.digest,
        "base": source_digest(train.base.source),
        "start": start_digest(config, seed=result.seed),
    }
    for name, digest in expected.items():
        if (found := getattr(result, name)) != digest:
            raise ConfigError(
                f"{file}: {name} {found[:12]}, and this study has {digest[:12]}: it was made by another configuration, data, base, pack or "
                "prompt. Name another folder for the results, or remove the file"
            )
    return result
