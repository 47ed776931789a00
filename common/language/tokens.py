"""Prompts and reasons as token ids, and back: the only place that decides how a sequence begins, where it is cut and what is learnt.

Segments are encoded one by one, never as a joined string: a tokenizer may merge across a joint, and then training and serving would
differ by where they cut. Untrusted text is encoded with special tokens split: <eos> in a title is five characters, not an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import PromptTooLong
from common.language.prompt import Prompt

if TYPE_CHECKING:
    from common.language.base_model import LanguageModel


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    ids: tuple[int, ...]
    prefix_len: int
    """First ids that every product of a page shares: beginning of sequence, frame and user block."""
    null_ids: tuple[int, ...]
    """The same prompt with every control left free; equal to `ids` when no code was asked."""


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """`ids` = prompt, answer, end token. `loss_mask[i]` says whether ids[i] is to be predicted: answer and end token, never the prompt."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    prompt_len: int


def encode_prompt(prompt: Prompt, language: LanguageModel) -> EncodedPrompt:
    """Raises PromptTooLong when no answer token would fit behind it; never cuts."""
    user, product, codes = (_untrusted(text, language) for text in (prompt.user, prompt.product, prompt.codes))
    free = codes if prompt.free_codes == prompt.codes else _untrusted(prompt.free_codes, language)
    after = _trusted(language.frame.after, language)
    prefix = (*_beginning(language), *user)
    ids = prefix + product + codes + after
    if len(ids) >= language.max_len:
        raise PromptTooLong(
            f"prompt: got {len(ids)} tokens; {language.source} takes {language.max_len} with the answer. "
            f"Shorten the product's title and attributes ({len(prompt.product)} characters) or the user's history ({len(prompt.user)})."
        )
    return EncodedPrompt(ids=ids, prefix_len=len(prefix), null_ids=prefix + product + free + after)


def encode_example(prompt: Prompt, text: str, language: LanguageModel) -> EncodedExample:
    """What training reads: `ids` begins with exactly the ids of `encode_prompt`. Raises PromptTooLong when the answer does not fit."""
    start = encode_prompt(prompt, language).ids
    answer = (*_untrusted(text, language), language.eos_id)
    ids = start + answer
    if len(ids) > language.max_len:
        raise PromptTooLong(
            f"example: got {len(start)} prompt and {len(answer)} answer tokens; {language.source} takes {language.max_len} together. "
            "Leave the row out or shorten its text."
        )
    return EncodedExample(ids=ids, loss_mask=(False,) * len(start) + (True,) * len(answer), prompt_len=len(start))


def decode(ids: Sequence[int], language: LanguageModel) -> str:
    """The text of answer ids, special tokens left out and nothing else changed."""
    return str(language.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _beginning(language: LanguageModel) -> tuple[int, ...]:
    """The one place where a beginning-of-sequence token is set. Gemma without it is broken: perplexity 9,651 instead of 54."""
    bos = () if language.bos_id is None else (language.bos_id,)
    return bos + _trusted(language.frame.before, language)


def _untrusted(text: str, language: LanguageModel) -> tuple[int, ...]:
    return tuple(language.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _trusted(text: str, language: LanguageModel) -> tuple[int, ...]:
    """A frame is made of special tokens; they keep their ids."""
    return tuple(language.tokenizer(text, add_special_tokens=False, split_special_tokens=False)["input_ids"]) if text else ()
