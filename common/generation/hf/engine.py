"""The decode engine over a Hugging Face causal LM's own forward: slots, admission between tokens, shared prefixes, a seed a sequence.

It reads the module's weights at every step, so it follows a model that trains between calls. It knows token ids only: no text, no clock.
"""

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Sequence as Many
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from common.domain.decoding import DecodingParams
from common.errors import BadInput, UnsupportedModel
from common.generation.engine import Generated, Sequence, refuse_unfit
from common.generation.hf.scheduler import Prefix, Waiting, WaitingLine, shared_prefix
from common.generation.hf.slot_cache import ATTENTION, Packing, SlotCache, Stored, packed, register_slot_attention
from common.generation.hf.slot_state import SlotState
from common.generation.sampling import RowPlan
from common.language.base_model import backbone, head_logits
from common.language.packing import LAYER_KINDS, layer_kinds

Finished = list[tuple[int, Generated]]
Masks = Tensor | dict[str, Tensor]
FED_ON_CPU, FED = 768, 16384
"""Prompt tokens in one forward. A CPU feeds 3,050 in 174 ms at once and in 142 in pieces: what one layer computes stays in its cache."""


@dataclass(slots=True)
class Running:
    waiting: Waiting
    slot: int
    null_slot: int | None
    """row of the same sequence without codes, when guided"""
    offset: int
    """length of its longer prompt minus the step of admission: plus the current step, the furthest position it reads"""

    @property
    def rows(self) -> list[int]:
        return [self.slot] if self.null_slot is None else [self.slot, self.null_slot]


