"""Whether a loaded model says what it said when it was trained, and not what the bare base says. Digests of files cannot see that."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from common.bundle.manifest import BundleManifest, Canary
from common.domain.context import Context
from common.domain.controls import ControlVocabulary
from common.errors import CanaryFailed
from common.language.base_model import LanguageModel, teacher_forced
from common.language.prompt import build_prompt
from common.language.tokens import EncodedExample, encode_example

# Mean absolute difference of log-probabilities, in nats a token. On one processor fp32 differs by 1e-5 (order of summation) and bf16 by
# up to 1e-2; other processors and GPUs (TF32) differ by more.
TOLERANCE = {
    ("cpu", "float32"): 2e-3,
    ("cpu", "bfloat16"): 0.08,
    ("cpu", "float16"): 0.02,
    ("cuda", "float32"): 0.02,
    ("cuda", "bfloat16"): 0.08,
    ("cuda", "float16"): 0.02,
}
LEAST_CHANGE = 1e-5
"""Nats a token; an adapter that moves no canary by that much was not trained or not merged."""


@dataclass(frozen=True, slots=True)
class CanaryExample:
    context: Context
    text: str


@dataclass(frozen=True, slots=True)
class CanaryReport:
    """Mean absolute differences in nats a token, over all canaries."""

    from_trained: float
    from_base: float
    tolerance: float

    @property
    def conclusive(self) -> bool:
        """Whether this dtype and device can tell the bundle from its base at all."""
        return self.from_base > 2 * self.tolerance


def logprobs(language: LanguageModel, examples: Sequence[EncodedExample]) -> list[tuple[float, ...]]:
    """Of every answer token of each example; one forward pass, no gradient, rounded to 1e-5."""
    with torch.no_grad():
        states = teacher_forced(language.model, [e.ids for e in examples], prompt_lens=[e.prompt_len for e in examples])
    return [tuple(round(float(value), 5) for value in state.logprob_T) for state in states]


def make_canaries(
    examples: Sequence[CanaryExample], *, base: LanguageModel, merged: LanguageModel, vocabulary: ControlVocabulary
) -> tuple[Canary, ...]:
    """Raises CanaryFailed when the merged model says what the base says."""
    encoded = [encode_example(build_prompt(e.context, vocabulary=vocabulary), e.text, base) for e in examples]
    canaries = tuple(
        Canary(
            context=example.context,
            text=example.text,
            prompt_ids=one.ids[: one.prompt_len],
            answer_ids=one.ids[one.prompt_len :],
            logprobs=theirs,
            base_logprobs=bare,
        )
        for example, one, theirs, bare in zip(examples, encoded, logprobs(merged, encoded), logprobs(base, encoded), strict=True)
    )
    change = _distance([c.logprobs for c in canaries], [c.base_logprobs for c in canaries])
    if change < LEAST_CHANGE:
        raise CanaryFailed(
            f"the adapter moves the canaries by {change:.1e} nats a token; expected at least {LEAST_CHANGE:.0e}: it has no effect"
        )
    return canaries


def check_canaries(manifest: BundleManifest, language: LanguageModel, *, vocabulary: ControlVocabulary) -> CanaryReport:
    """Raises CanaryFailed when prompts encode differently, the model drifted from the trained one, or it is the bare base."""
    encoded = []
    for number, canary in enumerate(manifest.canaries):
        one = encode_example(build_prompt(canary.context, vocabulary=vocabulary), canary.text, language)
        got, expected = (one.ids[: one.prompt_len], one.ids[one.prompt_len :]), (canary.prompt_ids, canary.answer_ids)
        for what, theirs, ours in zip(("prompt", "answer"), expected, got, strict=True):
            if theirs != ours:
                at = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours)))
                raise CanaryFailed(
                    f"canary {number}: at token {at} its {what} was {list(theirs[at : at + 4])} when trained, {list(ours[at : at + 4])} "
                    f"here ({len(theirs)} and {len(ours)} tokens): prompt or tokenizer differ. Deploy the image that fits."
                )
        encoded.append(one)
    found = logprobs(language, encoded)
    weight = next(language.model.parameters())
    dtype = str(weight.dtype).removeprefix("torch.")
    tolerance = max(TOLERANCE[weight.device.type, dtype], TOLERANCE["cpu", manifest.canary_dtype])
    trained, bare = [c.logprobs for c in manifest.canaries], [c.base_logprobs for c in manifest.canaries]
    report = CanaryReport(from_trained=_distance(found, trained), from_base=_distance(found, bare), tolerance=tolerance)
    # Below the noise of its dtype an adapter's effect cannot be seen: which of the two is nearer would be chance.
    seen = dtype == manifest.canary_dtype == "float32" or _distance(trained, bare) > report.from_base
    is_base = seen and report.from_base <= report.from_trained
    if is_base or not report.from_trained <= tolerance:
        nearer = (
            "nearer to the bare base: the adapter has no effect"
            if report.from_base < report.from_trained
            else "nearer to it than to the base"
        )
        raise CanaryFailed(
            f"bundle {manifest.bundle_id}: log-probabilities differ from those of training by {report.from_trained:.4f} nats a token; "
            f"{dtype} on {weight.device.type} allows {tolerance}. The model is {nearer}."
        )
    return report


def _distance(one: Sequence[tuple[float, ...]], other: Sequence[tuple[float, ...]]) -> float:
    gaps = [abs(a - b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)]
    return sum(gaps) / len(gaps)
