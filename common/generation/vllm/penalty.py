"""The repetition penalty of `common.generation.sampling` for a row of vLLM's. Imported by vLLM, by the name in `PROCESSOR`."""

from collections.abc import Callable

from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

ARGUMENT = "answer_penalty"
PROCESSOR = f"{__name__}:AnswerPenalty"


class AnswerPenalty(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not there where types are checked
    """Over the answer's tokens only; vLLM's own counts those of the prompt, too."""

    @classmethod
    def validate_params(cls, params: SamplingParams) -> None: ...

    def is_argmax_invariant(self) -> bool:
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Callable[[list[int], Tensor], Tensor] | None:
        penalty = (params.extra_args or {}).get(ARGUMENT)
        if penalty is None:
            return None

        def penalised(seen: list[int], logits_V: Tensor) -> Tensor:
            ids = sorted(set(seen))
            found = logits_V[ids]
            logits_V[ids] = (found * penalty).where(found < 0, found / penalty)
            return logits_V

        return penalised
