"""Our adversarial step with transformers' `generate` in place of our engine: `python -m cluster.bench.train.peers.generate JOB OUT`.

At its best setting: all samples of a step in one batch, the adapter merged into the weights, attention by sdpa. It keeps no features, so
the discriminator's are read off the texts in one further pass, as TRL's reward function does.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from cluster.bench.train.ours_adversarial import measured, opened
from common.domain.decoding import DecodingParams
from common.generation.engine import Generated, Sequence
from common.generation.features import token_features
from common.generation.hf import HfEngine

FEATURE_BATCH = 32


class GenerateEngine:
    """The protocol of common.generation.engine over `generate`. It draws from torch's own generator, not from a sequence's seed."""

    def __init__(self, model: PreTrainedModel, *, eos_id: int) -> None:
        self.model, self.eos_id = model, eos_id
        self._queue: list[tuple[int, Sequence]] = []
        self._decoding = DecodingParams()
        self._next_id = 0

    def submit(self, sequence: Sequence, *, decoding: DecodingParams) -> int:
        self._next_id += 1
        self._queue.append((self._next_id, sequence))
        self._decoding = decoding
        return self._next_id

    def cancel(self, sequence_id: int) -> None:
        self._queue = [(queued, sequence) for queued, sequence in self._queue if queued != sequence_id]

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def weights_changed(self) -> None:
        """Nothing of the old weights is kept."""

    @torch.no_grad()
    def step(self) -> list[tuple[int, Generated]]:
        queue, self._queue = self._queue, []
        prompts = [sequence.prompt_ids for _, sequence in queue]
        longest = max(len(ids) for ids in prompts)
        ids_BT = torch.tensor([(self.eos_id,) * (longest - len(ids)) + ids for ids in prompts])
        mask_BT = torch.tensor([(0,) * (longest - len(ids)) + (1,) * len(ids) for ids in prompts])
        drawn = self.model.generate(  # type: ignore[operator]
            input_ids=ids_BT,
            attention_mask=mask_BT,
            do_sample=True,
            temperature=self._decoding.temperature,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self._decoding.max_new_tokens,
            eos_token_id=self.eos_id,
            pad_token_id=self.eos_id,
        )
        answers = [self._cut(row) for row in drawn[:, longest:].tolist()]
        order = sorted(range(len(answers)), key=lambda index: len(prompts[index]) + len(answers[index]))
        found: dict[int, Generated] = {}
        for start in range(0, len(order), FEATURE_BATCH):
            part = order[start : start + FEATURE_BATCH]
            features = token_features(self.model, [(*prompts[i], *answers[i]) for i in part], prompt_lens=[len(prompts[i]) for i in part])
            for index, one in zip(part, features, strict=True):
                ended = answers[index][-1] == self.eos_id
                found[index] = Generated(
                    ids=answers[index][:-1] if ended else answers[index],
                    logprobs=tuple(one.stats_T3[:, 0].tolist()),
                    features=one,
                    finish_reason="stop" if ended else "length",
                )
        return [(sequence_id, found[index]) for index, (sequence_id, _) in enumerate(queue)]

    def _cut(self, ids: list[int]) -> tuple[int, ...]:
        """To the end token, it included."""
        return tuple(ids[: ids.index(self.eos_id) + 1] if self.eos_id in ids else ids)


def main(job: dict[str, Any]) -> dict[str, Any]:
    bench, state = opened(job)
    torch.manual_seed(0)
    engine = GenerateEngine(bench.policy.merged.model, eos_id=bench.policy.language.eos_id)
    return measured(replace(bench, engine=cast(HfEngine, engine)), state, job)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
