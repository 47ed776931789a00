"""Where and how fast a run is trained: workers, precision, memory, checkpoints. Which of it changes no result stands in run.py."""

from typing import Literal

from pydantic import Field, model_validator

from common.config import Device, Frozen, resolved

TrackerName = Literal["mlflow", "wandb"]


class RuntimeConfig(Frozen):
    num_workers: int = Field(1, ge=1, description="data-parallel training processes, at most where `min_workers` is set")
    min_workers: int | None = Field(
        None,
        ge=1,
        description="train with as few as this many while nodes are away, and with more as they come back; None waits for `num_workers`. "
        "Ray counts what its nodes have, not what is free of it: keep other work off them",
    )
    resize_s: float = Field(
        60.0, gt=0, description="seconds between looks for a node that came back; growing costs what a lost worker costs"
    )
    use_gpu: bool = Field(False, description="reserve a GPU for each worker")
    device: Device = Field("auto", description="auto: cuda where use_gpu is set; where CUDA is missing then, the run is refused")
    threads_per_worker: int = Field(2, ge=1, description="OpenMP threads; resuming to the bit wants the same number")
    bf16: bool = Field(
        False,
        description="bfloat16 autocast in training forwards, where the processor has it in hardware; else float32, and the run says so",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="rows of a worker in one forward and backward pass, gradients added up; None takes all of a step at once. Rows of like "
        "length go together: with 8 of 32 a step on the study's base of 3 M parameters took 1.2 core-seconds instead of 1.6",
    )
    gradient_checkpointing: bool = Field(
        False, description="keep layers' inputs only and compute the rest again in the backward pass: less memory, a third more time"
    )
    max_failures: int = Field(3, ge=0, description="workers lost before the run gives up; each time it resumes from the last checkpoint")
    checkpoint_every: int = Field(
        25, ge=1, description="optimiser steps between checkpoints: the most that a killed worker loses, beside those of one upload"
    )
    slots: int = Field(64, ge=1, description="sequences decoded at once in rollouts")
    tracking: tuple[TrackerName, ...] = Field(
        (), description="where progress is told besides metrics.jsonl and TensorBoard; wandb is offline unless WANDB_MODE says otherwise"
    )

    @model_validator(mode="after")
    def _visible(self) -> "RuntimeConfig":
        assert self.on in ("cpu", "cuda")
        if self.min_workers is not None and self.min_workers > self.num_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than num_workers {self.num_workers}; it is the fewest of them")
        return self

    @property
    def fewest_workers(self) -> int:
        return self.num_workers if self.min_workers is None else self.min_workers

    @property
    def on(self) -> Literal["cpu", "cuda"]:
        """Where the workers compute. Raises ValueError where that cannot be."""
        return resolved(self.device, num_gpus=float(self.use_gpu))
