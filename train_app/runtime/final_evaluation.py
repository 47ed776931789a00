"""The one time that test is read: by the bundle as it will be served and, beside it, by what it is compared with, as they write."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from common.bundle.manifest import Answering
from common.generation.answer import AnswerPolicy
from common.generation.candidates import Writer
from common.generation.panel import Panel, Scorer
from common.generation.template import fill_template
from common.packs.schema import Pack
from common.quality.verdict import Checker
from train_app.config import EvaluationConfig
from train_app.evaluation.evaluate import Evaluation, Subject, evaluate
from train_app.evaluation.truth import truth_of
from train_app.stages.selection import SFT, candidate
from train_app.stages.state import OnProgress, Progress, State
from train_app.stages.workbench import Workbench

CHOSEN = "chosen"
FOLDER = "evaluation"
"""Of a run: NAME.json for each evaluation, with all its texts. What stands there is not measured again."""


def final_evaluation(
    state: State,
    config: EvaluationConfig,
    on_progress: OnProgress,
    *,
    bench: Workbench,
    answering: Answering,
    scorer: Scorer,
    pack: Pack,
    folder: Path,
) -> dict[str, Evaluation]:
    """Name -> evaluation; "chosen" is the bundle's. All write to the same prompts under the same seeds."""
    untrained = {name: torch.zeros_like(tensor) for name, tensor in state.group("policy").items()}
    adapters = {"base": untrained, "sft": state.group(candidate(SFT)), CHOSEN: state.group("policy")}
    alone = answering.model_copy(update={"k": 1, "max_attempts": 1})
    found = {}
    for name in (*config.compare, CHOSEN):
        file = folder / FOLDER / f"{name}.json"
        if not file.is_file():
            bench.load(adapters[name])
            subject = subject_of(bench, answering if name == CHOSEN else alone, scorer=scorer if name == CHOSEN else None, pack=pack)
            rows = bench.splits.test[: config.rows]
            made = evaluate(
                subject,
                rows,
                truth=truth_of(config.truth),
                num_samples=len(rows),
                on_done=_told(on_progress, stage=f"evaluation of {name}"),
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished = file.with_suffix(".partial")
            unfinished.write_text(made.model_dump_json(), encoding="utf-8")
            unfinished.rename(file)
        found[name] = Evaluation.model_validate_json(file.read_bytes())
    return found


def subject_of(bench: Workbench, answering: Answering, *, scorer: Scorer | None, pack: Pack) -> Subject:
    """The bench's generator as a bundle with such answering would be served; `scorer` None: the rules alone decide."""
    checker = Checker(pack, threshold=answering.threshold)

    return Subject(
        writer=Writer(bench.policy.merged, bench.engine, bench.vocabulary, answering.decoding, f"{bench.run}/test"),
        panel=Panel(checker, scorer),
        policy=AnswerPolicy(k=answering.k, max_attempts=answering.max_attempts),
        fill=partial(fill_template, checker=checker),
    )


def _told(on_progress: OnProgress, *, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(Progress(stage=stage, step=done, total=total))
