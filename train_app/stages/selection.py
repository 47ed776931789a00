"""Which candidate ships: scored on validation by checks and discriminator; plain SFT is in the list and stays unless clearly beaten."""

from collections.abc import Mapping, Sequence
from math import sqrt

from common.quality.threshold import quantile_threshold
from train_app.config import SelectionConfig
from train_app.stages.discriminator.training import judged_as, log_real_of
from train_app.stages.state import OnProgress, Progress, Save, State
from train_app.stages.workbench import Answer, Workbench, written

STAGE = "selection"
PREFIX = "candidate "
SFT = "sft"


def candidate(name: str) -> str:
    return PREFIX + name


def choose(successes: Mapping[str, Sequence[bool]], *, standard_errors: float) -> str:
    """The best name, or SFT where nothing beats it by more than `standard_errors` of the paired difference. Ties go to the earlier one."""
    shares = {name: sum(rows) / len(rows) for name, rows in successes.items()}
    best = max(shares, key=lambda name: shares[name])
    difference = [float(one) - float(other) for one, other in zip(successes[best], successes[SFT], strict=True)]
    mean = sum(difference) / len(difference)
    error = sqrt(sum((value - mean) ** 2 for value in difference) / max(1, len(difference) - 1) / len(difference))
    return best if mean > standard_errors * error else SFT


def select(
    state: State,
    config: SelectionConfig,
    on_progress: OnProgress,
    *,
    stage: str,
    bench: Workbench,
    save: Save,
) -> State:
    """Group `policy` becomes the chosen candidate's adapter; the value `selected` names it. Candidates that have a score keep it.

    All candidates are judged by one discriminator reading one generator's features, the first one's and SFT's (group `ruler`): each
    candidate's own would measure it with a ruler that grew with it. Without a ruler the checks alone decide.
    """
    state = state.enter(stage)
    successes = {name: [bool(value) for value in rows] for name, rows in _saved(state.values.get("successes")).items()}
    names = [name for group in state.groups(PREFIX) if (name := group.removeprefix(PREFIX)) not in successes]
    examples = bench.splits.validation[: config.prompts]
    contexts = [example.context for example in examples]
    discriminator = bench.new_discriminator()
    ruler = state.group("ruler")
    if ruler:
        discriminator.load_state_dict(ruler)
    discriminator.eval()
    bench.load(state.group(candidate(SFT)))
    on_real = log_real_of(discriminator, judged_as(bench, [bench.real(example) for example in examples])) if ruler else []
    threshold = quantile_threshold(on_real, q=config.accept_quantile) if ruler else 0.0
    for step, name in enumerate(names, start=1):
        bench.load(state.group(candidate(name)))
        mine = bench.parallel.mine(contexts)
        groups = bench.write(mine, k=1, stage=STAGE, step=0, decoding=bench.served)  # the same seeds for each: a paired comparison
        passed = [bench.checker.judge(group[0].text, context=c, score=None).checks_passed for c, group in zip(mine, groups, strict=True)]
        rows = bench.parallel.gather_rows([[int(ok), *written(group[0])] for ok, group in zip(passed, groups, strict=True)])
        bench.load(state.group(candidate(SFT)))
        answers = [Answer(context, tuple(row[1:])) for context, row in zip(contexts, rows, strict=True)]
        scores = log_real_of(discriminator, judged_as(bench, answers)) if ruler else [0.0] * len(rows)
        successes[name] = [bool(row[0]) and score >= threshold for row, score in zip(rows, scores, strict=True)]
        joint, checks = sum(successes[name]) / len(rows), sum(row[0] for row in rows) / len(rows)
        metrics = {f"{name}_joint": joint, f"{name}_checks": checks, f"{name}_standard_error": sqrt(joint * (1 - joint) / len(rows))}
        on_progress(Progress(stage=stage, step=step, total=len(names), metrics=metrics))
        state = state.with_values({"successes": {key: [bool(one) for one in value] for key, value in successes.items()}})
        if step < len(names):
            save(state.at(step))
    selected = choose(successes, standard_errors=config.standard_errors)
    shares = {name: sum(rows) / len(rows) for name, rows in successes.items()}
    told = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    on_progress(
        Progress(stage=stage, step=len(names), total=len(names), note=f"{selected} is taken; passes the checks and is accepted: {told}")
    )
    bench.load(state.group(candidate(selected)))
    done = state.with_group("policy", state.group(candidate(selected)))
    return done.with_values({"selected": selected, "selection": {name: share for name, share in shares.items()}}).at(len(names))


def _saved(value: object) -> dict[str, list[object]]:
    return {str(name): list(rows) for name, rows in value.items()} if isinstance(value, dict) else {}
