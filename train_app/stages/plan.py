"""The order of the stages, and which are left out when. Each is resumed in its middle or skipped when it is done; knows nothing of Ray."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from train_app.config import TrainConfig
from train_app.stages.adversarial.rounds import adversarial_round
from train_app.stages.discriminator.calibration import STAGE as CALIBRATION
from train_app.stages.discriminator.calibration import calibrate
from train_app.stages.discriminator.risk import control_risk, stage_name
from train_app.stages.discriminator.training import GROUP, train_discriminator
from train_app.stages.filtering.rounds import collect_best, train_on_best
from train_app.stages.pool import collect, num_chunks
from train_app.stages.selection import STAGE as SELECTION
from train_app.stages.selection import select
from train_app.stages.sft import STAGE as SFT_STAGE
from train_app.stages.sft import length, sft
from train_app.stages.state import OnProgress, Save, State, tensors_digest
from train_app.stages.validation import RULER, SFT, candidate, mapped, measure, stage_of
from train_app.stages.workbench import Workbench

Run = Callable[[State], State]
When = Callable[[State], bool]


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage does at most, over all workers, in what takes time."""

    steps: int = 1
    """as its progress counts them"""
    trained: int = 0
    """rows read forwards and backwards"""
    read: int = 0
    """texts read forwards"""
    written: int = 0
    """texts drawn"""
    fitted: int = 0
    """contexts that the discriminator learns from, each with all its texts"""


@dataclass(frozen=True, slots=True)
class Step:
    """`when` False: the stage is passed over. `makes`: name of the candidate that its policy is."""

    name: str
    run: Run
    work: Work
    when: When = lambda state: True
    makes: str | None = None


def sees(state: State) -> bool:
    """Whether the discriminator learnt anything."""
    return not state.values.get("discriminator_blind")


def stale(state: State) -> bool:
    """Whether the generator has changed since the discriminator was fitted to its features."""
    return state.values.get("fitted_to") != tensors_digest(state.group("policy"))


def plan(config: TrainConfig, bench: Workbench, *, on_progress: OnProgress, save: Save) -> list[Step]:
    rows = bench.splits.discriminator[: config.discriminator.rows]
    chosen = config.filtering.select_by == "discriminator" and config.filtering.generated_share > 0

    def able(state: State) -> bool:
        """Whether filtering has what it chooses by."""
        return sees(state) or not chosen

    def fitted(name: str, *, steps: int, when: When) -> list[Step]:
        """Samples of the current policy, then a discriminator that reads them."""
        drawn = Work(steps=num_chunks(len(rows)), written=len(rows) * config.discriminator.fakes_per_row)
        read = len(rows) * (config.discriminator.fakes_per_row + 3)  # with the real text, a perturbed and a mismatched one
        learnt = Work(steps=steps, read=read, fitted=steps * min(config.discriminator.batch_size, len(rows)))

        def draw(state: State) -> State:
            bench.load(state.group("policy"))
            k = config.discriminator.fakes_per_row
            return collect(state, rows, on_progress, stage=f"{name} samples", k=k, bench=bench, save=save)

        def fit(state: State) -> State:
            bench.load(state.group("policy"))
            done = train_discriminator(state, config.discriminator, on_progress, stage=name, steps=steps, bench=bench, save=save)
            return done.with_values({"fitted_to": tensors_digest(state.group("policy"))})

        return [Step(f"{name} samples", draw, drawn, when), Step(name, fit, learnt, when)]

    def first_discriminator(state: State, run: Run) -> State:
        done = run(state)
        return done.with_group(RULER, done.group(GROUP)) if sees(done) else done

    def round_of(name: str) -> Run:
        return lambda state: adversarial_round(state, config.adversarial, on_progress, stage=name, bench=bench, save=save)

    def filtered(name: str) -> list[Step]:
        """Kept samples of a round, then training on them."""
        drawn = f"{name} samples"

        def keep(state: State) -> State:
            return collect_best(state, config.filtering, on_progress, stage=drawn, bench=bench, save=save)

        def learn(state: State) -> State:
            return train_on_best(state, config.filtering, on_progress, stage=name, collected_in=drawn, bench=bench, save=save)

        prompts = min(config.filtering.prompts_per_round, len(bench.splits.train))
        draws = [Step(drawn, keep, Work(steps=num_chunks(prompts), written=prompts * config.filtering.samples), able)]
        many = config.filtering.steps_per_round
        worse = many * round(config.filtering.generated_share * config.filtering.batch_size) if config.filtering.preference_weight else 0
        work = Work(steps=many, trained=many * config.filtering.batch_size + worse, read=2 * worse)
        return [*(draws if config.filtering.generated_share else []), Step(name, learn, work, able, makes=name)]

    def selection_of(name: str) -> Run:
        def run(state: State) -> State:
            done = select(state, config.selection, on_progress, stage=name, bench=bench)
            # The first discriminator belongs to SFT's features; whoever else was chosen keeps the one that learnt beside it.
            if done.values["selected"] == SFT and (ruler := done.group(RULER)):
                return done.with_group(GROUP, ruler).with_values({"fitted_to": tensors_digest(done.group("policy"))})
            return done

        return run

    def measured(name: str) -> Step:
        """A stage that left the adapter as it was made no candidate."""
        stage = stage_of(name)

        def run(state: State) -> State:
            return measure(state.enter(stage), config.selection, on_progress, stage=stage, name=name, bench=bench).at(1)

        num = min(config.selection.prompts, len(bench.splits.validation))
        return Step(stage, run, Work(written=num, read=2 * num), lambda state: bool(state.group(candidate(name))))

    steps = [Step(SFT_STAGE, lambda state: sft(state, config.sft, on_progress, bench=bench, save=save), _of_sft(config, bench), makes=SFT)]
    samples, fit = fitted("discriminator", steps=config.discriminator.steps, when=lambda state: True)
    steps += [samples, replace(fit, run=partial(first_discriminator, run=fit.run)), measured(SFT)]
    for number in range(1, config.adversarial.rounds + 1):
        name = f"adversarial {number}"
        work = _of_round(config, len(rows))
        steps.append(Step(name, round_of(name), work, lambda state: sees(state) and not state.values.get("stopped"), makes=name))
        steps.append(measured(name))
    if config.adversarial.rounds and config.filtering.rounds:
        steps.append(Step("start of filtering", selection_of("start of filtering"), Work(), able))
    for number in range(1, config.filtering.rounds + 1):
        name = f"filtering {number}"
        if chosen:
            fit_again = fitted(f"{name} discriminator", steps=config.discriminator.refresh_steps, when=lambda s: sees(s) and stale(s))
            steps += fit_again
        steps += [*filtered(name), measured(name)]
    steps.append(Step(SELECTION, selection_of(SELECTION), Work()))
    steps += fitted("final discriminator", steps=config.discriminator.refresh_steps, when=stale)
    num = min(config.calibration.rows, len(bench.splits.calibration))
    work = Work(written=num, read=4 * num)
    steps.append(Step(CALIBRATION, lambda state: calibrate(state, config.calibration, on_progress, bench=bench, save=save), work))
    risk, serving = stage_name(config.calibration), {"k": config.evaluation.candidates, "max_attempts": config.evaluation.max_attempts}
    asked = 0 if config.calibration.labels == "none" else config.calibration.requests
    work = Work(written=asked * config.evaluation.candidates * config.evaluation.max_attempts)
    steps.append(Step(risk, lambda state: control_risk(state, config.calibration, on_progress, stage=risk, **serving, bench=bench), work))
    return steps


