"""A causal language model with its tokenizer: found where it lies, loaded without running its code, named by the digest of its bytes.

Knows what a chat template puts around a prompt, which tokens begin and end a sequence, and how to run a model over given ids.
Samples nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from common.artifacts.digest import sha256_file, tree_digest
from common.artifacts.registry import local_folder, version_at
from common.artifacts.storage import is_bucket
from common.config import Frozen
from common.errors import ArtifactNotFound, UnsupportedModel
from common.language.packing import as_added, may_share, padded, rows_of

STARTER = "starter"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PARTS = ("*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt", "*.jinja")
"""Files that make a base: configuration, weights, tokenizer. Others (README, pickled weights) are neither read nor digested."""
_NEEDS_BOS = ("gemma",)
"""Architectures that are broken without a beginning-of-sequence token, whatever their tokenizer does on its own."""
_MARK = "⟦理由⟧"


class Frame(Frozen):
    """What a chat template puts around the prompt, special tokens included; empty for a base without one. Recorded in the bundle."""

    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Everything that turns a prompt into ids and ids into a distribution.

    `digest` names the base as it was loaded; adapters do not change it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str
    source: str
    frame: Frame
    bos_id: int | None
    """Set by `common.language.tokens`, never by the tokenizer."""
    eos_id: int
    """What ends an answer: the chat template's end of turn, or else the tokenizer's end of text."""
    max_len: int
    """Tokens of prompt and answer together that the positions of the model reach."""


def load_base(
    source: str,
    *,
    dtype: str = "float32",
    cache_dir: Path | None = None,
    accept: Callable[[str], None] | None = None,
) -> LanguageModel:
    """`source` is "starter", a folder, a .gguf file, s3://BUCKET/REGISTRY/VERSION or a Hugging Face id; `cache_dir` is for the last.
    `accept` is told the digest before anything is parsed, and raises where it is not the one that is wanted.

    Raises ArtifactNotFound when nothing lies there (or the hub cannot be reached), UnsupportedModel for what is no causal LM in
    safetensors or GGUF.
    """
    if dtype not in DTYPES:
        raise UnsupportedModel(f"dtype: got {dtype!r}; expected one of {', '.join(DTYPES)}")
    path = _resolve(source, cache_dir=cache_dir)
    digest = _digest(path)
    if accept is not None:
        accept(digest)
    if path.suffix == ".gguf":
        model, tokenizer = _read(path.parent, dtype=dtype, gguf_file=path.name)
    else:
        if not any(path.glob("*.safetensors")):
            raise UnsupportedModel(f"{source}: no .safetensors file in {path}; convert the weights, pickled ones are never read")
        model, tokenizer = _read(path, dtype=dtype)
    return language_model(model, tokenizer, digest=digest, source=source)


def has_bf16(device: str) -> bool:
    """Whether bfloat16 products are done in hardware ("cpu" or "cuda"): without, they took ninety times as long as float32's."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # oneDNN's own answer, by which it chooses its kernels


def source_digest(source: str) -> str:
    """The digest that `load_base` would give, without loading; of one in a bucket, without its weights coming here. Raises
    ArtifactNotFound."""
    if is_bucket(source):
        store, name = version_at(source)
        return tree_digest(dict(sorted((path, sha) for path, sha in store.describe(name).files.items() if _is_part(path))))
    return _digest(_resolve(source, cache_dir=None))


def _digest(path: Path) -> str:
    return sha256_file(path) if path.is_file() else base_digest(path)


def language_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, digest: str, source: str) -> LanguageModel:
    """A model that already lives in memory, with frame, beginning and end read off its tokenizer."""
    frame, turn_end = _frame(tokenizer)
    bos_id = _bos_id(model, tokenizer)
    if bos_id is not None and frame.before:
        frame = Frame(before=frame.before.removeprefix(str(tokenizer.bos_token)), after=frame.after)
    eos_id = turn_end if turn_end is not None else tokenizer.eos_token_id
    if not isinstance(eos_id, int):
        raise UnsupportedModel(f"{source}: no end token, so no answer would ever end; set eos_token in tokenizer_config.json")
    model.train(False)
    return LanguageModel(
        model=model,
        tokenizer=tokenizer,
        digest=digest,
        source=source,
        frame=frame,
        bos_id=bos_id,
        eos_id=eos_id,
        max_len=int(model.config.get_text_config().max_position_embeddings),
    )


