"""What a run will take before it is started: its stages' steps, what it trains, memory and hours. Keeps nothing; needs no Ray.

Steps and parameters are read off the very plan and policy that a run works through. Hours are what the plan does at most, divided by
rates that a few real steps on this machine gave, or that a person states; stages that stop early take less.
"""

import time
from collections.abc import Callable, Iterable
from math import ceil

import torch
from pydantic import Field
from torch import Tensor

from common.config import Frozen
from common.errors import ConfigError
from train_app.config import TrainConfig
from train_app.runtime.setting_up import open_workbench
from train_app.stages.discriminator.training import discriminator_optimiser, discriminator_step, exhibits
from train_app.stages.optimisation import Optimiser
from train_app.stages.parallel import Parallel
from train_app.stages.plan import Work, plan
from train_app.stages.sft import Row, ce_step, cross_entropy, encode_rows, num_answer_tokens
from train_app.stages.state import Progress, State
from train_app.stages.workbench import Workbench, written

MEASURED = "a few steps on this machine"
MEASURED_TEXTS, MEASURED_CONTEXTS = 32, 8
FP32_BYTES, ADAM_BYTES = 4, 8


class Rates(Frozen):
    """Of one worker, a second each."""

    trained: float = Field(gt=0, description="rows read forwards and backwards")
    read: float = Field(gt=0, description="texts read forwards")
    written: float = Field(gt=0, description="texts drawn")
    fitted: float = Field(gt=0, description="contexts that the discriminator learns from")


class StageEstimate(Frozen):
    name: str
    steps: int = Field(ge=0, description="at most")
    hours: float = Field(ge=0, description="at most")


class Memory(Frozen):
    """Of one worker, bytes."""

    weights: int = Field(description="of the frozen base")
    writing_copy: int = Field(description="weights that the copy which writes has for itself")
    trained: int = Field(description="adapter and discriminator with their gradients, and the adapter's reference")
    optimizer: int = Field(description="Adam's two moments of both")
    activations: int = Field(description="kept for the backward pass of the largest batch's longest rows")
    decode_cache: int = Field(description="keys and values of all slots")

    @property
    def total(self) -> int:
        return self.weights + self.writing_copy + self.trained + self.optimizer + self.activations + self.decode_cache


