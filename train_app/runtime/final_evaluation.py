"""The one time that test is read: by the bundle as it will be served and, beside it, by what it is compared with, as they write."""

from collections.abc import Callable

import torch

from common.artifacts.storage import open_storage
from common.bundle.manifest import Answering
from common.generation.candidates import Writer
from common.generation.panel import Scorer
from common.packs.schema import Pack
from train_app.config import EvaluationConfig
from train_app.evaluation.changes import all_changes
from train_app.evaluation.evaluate import Evaluation, evaluate
from train_app.evaluation.readers import fit_readers
from train_app.evaluation.subject import subject_of
from train_app.evaluation.truth import truth_of
from train_app.stages.state import OnProgress, Progress, State, tensors_digest
from train_app.stages.validation import SFT, candidate, mapped
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
    place: str,
) -> dict[str, Evaluation]:
    """Name -> evaluation; "chosen" is the bundle's. All write to the same prompts under the same seeds.

    Where the bundle is one of `config.compare` that one is missing: its first candidates are the bundle's.
    """
    storage = open_storage(place)
    untrained = {name: torch.zeros_like(tensor) for name, tensor in state.group("policy").items()}
    adapters = {"base": untrained, "sft": state.group(candidate(SFT)), CHOSEN: state.group("policy")}
    readers = fit_readers(bench.splits, vocabulary=bench.vocabulary)
    alone = answering.model_copy(update={"k": 1, "max_attempts": 1})
    found = {}
    for name in (*config.compare, CHOSEN):
        if name != CHOSEN and tensors_digest(adapters[name]) == tensors_digest(adapters[CHOSEN]):
            continue
        key = f"{FOLDER}/{name}.json"
        if name == CHOSEN and answering.threshold != mapped(state.values.get("calibration")).get("threshold", answering.threshold):
            key = f"{FOLDER}/{name} at {answering.threshold:.6f}.json"  # labels that came later moved it
        if not storage.exists(key):
            bench.load(adapters[name])
            asked = answering if name == CHOSEN else alone
            writer = Writer(bench.policy.merged, bench.engine, bench.vocabulary, asked.decoding, f"{bench.run}/test")
            subject = subject_of(writer, scorer if name == CHOSEN else None, answering=asked, pack=pack)
            rows = bench.splits.test[: config.rows]
            made = evaluate(
                subject,
                rows,
                truth=truth_of(config.truth),
                readers=readers,
                num_samples=len(rows),
                on_done=_told(on_progress, stage=f"evaluation of {name}"),
            )
            if name == CHOSEN and config.changes:
                made = made.with_measures(all_changes(subject, rows, num=config.changes, readers=readers))
            storage.put(key, made.model_dump_json().encode())
        found[name] = Evaluation.model_validate_json(storage.get(key))
    return found


def _told(on_progress: OnProgress, *, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: on_progress(Progress(stage=stage, step=done, total=total))