def base_digest(folder: Path) -> str:
    """One digest for configuration, weights and tokenizer; other files do not count. Links are followed: a hub's cache is made of them."""
    found = sorted({path for pattern in _PARTS for path in folder.glob(pattern) if path.is_file()})
    return tree_digest({path.name: sha256_file(path) for path in found})


ANSWERS_PADDED_TO = 128
"""Answer tokens of a batch are rounded up to it: as `PADDED_TO` of packing."""


@dataclass(frozen=True, slots=True)
class AnswerStates:
    """What the model held while it read one answer; T = answer tokens, D = hidden size. Row t predicted the t-th answer token."""

    hidden_TD: Tensor
    """Last hidden state after the final norm, in the model's dtype."""
    logprob_T: Tensor
    entropy_T: Tensor
    gap_T: Tensor
    """Log-probability of the likeliest token minus that of the answer's; nats, fp32, temperature 1, as the two above."""


def teacher_forced(model: nn.Module, ids: Sequence[Sequence[int]], *, prompt_lens: Sequence[int]) -> list[AnswerStates]:
    """One right-padded forward pass over whole sequences, answers to one prompt behind one copy of it; that of ids[i] starts at
    prompt_lens[i] >= 1.

    Gradients flow through log-probabilities and hidden states unless the caller stops them. `model` may carry a peft adapter.
    """
    if not ids:
        return []
    hidden_ND, logits_NV, target_N, lengths = _answers(model, ids, prompt_lens)
    logprob_N = -F.cross_entropy(logits_NV, target_N, reduction="none")
    with torch.no_grad():
        logprobs_NV = logits_NV.log_softmax(-1)
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(-1)
        gap_N = logprobs_NV.amax(-1) - logprob_N
    split = [torch.split(part, lengths)[: len(ids)] for part in (hidden_ND, logprob_N, entropy_N, gap_N)]
    return [AnswerStates(*parts) for parts in zip(*split, strict=True)]


def answer_logprobs(model: nn.Module, ids: Sequence[Sequence[int]], *, prompt_lens: Sequence[int]) -> list[Tensor]:
    """The log-probabilities of `teacher_forced` alone: what a training step needs, at two thirds of its cost."""
    if not ids:
        return []
    _, logits_NV, target_N, lengths = _answers(model, ids, prompt_lens)
    return list(torch.split(-F.cross_entropy(logits_NV, target_N, reduction="none"), lengths)[: len(ids)])


