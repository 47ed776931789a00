"""The discriminator: a conditional multi-layer CNN over the frozen generator's token features. Knows no text, no tokenizer and no check.

Over token ids alone a CNN could not tell judge-broken from judge-clean samples that pass the checks (AUC .52); over the generator's hidden
state, the token's embedding, their product, log-probability, entropy and gap it could (.89-.92 in a pilot). The hidden state has read the
prompt, so the context needs no encoder of its own; the codes come in by projection (Miyato & Koyama 2018) besides. Two others stand behind
the same interface: that CNN over token ids, as a control, and LoRA with a scalar head on the base.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from common.config import Frozen
from common.domain.controls import ControlVocabulary
from common.domain.token_features import DiscriminatorKind, TokenFeatures
from common.language.base_model import backbone
from common.quality.low_rank import LowRank
from common.quality.threshold import probability

NUM_STATS = 3
WORD = 128
"""Width of the embedding that kind `ids` learns."""
FREE = 0
"""Index of "no code" in every control's embedding and head; values of the vocabulary follow in their order."""


Width = Annotated[int, Field(ge=1, le=64)]


class DiscriminatorConfig(Frozen):
    """Shape of the network; stands in the bundle. Bounded, since a stranger's bundle brings its own."""

    kind: DiscriminatorKind = Field("features", description="what the network reads: token features, token ids, or the base with LoRA")
    hidden_size: int = Field(ge=1, le=1 << 16, description="width of the generator's hidden state and embedding")
    controls: dict[str, tuple[str, ...]] = Field(description="control -> its values, in the vocabulary's order")
    channels: int = Field(96, ge=8, le=4096, description="width of every layer behind the input projection")
    widths: tuple[Width, ...] = Field(
        (2, 3, 4, 5), min_length=1, max_length=16, description="tokens seen by each of the parallel convolutions"
    )
    num_residual: int = Field(2, ge=0, le=64, description="residual convolutions of width 3")
    dropout: float = Field(0.2, ge=0, lt=1, description="on token representations and before the head")
    lora_rank: int = Field(8, ge=1, le=256, description="of kind lora_head")


def discriminator_config(
    vocabulary: ControlVocabulary,
    *,
    hidden_size: int,
    kind: DiscriminatorKind = "features",
    channels: int = 96,
    dropout: float = 0.2,
    lora_rank: int = 8,
) -> DiscriminatorConfig:
    controls = {control.name: tuple(value.name for value in control.values) for control in vocabulary.controls}
    return DiscriminatorConfig(
        kind=kind, hidden_size=hidden_size, controls=controls, channels=channels, dropout=dropout, lora_rank=lora_rank
    )


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """B texts of T and prompts of P tokens, right-padded; a mask is 1 where there is a token. No tokens: one zero row, so that pools
    exist."""

    ids_BT: Tensor
    hidden_BTD: Tensor
    stats_BT3: Tensor
    mask_BT: Tensor
    prompt_BP: Tensor
    prompt_mask_BP: Tensor
    soft_BTV: Tensor | None = None
    """A distribution in place of each token: values stay those of `ids_BT`, gradients go to it (straight-through, Bengio et al. 2013)."""

    def to(self, device: torch.device | str) -> "FeatureBatch":
        moved = {field.name: tensor.to(device) for field in fields(self) if (tensor := getattr(self, field.name)) is not None}
        return replace(self, **moved)

    def embedded(self, table_VD: Tensor) -> Tensor:
        """[B, T, D] of the answers' tokens."""
        hard_BTD = table_VD[self.ids_BT]
        if self.soft_BTV is None:
            return hard_BTD
        soft_BTD = self.soft_BTV @ table_VD.to(self.soft_BTV.dtype)
        return hard_BTD + (soft_BTD - soft_BTD.detach()).to(hard_BTD.dtype)


@dataclass(frozen=True, slots=True)
class DiscriminatorOut:
    """`logit_B` > 0: more likely than not written by a person for it. `control_logits`: control -> [B, 1 + values], no code first."""

    logit_B: Tensor
    control_logits: dict[str, Tensor]


