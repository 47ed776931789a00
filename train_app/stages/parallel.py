"""Data-parallel training as plain sums: which part of a batch is mine, and how gradients and figures become those of the whole batch.

Gradients are summed explicitly instead of by two DDP wrappers, one around the generator and one around the discriminator:
- A loss is divided by what the global batch holds (tokens, texts), so summed gradients are those of one worker with the whole batch. DDP
  averages over workers: right only where all have equally many tokens, and none has an empty share.
- DDP hooks the parameters that ask for a gradient when it wraps. An adapter that is switched on later is left out, without an error; here
  each optimiser names its own parameters at every step, so generator and discriminator stay apart and nothing is unused or forgotten.
- Micro-batches are added up before the one sum; DDP would sum at each backward pass unless it were told not to (`no_sync`).
- Adapters and discriminator are a few million numbers: one flat sum behind the backward pass is short, and the overlap that DDP would gain
  matters where whole models are trained. Its wrapper can neither generate nor save, and would have to come off for both.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Item = TypeVar("Item")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Parallel:
    """One of `world_size` workers. All make the same calls in the same order; item i of a batch belongs to worker i % world_size."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def mine(self, items: Sequence[Item]) -> list[Item]:
        return list(items[self.rank :: self.world_size])

    def sum(self, values: Sequence[float]) -> list[float]:
        if self.world_size == 1:
            return list(values)
        total = torch.tensor(list(values), dtype=torch.float64 if self.device.type == "cpu" else torch.float32, device=self.device)
        dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """A worker without a row has no gradient: zeros stand in, so that all workers take the same step."""
        if self.world_size == 1:
            return
        chosen = list(parameters)
        grads = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in chosen]
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        for parameter, part in zip(chosen, torch.split(flat, [grad.numel() for grad in grads]), strict=True):
            parameter.grad = part.view_as(parameter)

    def gather_rows(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Rows of integers made from `mine(items)` -> those of all items, in the items' order."""
        if self.world_size == 1:
            return [list(row) for row in rows]
        lengths = self._gather(torch.tensor([len(row) for row in rows], dtype=torch.long))
        values = self._gather(torch.tensor([value for row in rows for value in row], dtype=torch.long))
        parts = [[part.tolist() for part in torch.split(value, length.tolist())] for value, length in zip(values, lengths, strict=True)]
        return [parts[index % self.world_size][index // self.world_size] for index in range(sum(len(part) for part in parts))]

    def gather_groups(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[list[int]]]:
        """Several rows made from each of `mine(items)` -> those of all items, in the items' order, however many rows an item has."""
        return [_unpacked(line) for line in self.gather_rows([_packed(group) for group in groups])]

    def _gather(self, values: Tensor) -> list[Tensor]:
        size = torch.tensor([len(values)], device=self.device)
        sizes = [torch.zeros_like(size) for _ in range(self.world_size)]
        dist.all_gather(sizes, size)
        longest = max(1, max(int(one) for one in sizes))
        padded = torch.zeros(longest, dtype=torch.long, device=self.device)
        padded[: len(values)] = values.to(self.device)
        parts = [torch.zeros_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return [part[: int(length)].cpu() for part, length in zip(parts, sizes, strict=True)]

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier()


def _packed(rows: Sequence[Sequence[int]]) -> list[int]:
    """Rows one behind the other, the length of each before it."""
    return [value for row in rows for value in (len(row), *row)]


def _unpacked(line: Sequence[int]) -> list[list[int]]:
    rows, at = [], 0
    while at < len(line):
        rows.append(list(line[at + 1 : at + 1 + line[at]]))
        at += 1 + line[at]
    return rows
