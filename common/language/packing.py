"""Answers to one prompt read behind one copy of it: which rows a forward pass has, and what each token of them may see.

Six answers of 35 tokens to a prompt of 190 are 400 tokens instead of 1,350. Runs no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

PADDED_TO = 16
"""Lengths of rows are rounded up: each new shape costs oneDNN new kernels, and they are kept."""
_MASKED = ("eager", "sdpa")
"""Attention implementations that take any mask."""


FULL, SLIDING = "full_attention", "sliding_attention"
LAYER_KINDS = frozenset({FULL, SLIDING})
"""Kinds of attention whose masks are made here and in the engine."""


def layer_kinds(config: PretrainedConfig) -> set[str]:
    """The kinds of attention that the layers use. Mistral and Phi-3 have a window and do not say which layers have it: all."""
    window = getattr(config, "sliding_window", None)
    return set(getattr(config, "layer_types", None) or [SLIDING if window else FULL])


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt and the answers behind it. `answers` says of each token whose it is, 0 of the prompt's and 1, 2 … of the answers'."""

    ids: list[int]
    positions: list[int]
    answers: list[int]
    prompt_len: int
    starts: dict[int, int]
    """number of the sequence -> where its answer starts in `ids`"""


def rows_of(ids: Sequence[Sequence[int]], prompt_lens: Sequence[int], *, together: bool) -> list[Row]:
    """A row for each sequence; where `together` and that is less to read, padding included, for each prompt."""
    alone = _grouped(ids, prompt_lens, together=False)
    packed = _grouped(ids, prompt_lens, together=True) if together else alone
    return packed if _padded_tokens(packed) < _padded_tokens(alone) else alone


def _padded_tokens(rows: Sequence[Row]) -> int:
    return len(rows) * max((len(row.ids) for row in rows), default=0)


def _grouped(ids: Sequence[Sequence[int]], prompt_lens: Sequence[int], *, together: bool) -> list[Row]:
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, (sequence, start) in enumerate(zip(ids, prompt_lens, strict=True)):
        groups.setdefault(tuple(sequence[:start]) if together else (index,), []).append(index)
    rows = []
    for members in groups.values():
        length = prompt_lens[members[0]]
        row = Row(list(ids[members[0]][:length]), list(range(length)), [0] * length, length, {})
        for number, index in enumerate(members, start=1):
            answer = ids[index][length:]
            row.starts[index] = len(row.ids)
            row.ids.extend(answer)
            row.positions.extend(range(length, length + len(answer)))
            row.answers.extend([number] * len(answer))
        rows.append(row)
    return rows


def may_share(decoder: nn.Module, config: PretrainedConfig, *, longest: int) -> bool:
    """Whether the decoder reads a row of several answers as it reads them alone: its attention takes our mask, and no layer has a window or
    a state that ends before `longest`, the tokens of the longest sequence."""
    kinds = layer_kinds(config)
    window = config.sliding_window if SLIDING in kinds else None
    return (
        config._attn_implementation in _MASKED
        and kinds <= LAYER_KINDS
        and (window is None or longest <= window)
        and "position_ids" in signature(decoder.forward).parameters
    )


def padded(rows: Sequence[Row], *, device: torch.device) -> dict[str, Tensor]:
    """What the decoder is called with, B x T. Rows of one answer each take its own mask; a row of several has ours, in which an answer's
    token sees the prompt and what stands before it in its own answer."""
    longest = -(-max(len(row.ids) for row in rows) // PADDED_TO) * PADDED_TO
    ids_BT, real_BT = (torch.zeros(len(rows), longest, dtype=torch.long) for _ in range(2))
    for number, row in enumerate(rows):
        ids_BT[number, : len(row.ids)] = torch.tensor(row.ids)
        real_BT[number, : len(row.ids)] = 1
    inputs = {"input_ids": ids_BT, "attention_mask": real_BT}
    if any(len(row.starts) > 1 for row in rows):
        position_BT, answer_BT = torch.zeros_like(ids_BT), torch.zeros_like(ids_BT)
        for number, row in enumerate(rows):
            position_BT[number, : len(row.ids)] = torch.tensor(row.positions)
            answer_BT[number, : len(row.ids)] = torch.tensor(row.answers)
        own_BTT = (answer_BT[:, None, :] == answer_BT[:, :, None]) | (answer_BT[:, None, :] == 0)
        before_TT = torch.ones(longest, longest, dtype=torch.bool).tril()
        inputs |= {"attention_mask": (own_BTT & before_TT)[:, None], "position_ids": position_BT}
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def as_added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of booleans as eager attention wants it: what is added to its scores."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
