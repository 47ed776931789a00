"""Texts for a page from a bundle's model: its prompts join the sequences of all other pages in one engine. Thin over common/generation."""

import math
from collections.abc import AsyncIterator, Sequence
from functools import partial

from common.bundle.load import LoadedBundle
from common.domain.context import Context
from common.domain.reason import Attribution
from common.generation.answer import Written
from common.generation.candidates import candidate, sequences
from common.generation.engine import EngineName, Generated
from common.generation.engine import Sequence as Prompted
from common.generation.engines import engine_named
from common.language.attribution import attributed
from serve_app.graph.admission import Tenant
from serve_app.graph.decode_thread import Crowded, DecodeThread

WARM_UP = 2
"""Sequences a slot: half of them wait while the slots are full."""


class Generator:
    """Owns the bundle's model: nobody else may run it while this lives."""

    def __init__(self, bundle: LoadedBundle, *, slots: int, max_len: int, engine: EngineName = "hf", compile: bool = False) -> None:
        self.bundle, self.compile = bundle, compile
        self.decoding = bundle.manifest.answering.decoding
        language = bundle.language
        room = min(max_len, language.max_len)
        self.longest_prompt = room - self.decoding.max_new_tokens

        keep_features = bundle.discriminator is not None
        make = partial(engine_named, engine, language, max_len=room, slots=slots, keep_features=keep_features, compile=compile)
        self.thread = DecodeThread(make, slots=slots)

    def warm_up(self) -> None:
        """Decodes the canaries' prompts until all slots were in use for a while: what comes first is let in by a pace that was measured."""
        contexts = [canary.context for canary in self.bundle.manifest.canaries]
        asked = self._asked(contexts, k=math.ceil(WARM_UP * self.thread.slots / len(contexts)), attempt=0)
        if self.compile:
            self.thread.run(asked, decoding=self.decoding)
            self.thread.forget()
        self.thread.run(asked, decoding=self.decoding)

    async def write(
        self, contexts: Sequence[Context], *, k: int, attempt: int, within_s: float | None, tenant: Tenant = None
    ) -> list[Written]:
        """What `each` gives, in order."""
        written = {at: own async for at, own in self.each(contexts, k=k, attempt=attempt, within_s=within_s, tenant=tenant)}
        return [written[at] for at in range(len(contexts))]

    async def each(
        self, contexts: Sequence[Context], *, k: int, attempt: int, within_s: float | None, tenant: Tenant = None
    ) -> AsyncIterator[tuple[int, Written]]:
        """Place and up to k finished candidates of each context, as they are done; what is not finished after `within_s` is left out.

        Raises PromptTooLong naming the product, BadControl, or Unavailable when the engine broke.
        """
        asked = self._asked(contexts, k=k, attempt=attempt)
        async for at, results in self.thread.each(asked, decoding=self.decoding, group=k, within_s=within_s, tenant=tenant):
            yield at, self._written(results)

    async def attributed(self, contexts: Sequence[Context], texts: Sequence[str]) -> list[tuple[Attribution, ...]]:
        """What each code had to do with each text. One item after the other, so that what decodes beside waits for one at a time.

        Raises BadControl, PromptTooLong, or Unavailable when the engine broke.
        """
        read = partial(attributed, language=self.bundle.language, vocabulary=self.bundle.pack.vocabulary)
        return [tuple(await self.thread.beside(partial(read, text, context))) for context, text in zip(contexts, texts, strict=True)]

    def _asked(self, contexts: Sequence[Context], *, k: int, attempt: int) -> list[Prompted]:
        return sequences(
            contexts,
            language=self.bundle.language,
            vocabulary=self.bundle.pack.vocabulary,
            run_id=self.bundle.manifest.bundle_id,
            k=k,
            attempt=attempt,
            longest=self.longest_prompt,
        )

    def _written(self, results: Sequence[Generated | Exception]) -> Written:
        if any(isinstance(result, Crowded) for result in results):
            return None
        done: list[Generated] = []
        for result in results:
            if isinstance(result, Exception):
                raise result
            if result.finish_reason != "cancelled":
                done.append(result)
        return [candidate(result, self.bundle.language) for result in done]

    def close(self) -> None:
        self.thread.close()
