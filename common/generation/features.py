"""The discriminator's view of given texts: one teacher-forced pass gives what the engine keeps while decoding. Makes no text."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from common.domain.token_features import TokenFeatures
from common.language.base_model import teacher_forced


@torch.no_grad()
def token_features(model: nn.Module, ids: Sequence[Sequence[int]], *, prompt_lens: Sequence[int]) -> list[TokenFeatures]:
    """One padded forward pass: the caller chooses the batch (32 sequences of like length are quick, answers to one prompt quicker).

    `ids` hold prompt, answer and, if it ended, the end token.
    Equal within fp32 rounding to what the engine keeps for the same tokens; row t belongs to ids[prompt_len + t].
    """
    states = teacher_forced(model, ids, prompt_lens=prompt_lens)
    return [
        TokenFeatures(
            ids_T=np.asarray(row[start:], dtype=np.int32),
            hidden_TD=state.hidden_TD.to(torch.float16).cpu().numpy(),
            stats_T3=torch.stack([state.logprob_T, state.entropy_T, state.gap_T], dim=-1).float().cpu().numpy(),
            prompt_ids_P=np.asarray(row[:start], dtype=np.int32),
        )
        for row, start, state in zip(ids, prompt_lens, states, strict=True)
    ]
