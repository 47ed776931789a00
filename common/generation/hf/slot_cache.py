"""Key and value buffers in which every sequence owns a fixed row, as transformers' attention modules write to them. Knows no sampling.

A prompt's token sits at its own position, whatever its neighbours' lengths. What a row holds beyond its position is of another time: it is
masked, and overwritten before a mask shows it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward

WIDTH = 32
"""Rows grow by so many positions: moving them is a few ms each time, and attention rounds alike at every multiple of it."""
ATTENTION = "liyou_slots"
"""Name of `slot_attention` among transformers' attention functions. It has no mask function: whoever selects it passes the masks."""


@dataclass(frozen=True, slots=True)
class Packing:
    """N pieces of several rows fed as one row of T tokens, so that no layer computes padding; only attention takes them apart."""

    rows_N: Tensor
    last_N: Tensor
    """place of each piece's last token among the T"""
    asking_NS: Tensor
    """position of each query once they are taken apart; beyond a piece's end nobody reads the answer"""
    pieces_T: Tensor
    places_T: Tensor
    """which piece a token is of, and its place in it"""
    positions_T: Tensor
    furthest: int
    """one more than the last position"""

    def apart(self, states_1HTD: Tensor) -> Tensor:
        """-> [pieces, heads, longest, head size]"""
        num_heads, size = states_1HTD.shape[1], states_1HTD.shape[3]
        apart = states_1HTD.new_zeros(self.asking_NS.shape[0], num_heads, self.asking_NS.shape[1], size)
        apart[self.pieces_T, :, self.places_T] = states_1HTD[0].transpose(0, 1)
        return apart

    def together(self, states_NSHD: Tensor) -> Tensor:
        """-> [1, tokens, heads, head size]"""
        return states_NSHD[self.pieces_T, self.places_T][None]


