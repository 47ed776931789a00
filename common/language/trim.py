"""Makes a base smaller by dropping the tokens that a corpus does not use. Logits over the kept ids stay what they were, to the bit.

A token is kept together with the pieces through which BPE builds it, and merges keep their order: a text whose tokens are all kept is cut
exactly as before. All 256 byte tokens are kept, so nothing becomes unencodable. Trains nothing and knows no prompt.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from tokenizers import Tokenizer, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from common.config import Frozen
from common.errors import AlreadyExists, BadInput, UnsupportedModel
from common.language.base_model import LanguageModel

_UNUSED = re.compile(r"unused|reserved", re.IGNORECASE)
_BATCH = 1000
_NUM_DROPPED_SHOWN = 50


class TrimReport(Frozen):
    """What was kept and what it costs. A text whose tokens are not all kept is longer in tokens, and the model reads it less well."""

    source: str
    vocab_before: int
    vocab_after: int
    num_required: int = Field(description="kept whatever the corpus says: specials, bytes, ASCII, GB2312 level 1, CJK punctuation")
    num_filled: int = Field(description="kept because there was room: made of the corpus's characters, and in no text of it")
    params_before: int
    params_after: int
    num_texts: int
    corpus_tokens: int
    coverage: float = Field(description="share of the corpus's tokens that are kept")
    texts_all_kept: int = Field(description="texts all of whose tokens are kept")
    texts_same_ids: int = Field(description="of those, texts that are cut exactly as before; expected: all")
    texts_round_trip: int = Field(description="texts that decode to what they decoded to before; expected: all")
    chars_per_token_before: float
    chars_per_token_after: float
    num_dropped_kinds: int = Field(description="distinct tokens of the corpus that fell out")
    dropped: tuple[tuple[str, int], ...] = Field(description="the most frequent of those, with their counts")


class Vocabulary:
    """A BPE tokenizer.json taken apart: which pieces a token is built from."""

    def __init__(self, data: dict[str, object], *, source: str) -> None:
        model = data["model"]
        assert isinstance(model, dict)
        if model.get("type") != "BPE" or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            raise UnsupportedModel(f"{source}: tokenizer of type {model.get('type')}; trimming knows BPE without affixes")
        self.data, self.model = data, model
        self.ids: dict[str, int] = dict(model["vocab"])
        self.added: list[dict[str, object]] = list(data.get("added_tokens") or [])  # type: ignore[call-overload]
        self.ids |= {str(token["content"]): int(str(token["id"])) for token in self.added}
        self.merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
        self.ranks: dict[tuple[str, ...], int] = {pair: rank for rank, pair in enumerate(self.merges)}
        self.tokens = {number: token for token, number in self.ids.items()}
        self.byte_tokens = self._byte_tokens(source)
        self.atomic = {*self.byte_tokens, *(str(token["content"]) for token in self.added)}

    def _byte_tokens(self, source: str) -> list[str]:
        alphabet = pre_tokenizers.ByteLevel.alphabet() if '"ByteLevel"' in json.dumps(self.data.get("pre_tokenizer")) else []
        tokens = sorted(alphabet) if alphabet else [f"<0x{value:02X}>" for value in range(256)]
        if (not alphabet and not self.model.get("byte_fallback")) or any(token not in self.ids for token in tokens):
            raise UnsupportedModel(f"{source}: tokenizer without all 256 bytes; trimming it would make texts unencodable")
        return tokens

    def pieces(self, token: str) -> set[str]:
        """The token and all that BPE passes through on the way to it, from its characters on, as far as the vocabulary has them."""
        if token in self.atomic:
            return {token}
        parts, seen = list(token), {token, *token}
        while len(parts) > 1:
            pairs = [(self.ranks.get((a, b)), at) for at, (a, b) in enumerate(pairwise(parts))]
            best = min(((rank, at) for rank, at in pairs if rank is not None), default=None)
            if best is None:
                break
            parts[best[1] : best[1] + 2] = [parts[best[1]] + parts[best[1] + 1]]
            seen.add(parts[best[1]])
        return {piece for piece in seen if piece in self.ids}

    def trimmed(self, kept: Mapping[int, int]) -> dict[str, object]:
        """The tokenizer.json of the kept tokens; `kept` maps old ids to new ones."""
        vocab = {token: kept[number] for token, number in self.model["vocab"].items() if number in kept}
        merges = [list(pair) for pair in self.merges if pair[0] in vocab and pair[1] in vocab and "".join(pair) in vocab]
        added = [{**token, "id": kept[int(str(token["id"]))]} for token in self.added if int(str(token["id"])) in kept]
        ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
        return {
            **self.data,
            "padding": None,
            "truncation": None,
            "added_tokens": added,
            "post_processor": _remapped_processor(self.data.get("post_processor"), kept),
            "model": {**self.model, "vocab": ordered, "merges": merges},
        }


Characters = Literal["common", "corpus"]
"""Which are always tokens of their own; any other is written in bytes."""


def trim(language: LanguageModel, corpus: Sequence[str], *, keep: int, out: Path | str, characters: Characters = "common") -> TrimReport:
    """Writes the trimmed base to the folder `out` in the model's dtype. Uses `language` up: its model is the trimmed one afterwards.

    `corpus` is training text only; count every language and channel that will be served. `keep` is the most tokens to keep. `characters`
    corpus: a study's small base, which leaves no mass to thousands of characters that its shop never writes (2.4 % a token of the starter
    base after 1,500 steps of SFT: a false character in every second text at temperature 1).
    Raises BadInput when `keep` cannot hold what must stay, UnsupportedModel for a tokenizer that is no BPE with all bytes.
    """
    folder = Path(out)
    if folder.exists():
        raise AlreadyExists(f"{folder} exists; a base is never written over. Name another folder or remove it.")
    if not any(corpus):
        raise BadInput("corpus: got no text; expected the training texts whose tokens are to be counted")
    backend = Tokenizer.from_str(language.tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    vocabulary = Vocabulary(json.loads(backend.to_str()), source=language.source)
    counts = Counter(number for ids in _encoded(backend, corpus) for number in ids)
    required = _required(vocabulary, language, backend, common_characters() if characters == "common" else [])
    if len(required) > keep:
        raise BadInput(f"keep: got {keep}; specials, bytes, ASCII and common Chinese characters alone are {len(required)} tokens")
    chosen = _chosen(vocabulary, counts, required, keep=keep)
    filled = _filled(vocabulary, chosen, keep=keep)
    kept = {old: new for new, old in enumerate(sorted(filled))}
    params_before, vocab_before = _num_params(language.model), len(vocabulary.ids)
    trimmed_backend = Tokenizer.from_str(json.dumps(vocabulary.trimmed(kept), ensure_ascii=False))
    report = TrimReport(
        source=language.source,
        vocab_before=vocab_before,
        vocab_after=len(kept),
        num_required=len(required),
        num_filled=len(filled) - len(chosen),
        params_before=params_before,
        params_after=params_before,
        num_dropped_kinds=sum(number not in kept for number in counts),
        dropped=_most_frequent(vocabulary, counts, kept),
        **_compared(backend, trimmed_backend, corpus, kept, counts),
    )
    _shrink(language.model, kept)
    language.model.save_pretrained(folder)
    _save_tokenizer(language, trimmed_backend, folder)
    return report.model_copy(update={"params_after": _num_params(language.model)})


def common_characters() -> list[str]:
    """ASCII, the 3,755 characters of GB2312 level 1 (rows 16 to 55), and the punctuation of Chinese text."""
    ascii_ = [chr(code) for code in range(0x20, 0x7F)] + ["\n", "\t"]
    level_1 = [bytes([row + 0xA0, cell + 0xA0]) for row in range(16, 56) for cell in range(1, 95)]
    characters = [code.decode("gb2312") for code in level_1[:3755]]
    punctuation = [chr(code) for code in (*range(0x3001, 0x3020), *range(0xFF01, 0xFF5F))] + list("“”‘’—…·×℃￥¥°～•′″")
    return ascii_ + characters + punctuation


def _required(vocabulary: Vocabulary, language: LanguageModel, backend: Tokenizer, characters: Sequence[str]) -> set[int]:
    named = [str(token["content"]) for token in vocabulary.added if not _UNUSED.search(str(token["content"]))]
    ids = {vocabulary.ids[token] for token in (*named, *vocabulary.byte_tokens)}
    ids |= {number for number in _config_ids(language.model).values() if number in vocabulary.tokens}
    ids |= {number for number in (language.bos_id, language.eos_id) if number is not None}
    texts = [*characters, language.frame.before, language.frame.after]
    ids |= {number for encoded in _encoded(backend, texts) for number in encoded}
    return _closed(vocabulary, ids)


def _closed(vocabulary: Vocabulary, ids: Iterable[int]) -> set[int]:
    return {vocabulary.ids[piece] for number in ids for piece in vocabulary.pieces(vocabulary.tokens[number])} | set(ids)


def _chosen(vocabulary: Vocabulary, counts: Mapping[int, int], required: set[int], *, keep: int) -> set[int]:
    """Most frequent first; a token whose pieces no longer fit gives way to rarer ones that do."""
    chosen = set(required)
    for number in sorted(counts, key=lambda number: (-counts[number], number)):
        if number not in chosen:
            wanted = _closed(vocabulary, [number]) - chosen
            if len(chosen) + len(wanted) <= keep:
                chosen |= wanted
    return chosen


def _filled(vocabulary: Vocabulary, chosen: set[int], *, keep: int) -> set[int]:
    """Room that the corpus leaves goes to tokens made of its characters alone, in the base's own order: unseen texts of the same kind."""
    characters = {character for number in chosen for character in vocabulary.tokens[number]}
    filled = set(chosen)
    for token, number in sorted(vocabulary.model["vocab"].items(), key=lambda item: item[1]):
        if len(filled) >= keep:
            break
        if number not in filled and token not in vocabulary.atomic and characters.issuperset(token):
            wanted = _closed(vocabulary, [number]) - filled
            if len(filled) + len(wanted) <= keep:
                filled |= wanted
    return filled