def features_batch(features: Sequence[TokenFeatures]) -> FeatureBatch:
    """Pads to the longest text."""
    assert features, "a batch holds at least one text"
    num_tokens, num_asked = (
        max(1, *lengths) for lengths in zip(*((len(one.ids_T), len(one.prompt_ids_P)) for one in features), strict=True)
    )
    size, width = len(features), features[0].hidden_TD.shape[1]
    ids = np.zeros((size, num_tokens), np.int64)
    hidden = np.zeros((size, num_tokens, width), np.float32)
    stats = np.zeros((size, num_tokens, NUM_STATS), np.float32)
    mask = np.zeros((size, num_tokens), np.float32)
    prompt, prompt_mask = np.zeros((size, num_asked), np.int64), np.zeros((size, num_asked), np.float32)
    for row, one in enumerate(features):
        length, asked = len(one.ids_T), len(one.prompt_ids_P)
        ids[row, :length], hidden[row, :length], stats[row, :length] = one.ids_T, one.hidden_TD, one.stats_T3
        mask[row, : max(1, length)] = 1
        prompt[row, :asked], prompt_mask[row, : max(1, asked)] = one.prompt_ids_P, 1
    return FeatureBatch(*(torch.from_numpy(array) for array in (ids, hidden, stats, mask, prompt, prompt_mask)))


