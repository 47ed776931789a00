"""Past samples that the discriminator is shown again, so that it does not forget what the generator has stopped doing."""

import random
from collections.abc import Sequence

Sample = tuple[int, tuple[int, ...]]
"""Index of the example it was drawn for, and its ids."""


class Replay:
    """The last `size` samples, oldest first; what is drawn depends on the seed and the content alone."""

    def __init__(self, size: int, samples: Sequence[Sample] = ()) -> None:
        self.size = size
        self.samples = list(samples)[-size:]

    def add(self, samples: Sequence[Sample]) -> None:
        self.samples = (self.samples + list(samples))[-self.size :]

    def draw(self, count: int, *, seed: int) -> list[Sample]:
        return random.Random(seed).sample(self.samples, min(count, len(self.samples)))