def _compared(
    before: Tokenizer, after: Tokenizer, corpus: Sequence[str], kept: Mapping[int, int], counts: Mapping[int, int]
) -> dict[str, float]:
    all_kept = same = round_trip = tokens_after = 0
    for start in range(0, len(corpus), _BATCH):
        texts = corpus[start : start + _BATCH]
        old_ids, new_ids = list(_encoded(before, texts)), list(_encoded(after, texts))
        decoded = before.decode_batch(old_ids, skip_special_tokens=False), after.decode_batch(new_ids, skip_special_tokens=False)
        for old, new, old_text, new_text in zip(old_ids, new_ids, *decoded, strict=True):
            whole = all(number in kept for number in old)
            all_kept += whole
            same += whole and [kept[number] for number in old] == new
            round_trip += old_text == new_text
            tokens_after += len(new)
    tokens, characters = sum(counts.values()), sum(map(len, corpus))
    return {
        "num_texts": len(corpus),
        "corpus_tokens": tokens,
        "coverage": sum(count for number, count in counts.items() if number in kept) / tokens,
        "texts_all_kept": all_kept,
        "texts_same_ids": same,
        "texts_round_trip": round_trip,
        "chars_per_token_before": characters / tokens,
        "chars_per_token_after": characters / tokens_after,
    }