def packed(rows: Sequence[int], starts: Sequence[int], lengths: Sequence[int], *, device: torch.device) -> Packing:
    """Piece i has `lengths[i]` tokens for row `rows[i]`, from position `starts[i]`."""
    starts_N, lengths_N = np.asarray(starts), np.asarray(lengths)
    pieces_T, ends_N = np.repeat(np.arange(len(lengths)), lengths), lengths_N.cumsum()
    places_T = np.arange(ends_N[-1]) - (ends_N - lengths_N)[pieces_T]

    def on_device(array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return Packing(
        rows_N=on_device(np.asarray(rows)),
        last_N=on_device(ends_N - 1),
        asking_NS=on_device(starts_N[:, None] + np.arange(lengths_N.max())),
        pieces_T=on_device(pieces_T),
        places_T=on_device(places_T),
        positions_T=on_device(starts_N[pieces_T] + places_T),
        furthest=int((starts_N + lengths_N).max()),
    )


def slot_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    packing: Packing | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Two batched products per key/value head, where stock sdpa copies keys and values for each query head.

    32 rows, 4 heads over 2, one thread: 0.18 ms a layer and step for sdpa's 0.36 (bf16, 128 keys), and a bf16 prefill in 50 to 60 % of
    sdpa's time. In fp32 and on a GPU sdpa prefills as fast. In bf16 a row's products are the same to the bit whatever the number of rows,
    of queries or of masked keys.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packing is None:
        return _products(query, key, value, attention_mask, scale), None
    query = packing.apart(query)
    if query.dtype == torch.float32 or query.device.type != "cpu":
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
        return packing.together(output), None
    return packing.together(_products(query, key, value, attention_mask, scale)), None


def _products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """[rows, heads, queries, head size] over [rows, key/value heads, keys, head size] -> [rows, queries, heads, head size]"""
    num_rows, num_heads, num_queries, head_size = query.shape
    num_kv_heads, num_keys = key.shape[1], key.shape[2]
    grouped = query.reshape(num_rows, num_kv_heads, num_heads // num_kv_heads * num_queries, head_size)
    scores = (grouped @ key.transpose(-1, -2)).view(num_rows, num_heads, num_queries, num_keys)
    weights = torch.softmax(scores * scale + mask, -1).view(num_rows, num_kv_heads, -1, num_keys)
    return (weights @ value).view(num_rows, num_heads, num_queries, head_size).transpose(1, 2)


def register_slot_attention() -> None:
    """Makes ATTENTION selectable; adds a name and changes no model."""
    AttentionInterface.register(ATTENTION, slot_attention)


@dataclass(slots=True)
class Target:
    """Where the current forward writes and what it reads; one object that all layers share, because `update` is told no positions."""

    rows: Tensor | None = None
    positions: Tensor | None = None
    """of each token that is written"""
    num_decoding: int = 0
    """rows read whole, the first ones; 0: `read` up to `end`"""
    read: Tensor | None = None
    end: int = 0
    width: int = 0
    """positions that every row has at present"""


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """[slots, key/value heads, width, head size], contiguous at the beginning of memory that holds max_len positions a slot.

    Contiguous, because bf16 products copy a slice first (0.6 for 0.18 ms a layer and step). A sliding layer keeps its full length too: its
    mask alone limits what it sees.
    """

    is_sliding = False
    is_compileable = False
    keys: Tensor
    values: Tensor

    def __init__(self, slots: int, max_len: int, target: Target) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.slots, self.max_len, self.target = slots, max_len, target

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        _, num_heads, _, size = key_states.shape
        whole = key_states.new_zeros(2, self.slots * num_heads * self.max_len * size)
        shape = (self.slots, num_heads, self.target.width, size)
        self.keys, self.values = (memory[: math.prod(shape)].view(shape) for memory in whole)
        self.memory = tuple(whole)
        self.is_initialized = True

    def fit(self, width: int) -> None:
        """Every row gets `width` positions and keeps what it holds up to there."""
        slots, num_heads, before, size = self.keys.shape
        shape = (slots, num_heads, width, size)
        fitted = []
        for memory, held in zip(self.memory, (self.keys, self.values), strict=True):
            kept = held[:, :, :width].clone()
            now = memory[: math.prod(shape)].view(shape)
            now[:, :, :before] = kept
            fitted.append(now)
        self.keys, self.values = fitted

    def update(self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        to = self.target
        if to.num_decoding:
            self.keys[to.rows, :, to.positions] = key_states[:, :, 0]
            self.values[to.rows, :, to.positions] = value_states[:, :, 0]
            return self.keys[: to.num_decoding], self.values[: to.num_decoding]
        self.keys[to.rows, :, to.positions] = key_states[0].transpose(0, 1)
        self.values[to.rows, :, to.positions] = value_states[0].transpose(0, 1)
        return self.keys[to.read, :, : to.end], self.values[to.read, :, : to.end]

    # transformers asks these three only when it has to build a mask itself, which the engine never lets it do.
    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def get_max_length(self) -> int:
        return self.max_len


Stored = list[tuple[Tensor, Tensor]]
"""Keys and values of one prefix, a pair a layer, each [heads, prefix length, head size]."""


class SlotCache(Cache):
    def __init__(self, *, num_layers: int, slots: int, max_len: int) -> None:
        self.target, self._max_len = Target(), max_len
        self.slot_layers = [SlotLayer(slots, max_len, self.target) for _ in range(num_layers)]
        super().__init__(layers=list(self.slot_layers))

    @property
    def width(self) -> int:
        return self.target.width

    def rounded(self, length: int) -> int:
        return min(-(-length // WIDTH) * WIDTH, self._max_len)

    def fit(self, length: int) -> None:
        """Rows of `length` positions and a few more: grown when they are too short, shrunk when half would do."""
        wanted = self.rounded(length)
        if wanted <= self.target.width < 2 * wanted:
            return
        self.target.width = wanted
        for layer in self.slot_layers:
            if layer.is_initialized:
                layer.fit(wanted)

    def prefill_at(self, packing: Packing) -> int:
        """The next forward writes the packed tokens and reads their rows up to what is returned."""
        end = self.rounded(packing.furthest)
        self.target.rows, self.target.positions, self.target.num_decoding = packing.rows_N[packing.pieces_T], packing.positions_T, 0
        self.target.read, self.target.end = packing.rows_N, end
        return end

    def decode_at(self, rows_B: Tensor, positions_B: Tensor) -> None:
        """The next forward writes one token into each of the first B rows and reads them whole."""
        self.target.rows, self.target.positions, self.target.num_decoding = rows_B, positions_B, rows_B.shape[0]

    def stored(self, row: int, *, length: int) -> Stored:
        """A copy of what the row holds up to `length`."""
        return [(layer.keys[row, :, :length].clone(), layer.values[row, :, :length].clone()) for layer in self.slot_layers]

    def restore(self, stored: Stored, rows_N: Tensor) -> None:
        for layer, (keys, values) in zip(self.slot_layers, stored, strict=True):
            layer.keys[rows_N, :, : keys.shape[1]] = keys
            layer.values[rows_N, :, : values.shape[1]] = values

    def copy_rows(self, source_N: Tensor, rows_N: Tensor, *, length: int) -> None:
        for layer in self.slot_layers:
            layer.keys[rows_N, :, :length] = layer.keys[source_N, :, :length]
            layer.values[rows_N, :, :length] = layer.values[source_N, :, :length]
