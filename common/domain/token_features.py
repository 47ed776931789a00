"""What the discriminator reads of a text: numbers that a generator leaves behind at each token. Made by language and generation."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

DiscriminatorKind = Literal["features", "ids", "lora_head"]
"""What a discriminator reads of a text: these features whole, its ids beside the prompt's, or the ids by way of the base."""


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """T = answer tokens (the end token included when it was produced), D = hidden size.

    Row t belongs to the t-th answer token and holds the state that predicted it.
    """

    ids_T: NDArray[np.int32]
    hidden_TD: NDArray[np.float16]
    stats_T3: NDArray[np.float32]
    """log-probability of the token, entropy, gap between the best token's log-probability and this one's; nats, at temperature 1."""
    prompt_ids_P: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """What the text answers. Only a discriminator that reads ids needs it: a hidden state has read the prompt."""

    @property
    def log_likelihood(self) -> float:
        """Log-probability of the whole text under the generator, nats."""
        return float(self.stats_T3[:, 0].sum(dtype=np.float64))