def _most_frequent(vocabulary: Vocabulary, counts: Mapping[int, int], kept: Mapping[int, int]) -> tuple[tuple[str, int], ...]:
    lost = sorted(((count, vocabulary.tokens[number]) for number, count in counts.items() if number not in kept), reverse=True)
    return tuple((token, count) for count, token in lost[:_NUM_DROPPED_SHOWN])


def _encoded(backend: Tokenizer, texts: Sequence[str]) -> Iterable[list[int]]:
    for start in range(0, len(texts), _BATCH):
        for encoding in backend.encode_batch(list(texts[start : start + _BATCH]), add_special_tokens=False):
            yield encoding.ids


def _shrink(model: PreTrainedModel, kept: Mapping[int, int]) -> None:
    """Gathers the rows of embedding and head; a tied head stays tied."""
    rows = torch.tensor(sorted(kept), device=next(model.parameters()).device)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if not isinstance(embedding, torch.nn.Embedding):
        raise UnsupportedModel(f"{type(model).__name__}: its input embedding is a {type(embedding).__name__}; trimming knows nn.Embedding")
    tied = head is not None and head.weight is embedding.weight
    padding = kept.get(embedding.padding_idx) if embedding.padding_idx is not None else None
    embedding.weight = torch.nn.Parameter(embedding.weight.detach()[rows].clone())
    embedding.num_embeddings, embedding.padding_idx = len(kept), padding
    if head is not None:
        head.weight = embedding.weight if tied else torch.nn.Parameter(head.weight.detach()[rows].clone())
        head.out_features = len(kept)
        if getattr(head, "bias", None) is not None:
            head.bias = torch.nn.Parameter(head.bias.detach()[rows].clone())
    for config in _configs(model):
        for name, value in vars(config).items():
            if name.endswith("_token_id"):
                setattr(config, name, _remapped(value, kept))
    for config in (model.config, model.config.get_text_config()):
        config.vocab_size = len(kept)


