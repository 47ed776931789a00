"""A loaded bundle as evaluation takes it: written, judged and accepted as it would be served, under the same seeds."""

from collections.abc import Iterable
from functools import partial

from common.bundle.load import LoadedBundle
from common.domain.context import Context
from common.generation.answer import AnswerPolicy
from common.generation.candidates import Writer
from common.generation.hf import HfEngine
from common.generation.panel import Panel
from common.generation.template import fill_template
from common.language.prompt import build_prompt
from common.language.tokens import encode_prompt
from common.quality.verdict import Checker
from train_app.evaluation.evaluate import Subject

SLOTS = 32


def subject_of(bundle: LoadedBundle, contexts: Iterable[Context], *, k: int | None = None, slots: int = SLOTS) -> Subject:
    """`contexts` are those that will be asked about; the engine gets room for the longest. `k` None: as the bundle is served."""
    language, answering, vocabulary = bundle.language, bundle.manifest.answering, bundle.pack.vocabulary
    longest = max(len(encode_prompt(build_prompt(context, vocabulary=vocabulary), language).ids) for context in contexts)
    engine = HfEngine(
        language.model,
        eos_ids=[language.eos_id],
        max_len=min(longest + answering.decoding.max_new_tokens, language.max_len),
        slots=slots,
        keep_features=bundle.discriminator is not None,
    )
    checker = Checker(bundle.pack, threshold=answering.threshold)

    return Subject(
        writer=Writer(language, engine, vocabulary, answering.decoding, bundle.manifest.bundle_id),
        panel=Panel(checker, bundle.discriminator),
        policy=AnswerPolicy(k=k or answering.k, max_attempts=answering.max_attempts),
        fill=partial(fill_template, checker=checker),
    )