class Discriminator(nn.Module):
    """Embedding table and base are the generator's: they are read, neither trained nor saved here. `base` is needed by kind lora_head."""

    embedding: Tensor
    temperature: Tensor
    offset: Tensor

    def __init__(self, config: DiscriminatorConfig, *, embedding_VD: Tensor, base: nn.Module | None = None) -> None:
        super().__init__()
        assert embedding_VD.shape[1] == config.hidden_size, "the table is the generator's own, as wide as its hidden state"
        self.config = config
        channels = config.channels
        self.register_buffer("embedding", embedding_VD.detach().float(), persistent=False)
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(()))
        width = {"features": 3 * config.hidden_size + NUM_STATS, "ids": 3 * WORD, "lora_head": config.hidden_size}[config.kind]
        convolves = config.kind != "lora_head"
        if not convolves:
            assert base is not None, "kind lora_head reads with the base"
            self._base = (base,)  # in a tuple, so that torch does not take it for a part of this module
            self.critic = LowRank(backbone(base), rank=config.lora_rank, alpha=2.0 * config.lora_rank)
        if config.kind == "ids":
            self.words = nn.Embedding(len(embedding_VD), WORD)
            self.asking, self.asked = nn.Linear(WORD, WORD), nn.Linear(WORD, 2 * WORD)
        self.read = nn.Linear(width, channels)
        if convolves:
            self.token = nn.Linear(channels, channels)
            self.parallel = nn.ModuleList(nn.Conv1d(channels, channels // 2, size) for size in config.widths)
            self.join = nn.Linear(len(config.widths) * (channels // 2), channels)
            self.residual = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in range(config.num_residual))
            self.token_logit = nn.Linear(2 * channels, 1)
        self.codes = nn.ModuleDict({name: nn.Embedding(1 + len(values), channels) for name, values in config.controls.items()})
        if convolves:
            self.pooled = nn.Linear(4 * channels + 3, channels)
        self.head = nn.Linear(channels, 1)
        self.control_heads = nn.ModuleDict({name: nn.Linear(channels, 1 + len(values)) for name, values in config.controls.items()})
        self.dropout = nn.Dropout(config.dropout)

    def code_indices(self, controls: Sequence[Mapping[str, str]]) -> Tensor:
        """[B, number of controls], FREE where there is no code. A value that the vocabulary lacks is the caller's bug: KeyError."""
        index = {name: {value: 1 + at for at, value in enumerate(values)} for name, values in self.config.controls.items()}
        rows = [[index[name][codes[name]] if name in codes else FREE for name in index] for codes in controls]
        return torch.tensor(rows, dtype=torch.long, device=self.temperature.device).reshape(len(controls), len(index))

    def inputs(self, batch: FeatureBatch) -> Tensor:
        """What `judge` reads of each token. features: [B, T, 3 D + 3], state, embedding and their product each brought to unit scale, so
        that one shape serves every base, and the statistics. ids: [B, T, 3 x 128]. lora_head: [B, T, D]."""
        match self.config.kind:
            case "features":
                hidden = F.layer_norm(batch.hidden_BTD, batch.hidden_BTD.shape[-1:])
                token = F.layer_norm(batch.embedded(self.embedding), hidden.shape[-1:])
                return torch.cat([hidden, token, hidden * token, batch.stats_BT3], -1)
            case "ids":
                return self._beside_the_prompt(batch)
            case "lora_head":
                return self._read_by_the_base(batch)

    def _beside_the_prompt(self, batch: FeatureBatch) -> Tensor:
        """Each word, what it finds in the prompt by one cross-attention, and their product."""
        words, asked = batch.embedded(self.words.weight), self.words(batch.prompt_BP)
        key, value = self.asked(asked).chunk(2, -1)
        match_BTP = self.asking(words) @ key.transpose(1, 2) / WORD**0.5
        match_BTP = match_BTP.masked_fill(batch.prompt_mask_BP[:, None] == 0, -torch.inf)
        found = match_BTP.softmax(-1) @ value
        return torch.cat([words, found, words * found], -1)

    def _read_by_the_base(self, batch: FeatureBatch) -> Tensor:
        """The base's last hidden state behind each token of the answer, with LoRA, fp32."""
        base = self._base[0]
        table = base.get_input_embeddings()  # type: ignore[operator]  # a PreTrainedModel's own
        scale = getattr(table, "embed_scale", 1.0)  # Gemma's table multiplies what it looks up
        prompts, answers = table(batch.prompt_BP), batch.embedded(table.weight) * scale
        spans = list(zip(batch.prompt_mask_BP.sum(1).int().tolist(), batch.mask_BT.sum(1).int().tolist(), strict=True))
        rows = [torch.cat([prompts[row, :asked], answers[row, :length]]) for row, (asked, length) in enumerate(spans)]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.long, device=row.device) for row in rows], batch_first=True)
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        reader = backbone(base)
        with self.critic.within(reader):
            hidden = reader(inputs_embeds=padded, attention_mask=mask, use_cache=False).last_hidden_state.float()
        answered = [hidden[row, asked : asked + length] for row, (asked, length) in enumerate(spans)]
        return F.pad(nn.utils.rnn.pad_sequence(answered, batch_first=True), (0, 0, 0, batch.mask_BT.shape[1] - max(map(len, answered))))

    def forward(self, batch: FeatureBatch, codes_BC: Tensor) -> DiscriminatorOut:
        return self.judge(self.inputs(batch), batch.mask_BT, codes_BC)

    def judge(self, inputs_BTF: Tensor, mask_BT: Tensor, codes_BC: Tensor) -> DiscriminatorOut:
        """From `inputs` on; apart so that a gradient penalty can be taken on the inputs."""
        pooled, lowest = self._last(inputs_BTF, mask_BT) if self.config.kind == "lora_head" else self._convolved(inputs_BTF, mask_BT)
        codes = torch.zeros_like(pooled)
        for at, table in enumerate(self.codes.values()):
            codes = codes + table(codes_BC[:, at])
        logit = self.head(pooled)[:, 0] + (pooled * codes).sum(-1) / self.config.channels**0.5 + lowest
        return DiscriminatorOut(logit, {name: head(pooled) for name, head in self.control_heads.items()})

    def _last(self, inputs_BTF: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The state behind the last token, which has read them all."""
        last = (mask_BT.sum(1).long() - 1)[:, None, None].expand(-1, 1, inputs_BTF.shape[-1])
        pooled = self.dropout(F.gelu(self.read(F.layer_norm(inputs_BTF.gather(1, last)[:, 0], inputs_BTF.shape[-1:]))))
        return pooled, pooled.new_zeros(len(pooled))

    def _convolved(self, inputs_BTF: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """A text's representation [B, channels] and the plausibility of its least plausible token."""
        mask = mask_BT[..., None]
        tokens = self.dropout(F.gelu(self.token(F.gelu(self.read(inputs_BTF))))) * mask
        seen = [
            F.gelu(conv(F.pad(tokens.transpose(1, 2), (size - 1, 0)))) for size, conv in zip(self.config.widths, self.parallel, strict=True)
        ]
        context = self.join(torch.cat(seen, 1).transpose(1, 2)) * mask
        for conv in self.residual:
            context = (context + F.gelu(conv(context.transpose(1, 2)).transpose(1, 2))) * mask
        each = torch.cat([tokens, context], -1)
        plausible = self.token_logit(each)[..., 0]
        # The least plausible token decides (its log-probability alone reached AUC .75, the sum .64), so it is pooled by itself too.
        present = mask_BT.bool()
        lowest = plausible.masked_fill(~present, torch.inf).amin(1)
        length = mask_BT.sum(1)
        mean = (plausible * mask_BT).sum(1) / length
        soft = -torch.logsumexp((-plausible).masked_fill(~present, -torch.inf), 1)
        scalars = torch.stack([lowest, mean, soft], -1)
        highest = each.masked_fill(~present[..., None], -torch.inf).amax(1)
        pools = [highest, each.sum(1) / length[:, None], scalars]
        return self.dropout(F.gelu(self.pooled(torch.cat(pools, -1)))), lowest

    def plain_state(self) -> dict[str, Tensor]:
        """The weights that it judges with, under the names of a network without parametrisations: what a bundle keeps."""
        assert not self.training, "in training a parametrised weight moves when it is looked at"
        plain = {name: tensor for name, tensor in self.state_dict().items() if ".parametrizations." not in name}
        for name, module in self.named_modules():
            plain |= {f"{name}.{tensor}": getattr(module, tensor).detach() for tensor in getattr(module, "parametrizations", ())}
        return plain

    @torch.no_grad()
    def logits(
        self, features: Sequence[TokenFeatures], controls: Sequence[Mapping[str, str]], *, batch_size: int | None = None
    ) -> list[float]:
        """Raw logits, without dropout, in the order given; texts of like length share a batch (of 128, or of 32 that the base reads)."""
        assert len(features) == len(controls)
        batch_size = batch_size or (32 if self.config.kind == "lora_head" else 128)
        training = self.training
        self.eval()
        order = sorted(range(len(features)), key=lambda index: len(features[index].ids_T))
        found = [0.0] * len(features)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = features_batch([features[row] for row in rows]).to(self.temperature.device)
            logit = self(batch, self.code_indices([controls[row] for row in rows])).logit_B
            for row, value in zip(rows, logit.tolist(), strict=True):
                found[row] = value
        self.train(training)
        return found

    def log_real(self, features: Sequence[TokenFeatures], controls: Sequence[Mapping[str, str]]) -> list[float]:
        """Log-probability, nats, up to a constant, that a person writes the text here: log p_real = log p_generator + logit.

        The logit estimates log p_real / p_generator (Goodfellow et al. 2014, section 4.1), and is high wherever the generator is too rare;
        ranking needs p_real itself: the residual energy of Deng et al. 2020 (arXiv 2004.11714, equation 1). Judge-broken against clean
        among samples that pass the checks, SFT of 250 steps on the starter base: AUC .61 by the logit, .81 by log p_generator, .83 by the
        sum, best at weight 1.
        """
        return [one.log_likelihood + logit for one, logit in zip(features, self.logits(features, controls), strict=True)]

    def score(self, features: Sequence[TokenFeatures], controls: Sequence[Mapping[str, str]]) -> list[float]:
        """`log_real` as a calibrated probability in [0, 1] that the text is right for its context and codes, not one made wrong."""
        raw = self.log_real(features, controls)
        found: list[float] = probability(raw, temperature=float(self.temperature), offset=float(self.offset)).tolist()
        return found
