"""The decode engine over vLLM's own, in this process and fed by token ids. It knows no text and no clock.

Greedy texts in fp32 are those of the engine hf. Sampled ones are not: vLLM draws another text from the same seed, no worse distributed.
"""

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from common.domain.decoding import DecodingParams
from common.domain.token_features import TokenFeatures
from common.errors import BadInput, ConfigError, UnsupportedModel
from common.generation.engine import Generated, Sequence, generate, refuse_unfit
from common.generation.features import token_features
from common.generation.vllm import ENVIRONMENT

Finished = list[tuple[int, Generated]]
MAX_TEMPERATURE = 2.0
"""vLLM's own bound."""
BLOCK = 32
"""Tokens of a prompt that are kept together; vLLM's kernels for processors like multiples of it, and a prefix is shared in whole blocks."""


@dataclass(slots=True)
class Running:
    sequence: Sequence
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class VllmEngine:
    """vLLM takes a copy of the weights as they are now: it follows no training, and they lie in memory twice.

    `model` stays the caller's and is run for features alone, in one teacher-forced pass over what a step has finished; a cancelled sequence
    has none. Guidance takes two prompts a token, which vLLM has no place for.
    """

    def __init__(self, model: PreTrainedModel, *, eos_ids: Many[int], max_len: int, slots: int = 32, keep_features: bool = False) -> None:
        """Raises ConfigError where vLLM or its `ENVIRONMENT` is missing, UnsupportedModel for what it does not run, or not as it is."""
        assert min(slots, max_len - 1, len(eos_ids)) >= 1, f"slots={slots}, max_len={max_len}, eos_ids={eos_ids}"
        config = model.config.get_text_config()
        limit = getattr(config, "max_position_embeddings", max_len)
        if max_len > limit:
            raise BadInput(f"max_len: got {max_len}; a {config.model_type} of this size has {limit} positions. Ask for fewer.")
        self.model, self.max_len, self._keep_features = model, max_len, keep_features
        self._vocab_size, self._eos_ids = int(config.vocab_size), frozenset(eos_ids)
        self._running: dict[int, Running] = {}
        self._cancelled: set[int] = set()
        self._next_id = 0
        try:
            self._engine = _started(model, max_len=max_len, slots=slots)
            self._check_logprobs()
        except (ValueError, KeyError, RuntimeError) as error:  # some of what it lacks it finds in its first step
            raise UnsupportedModel(f"{config.model_type}: vLLM cannot run it: {error!s:.500}. Take the engine hf") from error

    def submit(self, sequence: Sequence, *, decoding: DecodingParams) -> int:
        if decoding.guidance > 1:
            raise BadInput(f"decoding.guidance: got {decoding.guidance}, which vLLM cannot do; set it to 1, or take the engine hf")
        if decoding.temperature > MAX_TEMPERATURE:
            raise BadInput(f"decoding.temperature: got {decoding.temperature}; vLLM takes {MAX_TEMPERATURE} at most, the engine hf more")
        # Refused here, before vLLM hears of it: what it finds wrong in a step takes all other sequences along.
        ids = sequence.prompt_ids
        refuse_unfit(ids, vocab_size=self._vocab_size, max_new_tokens=decoding.max_new_tokens, max_len=self.max_len)
        sampling = self._sampling(decoding, seed=sequence.seed)
        self._next_id += 1
        self._engine.add_request(str(self._next_id), {"prompt_token_ids": list(ids)}, sampling)
        self._running[self._next_id] = Running(sequence)
        return self._next_id

    def step(self) -> Finished:
        finished = self._drop_cancelled()
        ended = []
        for output in self._engine.step() if self._running else ():
            running, [drawn] = self._running[int(output.request_id)], output.outputs
            running.ids += drawn.token_ids
            running.logprobs += [found[token].logprob for token, found in zip(drawn.token_ids, drawn.logprobs, strict=True)]
            if output.finished:
                ended.append(int(output.request_id))
        return finished + self._generated(ended)

    def cancel(self, sequence_id: int) -> None:
        self._cancelled.add(sequence_id)

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def _drop_cancelled(self) -> Finished:
        gone = sorted(self._cancelled & self._running.keys())
        self._cancelled.clear()
        self._engine.abort_request([str(sequence_id) for sequence_id in gone])
        dropped = [(sequence_id, self._running.pop(sequence_id)) for sequence_id in gone]
        return [(i, Generated(tuple(one.ids), tuple(one.logprobs), features=None, finish_reason="cancelled")) for i, one in dropped]

    def _generated(self, ended: list[int]) -> Finished:
        done = [self._running.pop(sequence_id) for sequence_id in ended]
        features: Many[TokenFeatures | None] = [None] * len(done)
        if self._keep_features:
            whole = [[*one.sequence.prompt_ids, *one.ids] for one in done]
            features = token_features(self.model, whole, prompt_lens=[len(one.sequence.prompt_ids) for one in done])
        found = []
        for sequence_id, one, its_features in zip(ended, done, features, strict=True):
            stopped = one.ids[-1] in self._eos_ids
            ids = tuple(one.ids[:-1] if stopped else one.ids)
            found.append((sequence_id, Generated(ids, tuple(one.logprobs), its_features, "stop" if stopped else "length")))
        return found

    def _sampling(self, decoding: DecodingParams, *, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from common.generation.vllm.penalty import ARGUMENT

        return SamplingParams(
            max_tokens=decoding.max_new_tokens,
            min_tokens=min(decoding.min_new_tokens, decoding.max_new_tokens),
            temperature=decoding.temperature,
            top_k=decoding.top_k,
            top_p=decoding.top_p,
            seed=seed % 2**63,
            extra_args={ARGUMENT: decoding.repetition_penalty} if decoding.repetition_penalty != 1 else None,
            ignore_eos=True,  # that of the configuration: an answer's end may be the end of a turn
            stop_token_ids=sorted(self._eos_ids),
            logprobs=0,  # of the drawn token alone
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    @torch.inference_mode()
    def _check_logprobs(self) -> None:
        """Compares four tokens with the model's own forward, so that what vLLM loads and runs as another model is refused."""
        prompt = tuple(i % self._vocab_size for i in (1, 2, 3, 4))
        decoding = DecodingParams(max_new_tokens=4, min_new_tokens=4, temperature=0)
        [got] = generate(self, [Sequence(prompt, prefix_len=0, seed=0)], decoding=decoding)
        logits_TV = self.model(input_ids=torch.tensor([[*prompt, *got.ids]], device=self.model.device), use_cache=False).logits[0, 3:7]
        own_T = logits_TV.float().log_softmax(-1)[range(4), got.ids]
        difference = float((own_T.cpu() - torch.tensor(got.logprobs)).abs().max())
        if not difference <= (1e-3 if self.model.dtype == torch.float32 else 0.1):
            raise UnsupportedModel(
                f"{self.model.config.model_type}: vLLM's log-probabilities differ from the model's own by {difference:.2g}, so it runs "
                "something else than this model. Take the engine hf."
            )


def _started(model: PreTrainedModel, *, max_len: int, slots: int) -> Any:
    """vLLM's engine over a copy of the model. It reads weights from files, so they are laid into a folder that is gone when it has them."""
    if find_spec("vllm") is None:
        raise ConfigError("the engine vllm: vLLM is not installed here; pip install 'liyou[vllm]' as docs/engines.md says, or take hf")
    try:
        import vllm
        from vllm.v1.engine.llm_engine import LLMEngine

        from common.generation.vllm.penalty import PROCESSOR
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            f"the engine vllm: vLLM does not import ({error!s:.300}); a torchvision or triton that is not of its torch does that, so "
            "uninstall them as docs/engines.md says, or take hf"
        ) from error
    wrong = [f"{name}={value}" for name, value in ENVIRONMENT.items() if int(getattr(vllm.envs, name)) != int(value)]
    if wrong:
        raise ConfigError(f"the engine vllm: this process lacks {' and '.join(wrong)} in its environment; set that before it starts")
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        arguments = vllm.EngineArgs(
            model=folder,
            skip_tokenizer_init=True,
            generation_config="vllm",
            dtype=str(model.dtype).removeprefix("torch."),
            max_model_len=max_len,
            max_num_seqs=slots,
            block_size=BLOCK,
            kv_cache_memory_bytes=_cache_bytes(model, num_tokens=slots * (math.ceil(max_len / BLOCK) + 1) * BLOCK),
            logits_processors=[PROCESSOR],
            enforce_eager=model.device.type == "cpu",  # compiling there takes minutes
            disable_log_stats=True,
        )
        engine = LLMEngine.from_engine_args(arguments)
    engine.engine_core._finalizer.detach()  # once collected, it would tear down what every engine of this process runs on
    return engine


def _cache_bytes(model: PreTrainedModel, *, num_tokens: int) -> int:
    config = model.config.get_text_config()
    num_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * int(config.num_hidden_layers * num_heads * size * num_tokens) * model.dtype.itemsize