class Estimate(Frozen):
    parameters: int = Field(description="that the run trains in the generator")
    discriminator_parameters: int
    rows: int = Field(description="training rows")
    workers: int
    rates: Rates
    rates_from: str
    memory: Memory
    stages: tuple[StageEstimate, ...]

    @property
    def hours(self) -> float:
        return sum(stage.hours for stage in self.stages)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def stated_rates(text: str) -> Rates:
    """`trained=20,read=60,written=10,fitted=40`, each a second. Raises ConfigError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        found[name.strip()] = value.strip()
    try:
        return Rates.model_validate(found)
    except ValueError as error:
        names = ",".join(f"{name}=N" for name in Rates.model_fields)
        raise ConfigError(f"--rate: got {text!r}; expected {names}, each a number a second above 0") from error


def estimate(config: TrainConfig, *, rates: Rates | None = None) -> Estimate:
    """`rates` None: measured here, which takes some seconds. Raises what setting up a run raises."""
    bench = open_workbench(config, inputs="0" * 64, parallel=Parallel(device=torch.device(config.runtime.on)))
    steps = plan(config, bench, on_progress=_unheard, save=_unsaved)
    found = rates or measured(bench, config)
    works = {step.name: step.work for step in steps} | evaluations(config, bench)
    workers = config.runtime.num_workers
    stages = tuple(StageEstimate(name=name, steps=work.steps, hours=hours(work, found, workers=workers)) for name, work in works.items())
    discriminator = sum(parameter.numel() for parameter in bench.new_discriminator().parameters())
    return Estimate(
        parameters=sum(parameter.numel() for parameter in bench.policy.parameters().values()),
        discriminator_parameters=discriminator,
        rows=len(bench.splits.train),
        workers=workers,
        rates=found,
        rates_from="stated" if rates else MEASURED,
        memory=memory(bench, config, discriminator_parameters=discriminator),
        stages=stages,
    )


def hours(work: Work, rates: Rates, *, workers: int) -> float:
    seconds = work.trained / rates.trained + work.read / rates.read + work.written / rates.written + work.fitted / rates.fitted
    return seconds / workers / 3600


def evaluations(config: TrainConfig, bench: Workbench) -> dict[str, Work]:
    """What comes behind the plan, on the first worker alone: counted as if all shared it."""
    rows, workers = min(config.evaluation.rows, len(bench.splits.test)), config.runtime.num_workers
    most = rows * config.evaluation.candidates * config.evaluation.max_attempts
    works = {f"evaluation of {name}": Work(written=workers * rows, read=workers * 2 * rows) for name in config.evaluation.compare}
    return works | {"evaluation": Work(written=workers * most, read=workers * (most + 2 * rows))}


def memory(bench: Workbench, config: TrainConfig, *, discriminator_parameters: int) -> Memory:
    base = {id(one): one for one in bench.policy.language.model.parameters() if not one.requires_grad}
    copy = [one for one in bench.policy.merged.model.parameters() if id(one) not in base]
    adapter = sum(one.numel() for one in bench.policy.parameters().values())
    return Memory(
        weights=_bytes(base.values()),
        writing_copy=_bytes(copy),
        trained=FP32_BYTES * (3 * adapter + 2 * discriminator_parameters),
        optimizer=ADAM_BYTES * (adapter + discriminator_parameters),
        activations=activations(bench, longest_rows(bench, config)),
        decode_cache=bench.engine.cache_bytes,
    )


def longest_rows(bench: Workbench, config: TrainConfig) -> list[Row]:
    """As many as a worker reads in one forward and backward pass at most, each as long as the longest training row."""
    batches = [config.sft.batch_size]
    batches += [config.adversarial.prompts * config.adversarial.samples, config.adversarial.ce_rows] if config.adversarial.rounds else []
    batches += [config.filtering.batch_size] if config.filtering.rounds else []
    most = ceil(max(batches) / config.runtime.num_workers)
    longest = max(encode_rows(bench, bench.splits.train), key=lambda row: len(row[0]))
    return [longest] * min(most, config.runtime.micro_batch or most)


def activations(bench: Workbench, rows: list[Row]) -> int:
    """Bytes that one forward pass keeps for its backward pass, weights aside, counted at one row and at two and drawn on from there."""
    (ids, start) = rows[0]
    other = ((0 if ids[0] else 1, *ids[1:]), start)
    one, two = (_kept_bytes(bench, [rows[0], other][:num]) for num in (1, 2))  # of two prompts: answers to one are read behind one copy
    return one + (two - one) * (len(rows) - 1)


def _kept_bytes(bench: Workbench, rows: list[Row]) -> int:
    weights = {one.untyped_storage().data_ptr() for one in bench.policy.language.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    bench.policy.train(True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = cross_entropy(bench, rows, tokens=1.0)
    bench.policy.train(False)
    assert loss.requires_grad, "no parameter is trained"
    return sum(kept.values())


def measured(bench: Workbench, config: TrainConfig) -> Rates:
    """From two real steps of each kind, the first of which warms up. The policy is as it was afterwards."""
    adapter = bench.policy.adapter()
    rows = encode_rows(bench, bench.splits.train[: config.sft.batch_size])
    optimiser = Optimiser(bench.policy.parameters(), learning_rate=0.0)
    trained = _per_second(len(rows), lambda: ce_step(bench, optimiser, rows, stage="plan", step=0, learning_rate=0.0))
    examples = bench.splits.discriminator[: bench.discriminator.rows]
    few = examples[:MEASURED_CONTEXTS]
    answers = [bench.real(example) for example in bench.splits.train[:MEASURED_TEXTS]]
    read = _per_second(len(answers), lambda: bench.features(answers))
    contexts = [example.context for example in bench.splits.train[: min(MEASURED_TEXTS, config.runtime.slots)]]
    drawn: list[int] = []

    def write() -> None:
        groups = bench.write(contexts, k=1, stage="plan", step=0)
        drawn[:] = [len(written(one)) for group in groups for one in group]

    texts = _per_second(len(contexts), write)
    usual = num_answer_tokens(rows) / len(rows)  # an untrained base does not know where to end: what it drew is measured by its tokens
    shown = exhibits(bench, few, [(index, [bench.real(example).ids]) for index, example in enumerate(few)])
    discriminator = bench.new_discriminator()
    critic = discriminator_optimiser(discriminator, learning_rate=0.0, weight_decay=0.0)
    fitted = _per_second(
        len(shown), lambda: discriminator_step(discriminator, shown, critic, bench.discriminator, bench=bench, seed=0, step=1)
    )
    bench.load(adapter)
    return Rates(trained=trained, read=read, written=texts * (sum(drawn) / len(drawn)) / usual, fitted=fitted)


def _per_second(num: int, do: Callable[[], object]) -> float:
    do()
    begun_s = time.perf_counter()
    do()
    return num / max(time.perf_counter() - begun_s, 1e-9)


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _unheard(progress: Progress) -> None:
    pass


def _unsaved(state: State) -> None:
    pass
