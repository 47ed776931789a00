"""What a decode engine is: sequences go in, finished sequences come out, each with its own seed. Knows no model and no library."""

from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Literal, Protocol

from common.domain.decoding import DecodingParams
from common.domain.token_features import TokenFeatures as TokenFeatures
from common.errors import PromptTooLong

FinishReason = Literal["stop", "length", "cancelled"]
EngineName = Literal["hf", "vllm"]
"""Which one; `common.generation.engines` makes it."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One prompt to continue. Two sequences with equal first `prefix_len` ids may share one prefill; that changes no token."""

    prompt_ids: tuple[int, ...]
    prefix_len: int
    seed: int
    null_prompt_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """`ids` are without the end token; `logprobs` (nats) are of the model's own distribution at temperature 1.

    There is one per id, plus one for the end token if `finish_reason` is "stop".
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    features: TokenFeatures | None
    finish_reason: FinishReason


class Engine(Protocol):
    def submit(self, sequence: Sequence, *, decoding: DecodingParams) -> int:
        """Queue a sequence. Raises PromptTooLong when prompt and answer cannot fit."""

    def step(self) -> list[tuple[int, Generated]]:
        """Admit what fits, decode one token for every running sequence, return those that finished or were cancelled. Empty engine: []."""

    def cancel(self, sequence_id: int) -> None:
        """The sequence stops at the next token and comes back as "cancelled"; an unknown or finished id is ignored."""

    @property
    def busy(self) -> bool:
        """Whether anything is queued or running."""


def refuse_unfit(prompt_ids: Many[int], *, vocab_size: int, max_new_tokens: int, max_len: int) -> None:
    """What every engine says of a prompt before it queues it. Raises PromptTooLong."""
    assert prompt_ids, "a prompt has at least one token"
    assert 0 <= min(prompt_ids) <= max(prompt_ids) < vocab_size, f"expected ids in [0, {vocab_size})"
    if len(prompt_ids) + max_new_tokens > max_len:
        raise PromptTooLong(
            f"{len(prompt_ids)} prompt tokens and {max_new_tokens} new ones do not fit the engine's {max_len}; "
            "shorten the product's text or lower decoding.max_new_tokens"
        )


def generate(engine: Engine, sequences: Many[Sequence], *, decoding: DecodingParams) -> list[Generated]:
    """All sequences to the end, in the order given. The engine must be idle: results of other callers would be lost.

    When one is refused none is decoded, and the engine is idle again.
    """
    assert not engine.busy, "generate() needs an idle engine"
    order: dict[int, int] = {}
    try:
        for index, sequence in enumerate(sequences):
            order[engine.submit(sequence, decoding=decoding)] = index
    except Exception:
        for sequence_id in order:
            engine.cancel(sequence_id)
        while engine.busy:
            engine.step()
        raise
    results: dict[int, Generated] = {}
    while engine.busy:
        for sequence_id, generated in engine.step():
            results[order[sequence_id]] = generated
    return [results[index] for index in range(len(sequences))]
