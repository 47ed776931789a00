"""What each control code had to do with a text: the text read again under prompts that differ in one code. Writes nothing.

A text was drawn from p(text | codes). For one code and each other value of it, the difference of log p(text | codes) and of
log p(text | codes with that one changed) is the evidence (nats) that this value and not the other was asked; token by token it says where
in the text the evidence is. These are likelihoods at temperature 1, without guidance: what the model knows, not what sampling chose.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.domain.reason import Attribution, DueTo
from common.language.base_model import LanguageModel, answer_logprobs
from common.language.prompt import build_prompt
from common.language.tokens import encode_example

ROWS = 16
"""Sequences a forward pass: what decodes beside it waits for one pass."""
ROUNDED = 3
LEAST_NATS = 0.5
"""A token is told as due to a code where the code makes it e^.5 = 1.6 times as likely as the other values do."""


def attributed(text: str, context: Context, *, language: LanguageModel, vocabulary: ControlVocabulary) -> list[Attribution]:
    """Of every code of `context`, in the vocabulary's order; empty where it has none. A forward pass for every ROWS values.

    Raises PromptTooLong where prompt and text do not fit the model together.
    """
    asked = vocabulary.check(context.controls)
    changed = [
        (control.name, value)
        for control in vocabulary.controls
        if control.name in asked
        for value in (*(one.name for one in control.values if one.name != asked[control.name]), None)
    ]
    if not changed:
        return []
    as_asked, *others = _logprobs(text, [context, *(_with(context, *change) for change in changed)], language, vocabulary)
    spans = _spans(text, language, num_tokens=len(as_asked) - 1)
    found = []
    for name, value in asked.items():
        mine = {other: as_asked - row for (control, other), row in zip(changed, others, strict=True) if control == name}
        free = mine.pop(None)
        totals = {str(other): round(float(gain.sum()), ROUNDED) for other, gain in mine.items()}
        found.append(
            Attribution(
                control=name,
                value=value,
                recovered=round(float(1 / (1 + np.exp(-np.array(list(totals.values()))).sum())), ROUNDED),
                free_nats=round(float(free.sum()), ROUNDED),
                against=totals,
                due_to=tuple(_due_to(np.mean(list(mine.values()), axis=0), spans)),
            )
        )
    return found


def _with(context: Context, name: str, value: str | None) -> Context:
    codes = {control: was for control, was in context.controls.items() if control != name}
    return context.model_copy(update={"controls": codes if value is None else codes | {name: value}})


@torch.no_grad()
def _logprobs(text: str, contexts: Sequence[Context], language: LanguageModel, vocabulary: ControlVocabulary) -> list[NDArray[np.float64]]:
    examples = [encode_example(build_prompt(one, vocabulary=vocabulary), text, language) for one in contexts]
    rows: list[NDArray[np.float64]] = []
    for start in range(0, len(examples), ROWS):
        part = examples[start : start + ROWS]
        read = answer_logprobs(language.model, [one.ids for one in part], prompt_lens=[one.prompt_len for one in part])
        rows += [row.double().cpu().numpy() for row in read]
    return rows


def _spans(text: str, language: LanguageModel, *, num_tokens: int) -> list[tuple[int, int]]:
    """Where each token stands in the text; a token that is a part of a character stands for the whole of it."""
    encoded = language.tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    assert len(offsets) == num_tokens, f"{len(offsets)} offsets for {num_tokens} tokens"
    return [(int(start), int(end)) for start, end in offsets]


def _due_to(gains_T: NDArray[np.float64], spans: Sequence[tuple[int, int]]) -> Iterator[DueTo]:
    """Runs of tokens that are due to the code; the end token, which has no place in the text, is left out."""
    for due, run in groupby(zip(gains_T, spans, strict=False), key=lambda one: bool(one[0] >= LEAST_NATS)):
        if due:
            gains, places = zip(*run, strict=True)
            yield DueTo(span=(places[0][0], places[-1][1]), nats=round(float(sum(gains)), ROUNDED))
