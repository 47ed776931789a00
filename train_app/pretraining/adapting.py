"""Domain-adaptive pretraining: all weights of a base go on over the reasons of other shops (Gururangan et al. 2020).

What a shop of a few thousand reasons then learns with LoRA is what is its own; how reasons are written, the base knows.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.domain.controls import ControlVocabulary
from common.errors import BadInput
from common.features.snapshot import Snapshot
from common.language.base_model import LanguageModel, load_base
from common.language.prompt import build_prompt
from common.language.tokens import encode_example
from train_app.data.examples import Example, RowProblem, examples
from train_app.pretraining.loop import Encoded, PretrainingConfig, measure, rows, save, train

HELD_OUT = 300
"""Reasons that measure perplexity and are never read; a tenth of a smaller snapshot."""


@dataclass(frozen=True, slots=True)
class Adapted:
    before: float
    """Perplexity a token of held-out reasons under the base as it was."""
    after: float
    num_held_out: int
    num_read: int
    num_too_long: int
    """Reasons that no row holds; they were left out."""


def adapt_base(
    source: str,
    reasons: Sequence[Example],
    out: Path,
    *,
    vocabulary: ControlVocabulary,
    config: PretrainingConfig,
    steps: int,
    seed: int,
    on_step: Callable[[int, float, int], None],
) -> Adapted:
    """Writes the base to `out`, in bf16. The same reasons, seed, steps, threads and machine give the same bytes.

    Raises BadInput where there are too few reasons, or none fits into `config.row_len` tokens.
    """
    language = load_base(source, dtype="float32")
    encoded = [_encoded(one, language, vocabulary) for one in reasons]
    random.Random(f"held out/{seed}").shuffle(encoded)
    num_held_out = min(HELD_OUT, len(encoded) // 10)
    held_out, rest = encoded[:num_held_out], encoded[num_held_out:]
    read = [one for one in rest if len(one.ids) <= config.row_len]
    if not read:
        raise BadInput(
            f"got {len(encoded)} reasons, none left to read beside {num_held_out} held out within row_len {config.row_len}; expected "
            "thousands. Import more, or raise row_len"
        )
    language.model.set_attn_implementation("eager")  # as in make_starter
    before = measure(language.model, held_out, end_id=language.eos_id)
    batches = rows(_endless(read, seed), config=config, end_id=language.eos_id, seed=seed)
    train(language.model, batches, config=config, progress=lambda step: step / steps, on_step=on_step)
    save(language.model, language.tokenizer, out)
    after = measure(language.model, held_out, end_id=language.eos_id)
    return Adapted(before.perplexity, after.perplexity, len(held_out), len(read), len(rest) - len(read))


def all_reasons(snapshot: Snapshot, *, vocabulary: ControlVocabulary) -> list[Example]:
    """Every annotated reason of another shop, whatever it would serve there. Raises BadInput where one cannot be read."""
    problems: list[RowProblem] = []
    found = list(examples(snapshot, vocabulary=vocabulary, problems=problems))
    if problems:
        first = problems[0]
        raise BadInput(f"{len(problems)} reasons of the snapshot cannot be read; the first, product {first.product_id}: {first.problem}")
    return found


def _encoded(reason: Example, language: LanguageModel, vocabulary: ControlVocabulary) -> Encoded:
    ids = encode_example(build_prompt(reason.context, vocabulary=vocabulary), reason.text, language)
    return Encoded(ids=ids.ids, given=ids.prompt_len)


def _endless(read: Sequence[Encoded], seed: int) -> Iterator[Encoded]:
    epoch = 0
    while True:
        order = list(read)
        random.Random(f"adapt/{seed}/{epoch}").shuffle(order)
        yield from order
        epoch += 1
