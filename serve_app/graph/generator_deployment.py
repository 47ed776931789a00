"""Texts for a page from a bundle's model: its prompts join the sequences of all other pages in one engine. Thin over common/generation."""

from collections.abc import Sequence

from common.bundle.load import LoadedBundle
from common.domain.context import Context
from common.generation.candidates import Candidate, candidate, sequences
from common.generation.engine import Engine
from common.generation.hf import HfEngine
from serve_app.graph.decode_thread import DecodeThread


class Generator:
    """Owns the bundle's model: nobody else may run it while this lives."""

    def __init__(self, bundle: LoadedBundle, *, slots: int, max_len: int, compile: bool = False) -> None:
        self.bundle = bundle
        self.decoding = bundle.manifest.answering.decoding
        language = bundle.language
        room = min(max_len, language.max_len)
        self.longest_prompt = room - self.decoding.max_new_tokens

        def engine() -> Engine:
            return HfEngine(
                language.model,
                eos_ids=[language.eos_id],
                max_len=room,
                slots=slots,
                keep_features=bundle.discriminator is not None,
                compile=compile,
            )

        self.thread = DecodeThread(engine)

    async def write(self, contexts: Sequence[Context], *, k: int, attempt: int, within_s: float | None) -> list[list[Candidate]]:
        """Up to k finished candidates a context, in order; what is not finished after `within_s` is left out.

        Raises PromptTooLong naming the product, BadControl, or Unavailable when the engine broke.
        """
        asked = sequences(
            contexts,
            language=self.bundle.language,
            vocabulary=self.bundle.pack.vocabulary,
            run_id=self.bundle.manifest.bundle_id,
            k=k,
            attempt=attempt,
            longest=self.longest_prompt,
        )
        written = await self.thread.generate(asked, decoding=self.decoding, within_s=within_s)
        for result in written:
            if isinstance(result, Exception):
                raise result
        return [
            [
                candidate(result, self.bundle.language)
                for result in written[start : start + k]
                if not isinstance(result, Exception) and result.finish_reason != "cancelled"
            ]
            for start in range(0, len(written), k)
        ]

    def close(self) -> None:
        self.thread.close()
