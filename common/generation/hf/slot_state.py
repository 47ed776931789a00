"""What each running sequence has drawn, a row a sequence: one vectorised draw a step, whatever the rows' parameters. Knows no model."""

from collections.abc import Mapping
from collections.abc import Sequence as Many

import numpy as np
import torch
from torch import Tensor

from common.domain.decoding import DecodingParams
from common.generation.engine import FinishReason, Generated, TokenFeatures
from common.generation.sampling import RowPlan, pick, plan_rows, processed, uniforms


class SlotState:
    """B = rows of one forward, V = vocabulary, D = hidden size (None: no features are kept)."""

    def __init__(
        self, *, num_rows: int, max_len: int, vocab_size: int, eos_ids: Many[int], hidden_size: int | None, device: torch.device
    ) -> None:
        def rows(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(num_rows, *shape, dtype=dtype, device=device)

        self.tokens, self.positions, self.live = rows(), rows(), rows()
        """last drawn token, where it will be written, and 1 where the row advances"""
        self._counts, self._limits = rows(), rows()
        self._uniforms = rows(max_len, dtype=torch.float64)
        self._ids, self._logprobs = rows(max_len), rows(max_len, dtype=torch.float32)
        self._hidden = None if hidden_size is None else rows(max_len, hidden_size, dtype=torch.float16)
        self._stats = None if hidden_size is None else rows(max_len, 3, dtype=torch.float32)
        self._seen: Tensor | None = None  # [rows, vocabulary], made when the first repetition penalty is asked for
        self._num_rows, self._vocab_size, self._device = num_rows, vocab_size, device
        self._eos_set = frozenset(eos_ids)
        self._eos_E = torch.tensor(sorted(self._eos_set), device=device)
        self._ends_V = torch.zeros(vocab_size, dtype=torch.bool, device=device).index_fill_(0, self._eos_E, True)

    def start(self, rows_N: Tensor, *, lengths: Many[int], seeds: Many[int], decodings: Many[DecodingParams]) -> None:
        """Rows whose prompts of `lengths` tokens have been prefilled begin to draw."""
        self.positions[rows_N] = torch.tensor(lengths, device=self._device)
        self._counts[rows_N] = 0
        self._limits[rows_N] = torch.tensor([decoding.max_new_tokens for decoding in decodings], device=self._device)
        self.live[rows_N] = 1
        longest = max(decoding.max_new_tokens for decoding in decodings)
        self._uniforms[rows_N, :longest] = uniforms(seeds, num_positions=longest).to(self._device)
        if self._seen is None and any(decoding.repetition_penalty != 1 for decoding in decodings):
            self._seen = torch.zeros(self._num_rows, self._vocab_size, dtype=torch.bool, device=self._device)
        if self._seen is not None:
            self._seen[rows_N] = False

    def plan(self, decodings: Many[DecodingParams], *, nulls: Mapping[int, int]) -> RowPlan:
        return plan_rows(decodings, nulls=nulls, vocab_size=self._vocab_size, device=self._device)

    def draw(self, rows_B: Tensor, *, raw_BV: Tensor, hidden_BD: Tensor, plan: RowPlan) -> list[int]:
        """Draws and records a token for each row -> places in `rows_B` of those that are finished. `raw_BV` is float32."""
        counts_B = self._counts[rows_B]
        seen_BV = None if plan.penalty_B1 is None or self._seen is None else self._seen[rows_B]
        logits_BV = processed(raw_BV, plan, seen_BV=seen_BV, counts_B=counts_B, eos_E=self._eos_E)
        tokens_B = pick(logits_BV, self._uniforms[rows_B, counts_B], plan=plan)
        if plan.leader_B is not None:
            tokens_B = tokens_B[plan.leader_B]
        self._keep(rows_B, counts_B, raw_BV=raw_BV, hidden_BD=hidden_BD, tokens_B=tokens_B)
        self.tokens[rows_B] = tokens_B
        live_B = self.live[rows_B]
        counts_B = counts_B + live_B
        self._counts[rows_B] = counts_B
        done_B = (self._ends_V[tokens_B] | (counts_B >= self._limits[rows_B])) & live_B.bool()
        return [place for place, done in enumerate(done_B.tolist()) if done]

    def _keep(self, rows_B: Tensor, counts_B: Tensor, *, raw_BV: Tensor, hidden_BD: Tensor, tokens_B: Tensor) -> None:
        """Token, log-probability and features under the model's own distribution, before any processor or filter."""
        logprobs_BV = raw_BV.log_softmax(-1)
        logprob_B = logprobs_BV.gather(-1, tokens_B[:, None])[:, 0]
        self._ids[rows_B, counts_B] = tokens_B
        self._logprobs[rows_B, counts_B] = logprob_B
        if self._seen is not None:
            self._seen[rows_B, tokens_B] = True
        if self._hidden is None or self._stats is None:
            return
        entropy_B = -(logprobs_BV.exp() * logprobs_BV).sum(-1)
        gap_B = logprobs_BV.amax(-1) - logprob_B
        self._hidden[rows_B, counts_B] = hidden_BD.to(torch.float16)
        self._stats[rows_B, counts_B] = torch.stack([logprob_B, entropy_B, gap_B], -1)

    def generated(self, row: int, *, prompt_ids: Many[int], cancelled: bool) -> Generated:
        """What the row has drawn; it is free afterwards."""
        count = int(self._counts[row])
        ids = self._ids[row, :count].tolist()
        stopped = not cancelled and ids[-1] in self._eos_set
        reason: FinishReason = "cancelled" if cancelled else "stop" if stopped else "length"
        features = None
        if self._hidden is not None and self._stats is not None:
            features = TokenFeatures(
                ids_T=np.asarray(ids, dtype=np.int32),
                hidden_TD=self._hidden[row, :count].cpu().numpy().copy(),
                stats_T3=self._stats[row, :count].cpu().numpy().copy(),
                prompt_ids_P=np.asarray(prompt_ids, dtype=np.int32),
            )
        self.release([row])
        return Generated(
            ids=tuple(ids[:-1] if stopped else ids),
            logprobs=tuple(self._logprobs[row, :count].tolist()),
            features=features,
            finish_reason=reason,
        )

    def release(self, rows: Many[int]) -> None:
        """Idle rows stay at position 0, which the next prompt overwrites."""
        self.live[rows] = 0
        self.positions[rows] = 0

    def move(self, source_N: Tensor, rows_N: Tensor) -> None:
        for tensor in self._tensors():
            tensor[rows_N] = tensor[source_N]
        self.live[source_N] = 0
        self.positions[source_N] = 0

    def _tensors(self) -> list[Tensor]:
        optional = [tensor for tensor in (self._hidden, self._stats, self._seen) if tensor is not None]
        return [self.tokens, self.positions, self.live, self._counts, self._limits, self._uniforms, self._ids, self._logprobs, *optional]
