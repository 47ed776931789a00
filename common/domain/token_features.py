"""What the discriminator reads of a text: numbers that a generator leaves behind at each token. Made by language and generation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """T = answer tokens (the end token included when it was produced), D = hidden size.

    Row t belongs to the t-th answer token and holds the state that predicted it.
    """

    ids_T: NDArray[np.int32]
    hidden_TD: NDArray[np.float16]
    stats_T3: NDArray[np.float32]
    """log-probability of the token, entropy, gap between the best token's log-probability and this one's; nats, at temperature 1."""

    @property
    def log_likelihood(self) -> float:
        """Log-probability of the whole text under the generator, nats."""
        return float(self.stats_T3[:, 0].sum(dtype=np.float64))
