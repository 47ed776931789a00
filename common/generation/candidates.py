"""From contexts to candidate texts, the only road there is: prompt, tokens, engine, text. Knows no verdict and decides nothing.

An engine that many callers share takes `sequences` and gives back what `candidate` reads; `Writer` does both around an engine of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.decoding import DecodingParams
from common.domain.token_features import TokenFeatures
from common.errors import PromptTooLong
from common.generation.engine import Engine, Generated, Sequence, generate
from common.language.prompt import build_prompt
from common.language.tokens import EncodedPrompt, decode, encode_prompt

if TYPE_CHECKING:
    from common.language.base_model import LanguageModel

log = logging.getLogger(__name__)
STAGE = "write"
ATTEMPT_SPAN = 1 << 16
"""Candidates an attempt may number, so that no two attempts draw the same text whatever their k."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text and how likely its generator found it, in nats at temperature 1, the end token included; 0.0 where nothing was drawn."""

    text: str
    ids: tuple[int, ...]
    num_tokens: int
    """drawn, the end token included"""
    mean_logprob: float
    min_logprob: float
    features: TokenFeatures | None


def sequences(
    contexts: Many[Context],
    *,
    language: LanguageModel,
    vocabulary: ControlVocabulary,
    run_id: str,
    k: int,
    attempt: int,
    longest: int | None = None,
) -> list[Sequence]:
    """k sequences a context, context by context. A text depends on run, attempt, product, codes and number, never on its page.

    Raises PromptTooLong naming the product, BadControl. `longest` is how many tokens a prompt may have, so that an answer fits behind it:
    said here, before anything is queued, since an engine that refuses one sequence of a page has already begun with its neighbours.
    """
    from common.generation.sampling import sequence_seed  # torch comes with it; who only reads candidates (the ingress) is spared

    assert 1 <= k <= ATTEMPT_SPAN, f"k={k}"
    made = []
    for context in contexts:
        prompt = _encoded(context, language=language, vocabulary=vocabulary)
        if longest is not None and (num_tokens := max(len(prompt.ids), len(prompt.null_ids))) > longest:
            raise PromptTooLong(
                f"product {context.product.product_id}: {num_tokens} prompt tokens; at most {longest} leave room for an answer. "
                "Shorten the product's text"
            )
        codes = vocabulary.check(context.controls)
        for number in range(attempt * ATTEMPT_SPAN, attempt * ATTEMPT_SPAN + k):
            seed = sequence_seed(run=run_id, stage=STAGE, step=0, item=context.product.product_id, codes=codes, candidate=number)
            made.append(Sequence(prompt_ids=prompt.ids, prefix_len=prompt.prefix_len, seed=seed, null_prompt_ids=prompt.null_ids))
    return made


def room_for(contexts: Iterable[Context], *, language: LanguageModel, vocabulary: ControlVocabulary, max_new_tokens: int) -> int:
    """Tokens of the longest prompt, with or without its codes, and its answer: what an engine needs.

    Raises PromptTooLong naming the product whose answer would not fit behind its prompt, BadControl.
    """
    most = 0
    for context in contexts:
        prompt = _encoded(context, language=language, vocabulary=vocabulary)
        room = max(len(prompt.ids), len(prompt.null_ids)) + max_new_tokens
        if room > language.max_len:
            raise PromptTooLong(
                f"product {context.product.product_id}: {room - max_new_tokens} prompt tokens and {max_new_tokens} for the answer; "
                f"{language.source} takes {language.max_len} together. Shorten the product's text or lower decoding.max_new_tokens"
            )
        most = max(most, room)
    return most


def _encoded(context: Context, *, language: LanguageModel, vocabulary: ControlVocabulary) -> EncodedPrompt:
    prompt = build_prompt(context, vocabulary=vocabulary)
    if prompt.masked:
        log.warning("%d numbers or addresses of persons in a prompt are kept from the model", prompt.masked)
    try:
        return encode_prompt(prompt, language)
    except PromptTooLong as error:
        raise PromptTooLong(f"product {context.product.product_id}: {error}") from error


def candidate(generated: Generated, language: LanguageModel) -> Candidate:
    logprobs = generated.logprobs
    return Candidate(
        text=decode(generated.ids, language).strip(),
        ids=generated.ids,
        num_tokens=len(logprobs),
        mean_logprob=sum(logprobs) / len(logprobs) if logprobs else 0.0,
        min_logprob=min(logprobs, default=0.0),
        features=generated.features,
    )


@dataclass(frozen=True, slots=True)
class Writer:
    """`engine` decodes `language`'s model and nobody else uses it meanwhile. `run_id` names the run or the bundle that writes."""

    language: LanguageModel
    engine: Engine
    vocabulary: ControlVocabulary
    decoding: DecodingParams
    run_id: str

    def write(self, contexts: Many[Context], *, k: int, attempt: int) -> list[list[Candidate]]:
        """k candidates a context, in the contexts' order. Raises PromptTooLong, BadControl."""
        asked = sequences(contexts, language=self.language, vocabulary=self.vocabulary, run_id=self.run_id, k=k, attempt=attempt)
        written = [candidate(generated, self.language) for generated in generate(self.engine, asked, decoding=self.decoding)]
        return [written[start : start + k] for start in range(0, len(written), k)]