def _of_sft(config: TrainConfig, bench: Workbench) -> Work:
    planned = length(config.sft, num_rows=len(bench.splits.train))
    epochs, rest = divmod(planned.total, planned.per_epoch)
    trained = epochs * len(bench.splits.train) + rest * min(config.sft.batch_size, len(bench.splits.train))
    checked = min(config.sft.validation_rows, len(bench.splits.validation))
    return Work(steps=planned.total, trained=trained, read=planned.num_validations * checked)


def _of_round(config: TrainConfig, num_rows: int) -> Work:
    """A step draws and reads its samples, reads them once more under the reference, and reads what the discriminator is shown: a sample of
    each prompt and as many replayed, each beside three texts."""
    round_ = config.adversarial
    prompts = min(round_.prompts, num_rows)
    samples = prompts * round_.samples
    trained = samples + round_.ce_rows * (1 + 2 * bool(round_.contrastive_weight))
    one = Work(trained=trained, read=samples + 8 * prompts, written=samples, fitted=2 * prompts)
    many = round_.steps_per_round
    return Work(many, trained=many * one.trained, read=many * one.read, written=many * one.written, fitted=many * one.fitted)


def run_stages(
    state: State, config: TrainConfig, on_progress: OnProgress, *, bench: Workbench, save: Save, until: str | None = None
) -> State:
    """All stages that are not done, to the end or to the one named `until`, it included. The value `digests` tells which adapter each
    training stage left, `done` which stages ran or were passed over."""
    for step in plan(config, bench, on_progress=on_progress, save=save):
        done = list(map(str, _listed(state.values.get("done"))))
        if until is not None and until in done:
            return state
        if step.name in done:
            continue
        if step.when(state):
            state = step.run(state)
            if step.makes:
                left = tensors_digest(state.group("policy"))
                if left not in {tensors_digest(state.group(group)) for group in state.groups(candidate(""))}:
                    state = state.with_group(candidate(step.makes), state.group("policy"))
                state = state.with_values({"digests": {**mapped(state.values.get("digests")), step.name: left}})
        state = state.with_values({"done": [*done, step.name]})
        save(state)
    return state


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []
