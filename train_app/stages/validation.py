"""What a candidate is worth on validation: every check, and the discriminator's acceptance. Chooses nothing; `selection` does."""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt

from pydantic import JsonValue
from torch import Tensor

from common.language.tokens import decode
from common.metrics.diversity import distinct
from common.quality.discriminator import Discriminator
from common.quality.threshold import quantile_threshold
from train_app.config import SelectionConfig
from train_app.stages.discriminator.training import judged_as, log_real_of
from train_app.stages.state import OnProgress, Progress, State
from train_app.stages.workbench import Answer, Workbench, written

PREFIX = "candidate "
SFT = "sft"
RULER = "ruler"
"""Group of the discriminator that judges all candidates of a run: the first one, which reads SFT's features."""
STUDY_RULER, STUDY_ADAPTER, STUDY_ALPHA, STUDY_SEED = "study ruler", "study adapter", "study alpha", "study seed"
"""Groups of the ruler that all runs of a study share and of the adapter whose features it reads, and values: that adapter's alpha, and
what validation samples are seeded by, so that runs are compared on the same draws. A run alone has none."""
DRAWN_AS = "selection"
"""Stage under which validation samples are seeded: one seed a row for all candidates, hence paired comparisons."""


def candidate(name: str) -> str:
    return PREFIX + name


def stage_of(name: str) -> str:
    """The stage that measures a candidate."""
    return f"validation of {name}"


def measure(state: State, config: SelectionConfig, on_progress: OnProgress, *, stage: str, name: str, bench: Workbench) -> State:
    """One sample for each validation row, as served; values `successes` and `validation` gain the candidate's rows and figures.

    Figures: `joint` (passes all checks and the ruler accepts), `checks`, `check_NAME` for each, `distinct_2` and `chars`; shares in [0, 1].
    All candidates are judged by one discriminator reading one generator's features (groups `ruler` and SFT's adapter, or a study's): each
    candidate's own would measure it with a ruler that grew with it. It accepts what scores above `accept_quantile` of the real texts.
    Without a ruler the checks alone decide.
    """
    bench = replace(bench, run=str(state.values.get(STUDY_SEED, bench.run)))
    examples = bench.splits.validation[: config.prompts]
    contexts = [example.context for example in examples]
    bench.load(state.group(candidate(name)))
    mine = bench.parallel.mine(contexts)
    groups = bench.write(mine, k=1, stage=DRAWN_AS, step=0, decoding=bench.served)
    verdicts = [bench.checker.judge(group[0].text, context=context, score=None) for context, group in zip(mine, groups, strict=True)]
    told = [
        [int(verdict.checks_passed), *(int(check.passed) for check in verdict.checks.values()), *written(group[0])]
        for verdict, group in zip(verdicts, groups, strict=True)
    ]
    rows = bench.parallel.gather_rows(told)
    checks = list(verdicts[0].checks)
    start = 1 + len(checks)
    answers = [Answer(context, tuple(row[start:])) for context, row in zip(contexts, rows, strict=True)]
    accepted = [True] * len(rows)
    ruler = state.group(STUDY_RULER) or state.group(RULER)
    if ruler:
        read_as_ruler(state, bench)
        discriminator = loaded(ruler, bench)
        if "ruler_threshold" not in state.values:
            on_real = log_real_of(discriminator, judged_as(bench, [bench.real(example) for example in examples]))
            state = state.with_values({"ruler_threshold": quantile_threshold(on_real, q=config.accept_quantile)})
        threshold = float(str(state.values["ruler_threshold"]))
        accepted = [score >= threshold for score in log_real_of(discriminator, judged_as(bench, answers))]
    successes = [bool(row[0]) and ok for row, ok in zip(rows, accepted, strict=True)]
    joint = sum(successes) / len(rows)
    texts = [decode(answer.ids, bench.policy.language).strip() for answer in answers]
    metrics = {
        "joint": joint,
        "standard_error": sqrt(joint * (1 - joint) / len(rows)),
        "checks": sum(row[0] for row in rows) / len(rows),
        **{f"check_{check}": sum(row[number] for row in rows) / len(rows) for number, check in enumerate(checks, start=1)},
        "distinct_2": distinct(texts, 2),
        "chars": sum(map(len, texts)) / len(texts),
    }
    on_progress(Progress(stage=stage, step=1, total=1, metrics=metrics))
    figures: dict[str, JsonValue] = {**metrics}
    return state.with_values(
        {
            "successes": {**mapped(state.values.get("successes")), name: list(successes)},
            "validation": {**mapped(state.values.get("validation")), name: figures},
        }
    )


def read_as_ruler(state: State, bench: Workbench) -> None:
    """Features are now those of the generator that the ruler was trained on."""
    if adapter := state.group(STUDY_ADAPTER):
        bench.show(adapter, alpha=float(str(state.values[STUDY_ALPHA])))
    else:
        bench.load(state.group(candidate(SFT)))


def loaded(weights: Mapping[str, Tensor], bench: Workbench) -> Discriminator:
    discriminator = bench.new_discriminator()
    discriminator.load_state_dict(weights)
    return discriminator.eval()


def mapped(value: object) -> dict[str, JsonValue]:
    return dict(value) if isinstance(value, Mapping) else {}
