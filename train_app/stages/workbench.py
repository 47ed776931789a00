"""What all stages work with and none of them saves: the policy, its engine, the checks, the data, the other workers."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.decoding import DecodingParams
from common.domain.token_features import TokenFeatures
from common.generation.candidates import Candidate, Writer
from common.generation.features import token_features
from common.generation.hf import HfEngine
from common.generation.sampling import sequence_seed
from common.language.prompt import build_prompt
from common.language.tokens import encode_example, encode_prompt
from common.quality.discriminator import Discriminator, discriminator_config
from common.quality.verdict import Checker
from train_app.config import DiscriminatorStageConfig
from train_app.data.examples import Example
from train_app.data.split import Splits
from train_app.stages.discriminator.spectral import spectrally_normalised
from train_app.stages.parallel import Parallel
from train_app.stages.policy import Policy

Row = TypeVar("Row")
FEATURE_BATCH = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """A text in its context, as token ids with the end token where it ended."""

    context: Context
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Workbench:
    run: str
    """Digest of configuration and data; seeds and resumed states hang on it."""
    policy: Policy
    engine: HfEngine
    """Decodes `policy.merged`; the same engine through all stages."""
    checker: Checker
    vocabulary: ControlVocabulary
    splits: Splits
    decoding: DecodingParams
    """Of rollouts."""
    served: DecodingParams
    """Of what is chosen and calibrated: as customers will read it."""
    parallel: Parallel
    discriminator: DiscriminatorStageConfig
    bf16: bool = False
    checkpoint_every: int = 25
    truth: Callable[[str, Context], bool] | None = None
    """A ground truth, for `filtering.select_by: truth` and nothing else."""
    micro_batch: int | None = None
    """Rows in one forward and backward pass on a worker."""

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """Products in bf16 where the run asks for it; sums of losses stay fp32."""
        return torch.autocast(self.parallel.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def micro_batches(self, rows: Sequence[Row], *, texts: int = 1) -> list[list[Row]]:
        """A worker's rows, of so many texts each, in the parts whose gradients are added up. Sums of losses over global counts: the parts
        change nothing else."""
        size = max(1, self.micro_batch // texts) if self.micro_batch else max(1, len(rows))
        return [list(rows[start : start + size]) for start in range(0, len(rows), size)]

    def seed(self, stage: str, step: int, item: str = "") -> int:
        return sequence_seed(run=self.run, stage=stage, step=step, item=item, codes={}, candidate=0)

    def seed_step(self, stage: str, step: int) -> None:
        """Dropout of a step is a function of the run, the stage, the step and the worker alone: a resumed step repeats it."""
        torch.manual_seed(self.seed(stage, step, f"dropout {self.parallel.rank}") % (1 << 63))

    def merge(self) -> None:
        """After the policy's weights changed: sampling and features follow."""
        self.policy.merge()
        self.engine.weights_changed()

    def load(self, adapter: dict[str, torch.Tensor]) -> None:
        self.policy.load(adapter)
        self.engine.weights_changed()

    def show(self, adapter: dict[str, torch.Tensor], *, alpha: float) -> None:
        """Sampling and features are another run's, until the next `load` or `merge`."""
        self.policy.show(adapter, alpha=alpha)
        self.engine.weights_changed()

    def write(
        self, contexts: Sequence[Context], *, k: int, stage: str, step: int, decoding: DecodingParams | None = None
    ) -> list[list[Candidate]]:
        """k samples for each context, rollouts by default; a text depends on run, stage, step and context, not on the worker."""
        writer = Writer(self.policy.merged, self.engine, self.vocabulary, decoding or self.decoding, f"{self.run}/{stage}/{step}")
        return writer.write(list(contexts), k=k, attempt=0)

    def encoded(self, answer: Answer) -> tuple[tuple[int, ...], int]:
        """Prompt and answer ids, and where the answer starts."""
        prompt = encode_prompt(build_prompt(answer.context, vocabulary=self.vocabulary), self.policy.language)
        return prompt.ids + answer.ids, len(prompt.ids)

    def real(self, example: Example, *, context: Context | None = None, text: str | None = None) -> Answer:
        """What a person wrote, or its `text` changed, or put under another `context`."""
        chosen = context or example.context
        prompt = build_prompt(chosen, vocabulary=self.vocabulary)
        encoded = encode_example(prompt, text or example.text, self.policy.language)
        return Answer(chosen, encoded.ids[encoded.prompt_len :])

    def features(self, answers: Sequence[Answer]) -> list[TokenFeatures]:
        """Of the merged policy, in the order given. Batches depend on the answers alone: a resumed run finds the same numbers. Answers to
        one prompt come together: they are read behind one copy of it."""
        encoded = [self.encoded(answer) for answer in answers]
        longest: dict[tuple[int, ...], int] = {}
        for ids, start in encoded:
            longest[ids[:start]] = max(len(ids), longest.get(ids[:start], 0))
        order = sorted(range(len(encoded)), key=lambda index: (longest[encoded[index][0][: encoded[index][1]]], encoded[index][0]))
        found: dict[int, TokenFeatures] = {}
        for start in range(0, len(order), FEATURE_BATCH):
            rows = order[start : start + FEATURE_BATCH]
            batch = token_features(
                self.policy.merged.model, [encoded[row][0] for row in rows], prompt_lens=[encoded[row][1] for row in rows]
            )
            found.update(zip(rows, batch, strict=True))
        return [found[index] for index in range(len(encoded))]

    def new_discriminator(self) -> Discriminator:
        embedding = self.policy.merged.model.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        torch.manual_seed(self.seed("discriminator", 0, "weights") % (1 << 63))
        config = self.discriminator
        shape = discriminator_config(
            self.vocabulary,
            hidden_size=embedding.weight.shape[1],
            kind=config.kind,
            channels=config.channels,
            dropout=config.dropout,
            lora_rank=config.lora_rank,
        )
        made = Discriminator(shape, embedding_VD=embedding.weight, base=self.policy.merged.model)
        return (spectrally_normalised(made) if config.spectral_norm else made).to(self.parallel.device)


def written(candidate: Candidate) -> tuple[int, ...]:
    """The candidate's ids as the model produced them, the end token included where it came to one."""
    assert candidate.features is not None, "rollouts keep features"
    return tuple(int(token) for token in candidate.features.ids_T)