def _answers(model: nn.Module, ids: Sequence[Sequence[int]], prompt_lens: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Hidden states, fp32 logits and targets of all answer tokens in one row of rows, and how many belong to each answer.

    Answers to one prompt are read behind one copy of it. The last count is of rows that belong to nobody (`ANSWERS_PADDED_TO`).
    """
    assert all(0 < start <= len(row) for row, start in zip(ids, prompt_lens, strict=True)), "an answer starts behind its prompt"
    decoder, config = backbone(model), _unwrapped(model).config.get_text_config()
    rows = rows_of(ids, prompt_lens, together=may_share(decoder, config, longest=max(map(len, ids))))
    inputs = padded(rows, device=next(model.parameters()).device)
    if inputs["attention_mask"].dtype == torch.bool and config._attn_implementation == "eager":
        inputs["attention_mask"] = as_added(inputs["attention_mask"], next(model.parameters()).dtype)
    hidden_BTD = decoder(**inputs, use_cache=False).last_hidden_state
    lengths = [len(sequence) - start for sequence, start in zip(ids, prompt_lens, strict=True)]
    hidden, target = {}, {}
    for number, row in enumerate(rows):
        for index, start in row.starts.items():
            end = start + lengths[index]
            parts = [hidden_BTD[number, row.prompt_len - 1 : row.prompt_len], hidden_BTD[number, start : max(start, end - 1)]]
            hidden[index], target[index] = torch.cat(parts)[: lengths[index]], inputs["input_ids"][number, start:end]
    spare = -sum(lengths) % ANSWERS_PADDED_TO
    hidden_ND = F.pad(torch.cat([hidden[index] for index in range(len(ids))]), (0, 0, 0, spare))
    target_N = F.pad(torch.cat([target[index] for index in range(len(ids))]), (0, spare))
    return hidden_ND, head_logits(model, hidden_ND).float(), target_N, [*lengths, spare]


def backbone(model: nn.Module) -> nn.Module:
    """The decoder without its head, adapters included."""
    decoder: nn.Module = _unwrapped(model).get_decoder()  # type: ignore[no-untyped-call]
    return decoder


def head_logits(model: nn.Module, hidden: Tensor) -> Tensor:
    """Logits over the vocabulary for last hidden states of any leading shape, soft-capped where the architecture asks for it."""
    inner = _unwrapped(model)
    logits: Tensor = inner.get_output_embeddings()(hidden)  # type: ignore[no-untyped-call]
    cap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
    return logits if not cap else torch.tanh(logits / cap) * cap


def _unwrapped(model: nn.Module) -> PreTrainedModel:
    """peft puts its adapters into the modules of the model that it wraps."""
    unwrap = getattr(model, "get_base_model", None)
    return cast(PreTrainedModel, unwrap() if unwrap else model)


def _is_part(path: str) -> bool:
    return "/" not in path and any(fnmatch(path, pattern) for pattern in _PARTS)


def _resolve(source: str, *, cache_dir: Path | None) -> Path:
    if source == STARTER:
        return Path(str(files("common.starter").joinpath("base")))
    if is_bucket(source):
        return local_folder(source)
    path = Path(source).expanduser()
    if path.exists():
        if path.is_file() and path.suffix != ".gguf":
            raise UnsupportedModel(f"{source}: expected a folder with config.json and .safetensors, or a .gguf file")
        return path
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source) or path.suffix == ".gguf":
        raise ArtifactNotFound(f"{source}: no such folder or file, and no Hugging Face id (owner/name) either")
    return _download(source, cache_dir)


def _download(repo_id: str, cache_dir: Path | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(repo_id, cache_dir=cache_dir, allow_patterns=list(_PARTS)))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, HFValidationError, ConnectionError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactNotFound(
            f"{repo_id}: no such folder here, and it could not be had from the Hugging Face hub ({reason:.200}). Check the name; "
            "without a network take --base starter, a folder or a .gguf file."
        ) from error


def _read(folder: Path, *, dtype: str, gguf_file: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a bar for a second of work, in everybody's logs
    extra = {"gguf_file": gguf_file} if gguf_file else {"use_safetensors": True}
    try:
        tokenizer = _read_tokenizer(folder, gguf_file)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype], trust_remote_code=False, **extra)
    except (ValueError, KeyError, OSError) as error:
        raise UnsupportedModel(f"{folder / (gguf_file or '')}: cannot be read as a causal language model: {error!s:.300}") from error
    if gguf_file:
        _forget_quantisation(model)
    return model, tokenizer


def _read_tokenizer(folder: Path, gguf_file: str | None) -> PreTrainedTokenizerBase:
    """tokenizer.json says how to cut, so it is taken at its word: transformers 5 reads that of a folder with `model_type: qwen2` as
    Qwen's own, whatever stands in it, and every Chinese character of the starter would be lost.
    """
    if gguf_file:
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, gguf_file=gguf_file, trust_remote_code=False))
    if (folder / "tokenizer.json").is_file():
        return cast(PreTrainedTokenizerBase, PreTrainedTokenizerFast.from_pretrained(folder))
    return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))


def _forget_quantisation(model: PreTrainedModel) -> None:
    """The weights are dequantised; what is left of the quantiser would make `save_pretrained` refuse them."""
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    setattr(model, "hf_quantizer", None)  # noqa: B010  (attributes that the class does not declare)
    setattr(model, "is_quantized", False)  # noqa: B010


def _bos_id(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """What the tokenizer would set on its own, or what the architecture needs although its tokenizer forgot (Gemma read from GGUF)."""
    bos = tokenizer.bos_token_id
    if not isinstance(bos, int):
        return None
    own = tokenizer("理由")["input_ids"]
    needed = str(model.config.get_text_config().model_type).startswith(_NEEDS_BOS)
    return bos if needed or (own and own[0] == bos) else None


def _frame(tokenizer: PreTrainedTokenizerBase) -> tuple[Frame, int | None]:
    """The chat template around a user's turn as literal text, and the token that ends the assistant's; empty without a template."""
    if not getattr(tokenizer, "chat_template", None):
        return Frame(), None
    asked = [{"role": "user", "content": _MARK}]
    opened = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
    answered = [*asked, {"role": "assistant", "content": _MARK}]
    closed = str(tokenizer.apply_chat_template(answered, tokenize=False)).rpartition(_MARK)[2]
    before, mark, after = opened.partition(_MARK)
    if not mark:
        raise UnsupportedModel("chat template: the user's turn is not in what it renders; remove the template to use the model as a base")
    end_ids = tokenizer(closed, add_special_tokens=False)["input_ids"]
    ends_turn = bool(end_ids) and end_ids[0] in tokenizer.all_special_ids
    return Frame(before=before, after=after), int(end_ids[0]) if ends_turn else None
