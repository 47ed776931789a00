"""What evaluation measures, put together as it would be served: from a writer in training, or from a loaded bundle under its own seeds."""

from collections.abc import Iterable
from functools import partial

from common.bundle.load import LoadedBundle
from common.bundle.manifest import Answering
from common.domain.context import Context
from common.generation.answer import AnswerPolicy
from common.generation.candidates import Writer, room_for
from common.generation.hf import HfEngine
from common.generation.panel import Panel, Scorer
from common.generation.template import fill_if_lawful
from common.packs.schema import Pack
from common.quality.verdict import Checker
from train_app.evaluation.evaluate import Subject

SLOTS = 32


def subject_of(writer: Writer, scorer: Scorer | None, *, answering: Answering, pack: Pack) -> Subject:
    """What `writer` writes, judged, accepted and replaced by templates as `answering` says; `scorer` None: the rules alone decide."""
    checker = Checker(pack, threshold=answering.threshold)
    return Subject(
        writer=writer,
        panel=Panel(checker, scorer),
        policy=AnswerPolicy(k=answering.k, max_attempts=answering.max_attempts),
        fill=partial(fill_if_lawful, checker=checker),
    )


def subject_of_bundle(
    bundle: LoadedBundle, contexts: Iterable[Context], *, k: int | None = None, slots: int = SLOTS, compile: bool = False
) -> Subject:
    """`contexts` are those that will be asked about; the engine gets room for the longest. `k` None: as the bundle is served."""
    language, answering, vocabulary = bundle.language, bundle.manifest.answering, bundle.pack.vocabulary
    engine = HfEngine(
        language.model,
        eos_ids=[language.eos_id],
        max_len=room_for(contexts, language=language, vocabulary=vocabulary, max_new_tokens=answering.decoding.max_new_tokens),
        slots=slots,
        keep_features=bundle.discriminator is not None,
        compile=compile,
    )
    return subject_of(
        Writer(language, engine, vocabulary, answering.decoding, bundle.manifest.bundle_id),
        bundle.discriminator,
        answering=answering.model_copy(update={"k": k or answering.k}),
        pack=bundle.pack,
    )