def _configs(model: PreTrainedModel) -> list[object]:
    """Each once; most models have no text configuration of their own."""
    found = [model.config, model.config.get_text_config(), model.generation_config]
    return list({id(config): config for config in found if config is not None}.values())


def _config_ids(model: PreTrainedModel) -> dict[str, int]:
    ids: dict[str, int] = {}
    for index, config in enumerate(_configs(model)):
        for name, value in vars(config).items():
            if name.endswith("_token_id"):
                values = value if isinstance(value, list) else [value]
                ids |= {f"{index}.{name}.{at}": number for at, number in enumerate(values) if isinstance(number, int) and number >= 0}
    return ids


def _remapped(value: object, kept: Mapping[int, int]) -> object:
    if isinstance(value, list):
        return [kept[number] for number in value if number in kept]
    return kept.get(value) if isinstance(value, int) else value


def _remapped_processor(processor: object, kept: Mapping[int, int]) -> object:
    """Ids stand in a template's special tokens; processors that hold ids elsewhere are not known and refused."""
    if not isinstance(processor, dict):
        return processor
    kind = processor.get("type")
    if kind == "Sequence":
        return {**processor, "processors": [_remapped_processor(one, kept) for one in processor["processors"]]}
    if kind == "TemplateProcessing":
        specials = {
            name: {**special, "ids": [kept[number] for number in special["ids"]]} for name, special in processor["special_tokens"].items()
        }
        return {**processor, "special_tokens": specials}
    if kind != "ByteLevel":
        raise UnsupportedModel(f"tokenizer: post-processor {kind}; trimming knows ByteLevel and TemplateProcessing")
    return processor


def _save_tokenizer(language: LanguageModel, backend: Tokenizer, folder: Path) -> None:
    """As a generic fast tokenizer: the classes of single models rebuild their vocabulary and would bring back what was dropped."""
    old = language.tokenizer
    named = {name: str(value) for name, value in old.special_tokens_map.items() if isinstance(value, str)}
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=old.model_max_length, **named)  # type: ignore[no-untyped-call]
    fast.chat_template = getattr(old, "chat_template", None)
    fast.save_pretrained(folder)


def _num_params(model: PreTrainedModel) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