class HfEngine:
    """Slots are rows of preallocated buffers of `max_len` tokens; each step gives every running sequence one token.

    `model` stays the caller's: eval mode is its duty, the attention function is swapped for the length of a step only, and no other thread
    may use the model meanwhile. Adapters are followed, but merged ones are faster. After its weights changed, call `weights_changed`.
    A long `max_len` costs memory and no time: rows are as long as the longest that runs. An engine whose `step` raised is to be replaced.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        eos_ids: Many[int],
        max_len: int,
        slots: int = 32,
        keep_features: bool = False,
        compile: bool = False,
        num_prefixes: int = 16,
    ) -> None:
        """Raises UnsupportedModel for a model whose logits this engine would not reproduce.

        `compile` makes code for any number of rows and tokens at the first steps. Of the prefixes the `num_prefixes` used last are kept.
        """
        assert min(slots, max_len - 1, len(eos_ids)) >= 1, f"slots={slots}, max_len={max_len}, eos_ids={eos_ids}"
        self._config = config = model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", max_len)
        if max_len > limit:
            raise BadInput(f"max_len: got {max_len}; a {config.model_type} of this size has {limit} positions. Ask for fewer.")
        self._kinds = _layer_kinds(model)
        register_slot_attention()
        self.model, self.max_len, self.num_slots = model, max_len, slots
        self._num_prefixes, self._device = num_prefixes, model.device
        # One row alone rounds otherwise than two. In half precision that is 3 tokens in 1000, so no step decodes fewer than two; in fp32 it
        # is 1 in a million, and a second row would cost 20 % of a lone sequence's time.
        self._fewest_rows = 1 if model.dtype == torch.float32 else 2
        self._fed = FED_ON_CPU if model.device.type == "cpu" else FED
        num_rows = max(slots, 2)
        self._cache = SlotCache(num_layers=config.num_hidden_layers, slots=num_rows, max_len=max_len)
        self._state = SlotState(
            num_rows=num_rows,
            max_len=max_len,
            vocab_size=config.vocab_size,
            eos_ids=eos_ids,
            hidden_size=config.hidden_size if keep_features else None,
            device=self._device,
        )
        self._all_rows = torch.arange(num_rows, device=self._device)
        self._key_positions = torch.arange(max_len, device=self._device)
        self._prefixes: OrderedDict[Prefix, Stored] = OrderedDict()
        self._line = WaitingLine()
        self._running: dict[int, Running] = {}
        self._cancelled: set[int] = set()
        self._next_id = self._num_steps = 0
        self._plan: RowPlan | None = None
        self._decode = torch.compile(self._decode_rows, dynamic=True) if compile else self._decode_rows
        self._check_logits()

    @property
    def cache_bytes(self) -> int:
        """Of the keys and values of all slots, whether they are allocated yet or not."""
        text = self._config
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return 2 * int(text.num_hidden_layers * max(self.num_slots, 2) * heads * self.max_len * size) * self.model.dtype.itemsize

    # ---- the Engine protocol ---------------------------------------------------------------------------------------

    def submit(self, sequence: Sequence, *, decoding: DecodingParams) -> int:
        prompts = [sequence.prompt_ids]
        if decoding.guidance > 1:
            if sequence.null_prompt_ids is None:
                raise BadInput(
                    f"decoding.guidance: got {decoding.guidance} for a sequence without null_prompt_ids; pass them, or set it to 1"
                )
            if self.num_slots < 2:
                raise BadInput(f"decoding.guidance: got {decoding.guidance}; a guided sequence takes two slots and this engine has one")
            prompts.append(sequence.null_prompt_ids)
        for ids in prompts:
            refuse_unfit(ids, vocab_size=self._config.vocab_size, max_new_tokens=decoding.max_new_tokens, max_len=self.max_len)
        self._next_id += 1
        prefix = shared_prefix(sequence.prompt_ids, sequence.prefix_len)
        self._line.add(Waiting(sequence_id=self._next_id, sequence=sequence, decoding=decoding, prefix=prefix))
        return self._next_id

    @torch.inference_mode()
    def step(self) -> Finished:
        assert not self.model.training, "the engine decodes a model in eval mode; call model.eval() first"
        with self._slot_attention():
            finished = self._drop_cancelled()
            finished += self._admit()
            if self._running:
                finished += self._advance()
            self._num_steps += 1
        return finished

    def cancel(self, sequence_id: int) -> None:
        self._cancelled.add(sequence_id)

    @property
    def busy(self) -> bool:
        return bool(self._running or len(self._line))

    def weights_changed(self) -> None:
        """Forget the prefixes of the old weights. Nothing may be running: half of its cache would be the old model's."""
        assert not self._running, f"{len(self._running)} sequences are still running; finish or cancel them before the weights change"
        self._prefixes.clear()

    # ---- who runs --------------------------------------------------------------------------------------------------

    def _drop_cancelled(self) -> Finished:
        if not self._cancelled:
            return []
        never_ran = Generated(ids=(), logprobs=(), features=None, finish_reason="cancelled")
        finished = [(sequence_id, never_ran) for sequence_id in sorted(self._cancelled) if self._line.remove(sequence_id)]
        for running in list(self._running.values()):
            if running.waiting.sequence_id in self._cancelled:
                finished.append(self._finish(running, cancelled=True))
        self._cancelled.clear()
        return finished

    def _finish(self, running: Running, *, cancelled: bool = False) -> tuple[int, Generated]:
        del self._running[running.slot]
        self._plan = None
        generated = self._state.generated(running.slot, prompt_ids=running.waiting.sequence.prompt_ids, cancelled=cancelled)
        self._state.release(running.rows)
        return running.waiting.sequence_id, generated

    def _admit(self) -> Finished:
        used = {row for running in self._running.values() for row in running.rows}
        free = [row for row in range(self.num_slots) if row not in used]
        taken = self._line.take(len(free))
        if not taken:
            return []
        rows: list[int] = []
        prompts: list[tuple[int, ...]] = []
        prefix_lens: list[int] = []
        nulls: dict[int, int] = {}
        owners: list[Waiting] = []
        for waiting in taken:
            sequence, null = waiting.sequence, waiting.sequence.null_prompt_ids
            own = [sequence.prompt_ids] if waiting.num_rows == 1 or null is None else [sequence.prompt_ids, null]
            its_rows, free = free[: len(own)], free[len(own) :]
            if len(own) == 2:
                nulls[len(rows)] = len(rows) + 1
            offset = max(len(ids) for ids in own) - self._num_steps
            self._running[its_rows[0]] = Running(waiting, slot=its_rows[0], null_slot=its_rows[1] if len(own) == 2 else None, offset=offset)
            rows += its_rows
            prompts += own
            prefix_lens += [sequence.prefix_len] * len(own)
            owners += [waiting] * len(own)
        self._cache.fit(self._furthest())
        hidden_ND = self._prefill(rows, prompts, [shared_prefix(ids, length) for ids, length in zip(prompts, prefix_lens, strict=True)])
        rows_N = self._index(rows)
        decodings = [waiting.decoding for waiting in owners]
        self._state.start(rows_N, lengths=[len(ids) for ids in prompts], seeds=[w.sequence.seed for w in owners], decodings=decodings)
        self._plan = None
        return self._draw(rows_N, rows, hidden_ND, self._state.plan(decodings, nulls=nulls))

    def _advance(self) -> Finished:
        """One token for every running sequence."""
        if self._plan is None:
            self._close_ranks()
        num_rows = max(row for running in self._running.values() for row in running.rows) + 1
        num_rows = max(num_rows, self._fewest_rows)
        if self._plan is None:
            self._plan = self._plan_of_running(num_rows)
        self._cache.fit(self._furthest())
        rows_B = self._all_rows[:num_rows]
        hidden_BD = self._decode(self._state.tokens[:num_rows], self._state.positions[:num_rows], rows_B, self._cache.width)
        self._state.positions[:num_rows] += self._state.live[:num_rows]
        return self._draw(rows_B, range(num_rows), hidden_BD, self._plan)

    def _close_ranks(self) -> None:
        """Moves the last rows into gaps when at most half of the rows that a step would feed are in use."""
        used = sorted(row for running in self._running.values() for row in running.rows)
        if 2 * len(used) > used[-1] + 1 or used[-1] < 2:
            return
        gaps = [row for row in range(len(used)) if row not in set(used)]
        moved = dict(zip(used[-len(gaps) :], gaps, strict=True))
        source_N, rows_N = self._index(list(moved)), self._index(list(moved.values()))
        self._cache.copy_rows(source_N, rows_N, length=self._furthest())
        self._state.move(source_N, rows_N)
        for running in self._running.values():
            running.slot = moved.get(running.slot, running.slot)
            running.null_slot = None if running.null_slot is None else moved.get(running.null_slot, running.null_slot)
        self._running = {running.slot: running for running in self._running.values()}

    def _furthest(self) -> int:
        """One more than the last position that a running row has come to."""
        return min(max(running.offset for running in self._running.values()) + self._num_steps + 1, self.max_len)

    def _plan_of_running(self, num_rows: int) -> RowPlan:
        """An idle row is given a running one's parameters, so that it asks for no work of another kind."""
        decodings = [next(iter(self._running.values())).waiting.decoding] * num_rows
        nulls = {}
        for running in self._running.values():
            for row in running.rows:
                decodings[row] = running.waiting.decoding
            if running.null_slot is not None:
                nulls[running.slot] = running.null_slot
        return self._state.plan(decodings, nulls=nulls)

    def _draw(self, rows_B: Tensor, rows: Many[int], hidden_BD: Tensor, plan: RowPlan) -> Finished:
        places = self._state.draw(rows_B, raw_BV=self._head(hidden_BD), hidden_BD=hidden_BD, plan=plan)
        return [self._finish(self._running[rows[place]]) for place in places if rows[place] in self._running]

    # ---- what runs -------------------------------------------------------------------------------------------------

    def _prefill(self, rows: list[int], prompts: list[tuple[int, ...]], prefixes: list[Prefix]) -> Tensor:
        """Fills the rows' caches -> state of each row's last prompt token. A prefix or prompt that several share is computed once."""
        first: dict[tuple[Prefix, tuple[int, ...]], int] = {}
        source = [first.setdefault((prefix, ids), i) for i, (prefix, ids) in enumerate(zip(prefixes, prompts, strict=True))]
        distinct = list(first.values())
        rows_of: dict[Prefix, list[int]] = {}
        for i in distinct:
            if prefixes[i]:
                rows_of.setdefault(prefixes[i], []).append(rows[i])
        missing = [prefix for prefix in rows_of if prefix not in self._prefixes]
        if shared := [prefix for prefix in missing if len(rows_of[prefix]) > 1]:
            self._extend([rows_of[prefix][0] for prefix in shared], shared, [0] * len(shared))
            self._store(shared, rows_of)
        for prefix, its_rows in rows_of.items():
            if prefix in self._prefixes:
                self._prefixes.move_to_end(prefix)
                self._cache.restore(self._prefixes[prefix], self._index(its_rows))
        starts = [len(prefixes[i]) if prefixes[i] in self._prefixes else 0 for i in distinct]
        hidden_MD = self._extend(
            [rows[i] for i in distinct], [prompts[i][start:] for i, start in zip(distinct, starts, strict=True)], starts
        )
        self._store([prefix for prefix in missing if prefix not in shared][-self._num_prefixes :], rows_of)
        while len(self._prefixes) > self._num_prefixes:
            self._prefixes.popitem(last=False)
        copies = [i for i in range(len(rows)) if source[i] != i]
        if copies:
            source_N, rows_N = self._index([rows[source[i]] for i in copies]), self._index([rows[i] for i in copies])
            self._cache.copy_rows(source_N, rows_N, length=max(len(prompts[i]) for i in copies))
        place = {i: m for m, i in enumerate(distinct)}
        return hidden_MD[self._index([place[i] for i in source])]

    def _store(self, prefixes: list[Prefix], rows_of: dict[Prefix, list[int]]) -> None:
        for prefix in prefixes:
            self._prefixes[prefix] = self._cache.stored(rows_of[prefix][0], length=len(prefix))

    def _extend(self, rows: list[int], pieces: list[tuple[int, ...]], starts: list[int]) -> Tensor:
        """Feeds `pieces[i]` to row `rows[i]` at the positions from `starts[i]` -> state of each piece's last token.

        A forward takes pieces of like length, and no more of them than are to be fed at once.
        """
        order = sorted(range(len(pieces)), key=lambda i: len(pieces[i]))
        groups: list[list[int]] = [[]]
        for i in order:
            if groups[-1] and sum(len(pieces[j]) for j in (*groups[-1], i)) > self._fed:
                groups.append([])
            groups[-1].append(i)
        hidden_ND = torch.cat([self._feed([rows[i] for i in own], [pieces[i] for i in own], [starts[i] for i in own]) for own in groups])
        return hidden_ND[self._index(order).argsort()]

    def _feed(self, rows: list[int], pieces: list[tuple[int, ...]], starts: list[int]) -> Tensor:
        packing = packed(rows, starts, [len(piece) for piece in pieces], device=self._device)
        end = self._cache.prefill_at(packing)
        ids_T = self._index([token for piece in pieces for token in piece])
        hidden_1TD = self._forward(ids_T[None], packing.positions_T[None], self._masks(packing.asking_NS, end), packing=packing)
        return hidden_1TD[0, packing.last_N]

    def _decode_rows(self, tokens_B: Tensor, positions_B: Tensor, rows_B: Tensor, width: int) -> Tensor:
        self._cache.decode_at(rows_B, positions_B)
        return self._forward(tokens_B[:, None], positions_B[:, None], self._masks(positions_B[:, None], width))[:, 0]

    def _forward(self, ids_BS: Tensor, positions_BS: Tensor, masks: Masks, **packing: Packing) -> Tensor:
        output = backbone(self.model)(
            input_ids=ids_BS, position_ids=positions_BS, attention_mask=masks, past_key_values=self._cache, use_cache=True, **packing
        )
        hidden_BSD: Tensor = output.last_hidden_state
        return hidden_BSD

    def _masks(self, positions_BS: Tensor, end: int) -> Masks:
        masks = {kind: self._mask(positions_BS, end, kind=kind) for kind in self._kinds}
        # As in transformers' create_masks_for_generate: a config with layer_types takes a mask a kind (one tensor would silently serve
        # every layer, sliding ones too); without layer_types (Llama) only a tensor works.
        return masks if getattr(self._config, "layer_types", None) is not None else masks.popitem()[1]

    def _mask(self, positions_BS: Tensor, end: int, *, kind: str) -> Tensor:
        """[B, 1, S, end] to be added to attention scores, in the model's dtype."""
        keys, queries = self._key_positions[:end], positions_BS[..., None]
        hidden = keys > queries
        if kind == "sliding_attention":
            hidden |= keys <= queries - self._config.sliding_window
        dtype = self.model.dtype
        return torch.zeros(hidden.shape, dtype=dtype, device=self._device).masked_fill_(hidden, torch.finfo(dtype).min)[:, None]

    def _head(self, hidden_BD: Tensor) -> Tensor:
        """float32 logits. Applied apart: `logits_to_keep` of transformers 5.19 cannot keep another position for each row."""
        return head_logits(self.model, hidden_BD).float()

    @contextmanager
    def _slot_attention(self) -> Iterator[None]:
        """Selects the engine's attention for the length of a step; left selected it would break `generate` on the same model."""
        before = self._config._attn_implementation
        self._config._attn_implementation = ATTENTION
        try:
            yield
        finally:
            self._config._attn_implementation = before

    def _index(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)

    @torch.inference_mode()
    def _check_logits(self) -> None:
        """Compares four tokens with the model's own forward, so that a model that does more than this engine knows is refused."""
        assert not self.model.training, "the engine decodes a model in eval mode; call model.eval() first"
        ids = tuple(i % self._config.vocab_size for i in (1, 2, 3, 4))
        expected_V = self.model(input_ids=self._index(list(ids))[None], use_cache=False).logits[0, -1].float()
        with self._slot_attention():
            self._cache.fit(len(ids))
            self._extend([0, 1], [ids[:3]] * 2, [0, 0])
            rows_B = self._all_rows[:2]
            fed_B = self._index([ids[3]] * 2)
            got_V = self._head(self._decode_rows(fed_B, torch.full_like(fed_B, 3), rows_B, self._cache.width))[0]
        scale = max(1.0, float(expected_V.abs().max()))
        difference = float((got_V - expected_V).abs().max()) / scale
        if not difference <= (1e-3 if self.model.dtype == torch.float32 else 0.1):
            raise UnsupportedModel(
                f"{self._config.model_type}: the engine's logits differ from the model's own by {difference:.2g} of their size, so this "
                "architecture does something the engine does not reproduce. Known to work: qwen2, llama, gemma3_text."
            )


def _layer_kinds(model: PreTrainedModel) -> tuple[str, ...]:
    """The kinds of attention the model's layers use. Raises UnsupportedModel naming what has no slot cache here."""
    config = model.config.get_text_config()
    kinds = layer_kinds(config)
    if unknown := sorted(kinds - LAYER_KINDS):
        raise UnsupportedModel(
            f"{config.model_type}: layers of type {', '.join(unknown)} have no slot cache; known are {', '.join(sorted(LAYER_KINDS))}"
        )
    for feature in ("attn_logit_softcapping", "use_bidirectional_attention"):
        if getattr(config, feature, None):
            raise UnsupportedModel(
                f"{config.model_type}: {feature}={getattr(config, feature)} is not something the engine's attention does"
            )
    return tuple(sorted(kinds))
