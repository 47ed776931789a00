import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from common.errors import AlreadyExists, BadInput, UnsupportedModel
from common.language.base_model import LanguageModel, load_base
from common.language.trim import TrimReport, Vocabulary, common_characters, trim

WORDS = [
    "蓝牙",
    "耳机",
    "续航",
    "三十小时",
    "降噪",
    "通勤",
    "安静",
    "good",
    "battery",
    "lasting",
    "跑鞋",
    "轻便",
    "透气",
    "不累脚",
    "，",
    "。",
    " ",
]
RARE = ["extraordinarily", "unbelievable", "衬衫领口", "羽绒服保暖"]
draw = random.Random(0)
PRETRAINING = ["".join(draw.choices(WORDS + RARE, k=12)) for _ in range(600)]
CORPUS = ["".join(draw.choices(WORDS, k=10)) for _ in range(200)]
ROOM = 150
"""Tokens kept beyond what must stay: too few for the corpus."""
SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>", "<unused0>", "<unused1>", "<start_of_turn>"]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [*PRETRAINING, *common_characters()],
        trainers.BpeTrainer(vocab_size=1200, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False),
    )
    return tokenizer


def sentencepiece_like() -> Tokenizer:
    """As Gemma's: spaces as ▁, characters as the alphabet, bytes for what is not in it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = [*SPECIALS, *(f"<0x{value:02X}>" for value in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=len(special) + 900, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(PRETRAINING, trainer)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(data))


def qwen(size: int) -> Qwen2ForCausalLM:
    config = Qwen2Config(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        tie_word_embeddings=False, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return Qwen2ForCausalLM(config)


def gemma(size: int) -> Gemma3ForCausalLM:
    config = Gemma3TextConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, tie_word_embeddings=True, bos_token_id=2, eos_token_id=[1, 6], pad_token_id=0,
    )  # fmt: skip
    return Gemma3ForCausalLM(config)


KINDS: dict[str, tuple[Callable[[], Tokenizer], Callable[[int], torch.nn.Module]]] = {
    "byte-level, untied": (byte_level, qwen),
    "sentencepiece-like, tied": (sentencepiece_like, gemma),
}


class Trimmed:
    """A base before and after, loaded from their folders."""

    def __init__(self, folder: Path, kind: str) -> None:
        make_tokenizer, make_model = KINDS[kind]
        backend = make_tokenizer()
        torch.manual_seed(0)
        # A few rows more than tokens, as many checkpoints have.
        make_model(backend.get_vocab_size() + 5).save_pretrained(folder / "full")
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
        ).save_pretrained(folder / "full")
        self.full = load_base(str(folder / "full"))
        self.required = required_size(self.full)
        self.report: TrimReport = trim(load_base(str(folder / "full")), CORPUS, keep=self.required + ROOM, out=folder / "small")
        self.small = load_base(str(folder / "small"))
        old, new = self.full.tokenizer.get_vocab(), self.small.tokenizer.get_vocab()
        self.kept = {old[token]: number for token, number in new.items()}


def required_size(language: LanguageModel) -> int:
    with pytest.raises(BadInput, match="alone are") as caught:
        trim(language, CORPUS, keep=1, out="/nonexistent/never-written")
    return int(str(caught.value).split("alone are ")[1].split()[0])


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trimmed]:
    return {kind: Trimmed(tmp_path_factory.mktemp("trim"), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def base(request: pytest.FixtureRequest, bases: dict[str, Trimmed]) -> Trimmed:
    return bases[request.param]


def ids(language: LanguageModel, text: str) -> list[int]:
    return language.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def test_logits_over_kept_ids_are_identical(base: Trimmed) -> None:
    text = next(text for text in CORPUS if all(number in base.kept for number in ids(base.full, text)))
    old = ids(base.full, text)
    columns = sorted(base.kept, key=base.kept.__getitem__)
    with torch.no_grad():
        expected = base.full.model(torch.tensor([old]), output_hidden_states=True)
        found = base.small.model(torch.tensor([[base.kept[number] for number in old]]), output_hidden_states=True)
    assert found.logits.shape[-1] == len(base.kept) < base.full.model.config.vocab_size
    heads = (base.full.model.get_output_embeddings().weight[columns], base.small.model.get_output_embeddings().weight)
    assert torch.equal(*heads)
    assert torch.equal(expected.hidden_states[-1], found.hidden_states[-1])
    # The same vectors times the same rows; only the order of the sums is the library's, and follows the width of the matrix.
    torch.testing.assert_close(found.logits[0], expected.logits[0][:, columns], rtol=1e-5, atol=1e-6)


def test_texts_whose_tokens_are_kept_are_cut_as_before(base: Trimmed) -> None:
    whole = [text for text in CORPUS if all(number in base.kept for number in ids(base.full, text))]
    assert 20 < len(whole) < len(CORPUS)
    assert all(ids(base.small, text) == [base.kept[number] for number in ids(base.full, text)] for text in whole)
    assert base.report.texts_all_kept == base.report.texts_same_ids == len(whole)


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=30))
def test_nothing_becomes_unencodable(bases: dict[str, Trimmed], text: str) -> None:
    for base in bases.values():
        encoded = ids(base.small, text)
        unknown = base.small.tokenizer.convert_tokens_to_ids("<unk>")
        assert "<unk>" in text or unknown not in encoded
        before = base.full.tokenizer.backend_tokenizer.decode(ids(base.full, text), skip_special_tokens=False)
        assert base.small.tokenizer.backend_tokenizer.decode(encoded, skip_special_tokens=False) == before


def test_ids_in_the_configuration_follow_the_tokens(base: Trimmed) -> None:
    vocabulary = base.small.tokenizer.get_vocab()
    assert base.small.bos_id in (vocabulary["<bos>"], None)
    assert base.small.eos_id == vocabulary["<eos>"]
    assert base.small.model.config.vocab_size == len(vocabulary) == base.small.model.get_input_embeddings().weight.shape[0]
    ends = base.small.model.generation_config.eos_token_id
    assert ends == ([vocabulary["<eos>"], vocabulary["<start_of_turn>"]] if isinstance(ends, list) else vocabulary["<eos>"])


def test_what_must_stay_stays_and_unused_specials_go(base: Trimmed) -> None:
    vocabulary = base.small.tokenizer.get_vocab()
    assert {"<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>"} <= vocabulary.keys()
    assert not {"<unused0>", "<unused1>"} & vocabulary.keys()
    full = base.full.tokenizer.get_vocab()
    assert {f"<0x{value:02X}>" for value in range(256)} & full.keys() <= vocabulary.keys()
    assert all(character in vocabulary for character in "abcXYZ019" if character in full)


def test_a_tied_head_stays_tied(bases: dict[str, Trimmed]) -> None:
    model = bases["sentencepiece-like, tied"].small.model
    assert model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    model = bases["byte-level, untied"].small.model
    assert model.get_output_embeddings().weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()


def test_the_report_counts_what_it_says(base: Trimmed) -> None:
    report = base.report
    assert report.vocab_after == len(base.kept) <= base.required + ROOM
    assert report.num_required == base.required
    assert report.params_after == sum(parameter.numel() for parameter in base.small.model.parameters()) < report.params_before
    counted = [number for text in CORPUS for number in ids(base.full, text)]
    assert report.corpus_tokens == len(counted)
    assert report.coverage == sum(number in base.kept for number in counted) / len(counted)
    assert report.texts_round_trip == report.num_texts == len(CORPUS)
    assert report.chars_per_token_after <= report.chars_per_token_before
    assert report.num_dropped_kinds == len(set(counted) - base.kept.keys())
    assert all(base.full.tokenizer.get_vocab()[token] not in base.kept for token, _ in report.dropped)


def test_the_processor_writes_the_new_beginning_id(bases: dict[str, Trimmed]) -> None:
    base = bases["byte-level, untied"]
    assert base.small.tokenizer("蓝牙")["input_ids"][0] == base.small.tokenizer.get_vocab()["<bos>"]


def test_pieces_are_those_that_merges_pass_through() -> None:
    vocabulary = {token: number for number, token in enumerate(["a", "b", "c", "d", "ab", "abc", "cd", "abcd"])}
    data = {"vocab": vocabulary, "merges": [["a", "b"], ["c", "d"], ["ab", "cd"], ["ab", "c"]], "type": "BPE", "byte_fallback": True}
    data["vocab"] |= {f"<0x{value:02X}>": 100 + value for value in range(256)}
    parts = Vocabulary({"model": data}, source="test")
    assert parts.pieces("abcd") == {"a", "b", "c", "d", "ab", "cd", "abcd"}
    assert parts.pieces("<0x41>") == {"<0x41>"}


def test_common_characters_are_gb2312_level_1() -> None:
    characters = [character for character in common_characters() if "一" <= character <= "鿿"]
    assert len(characters) == len(set(characters)) == 3755
    assert characters[0] == "啊"
    assert characters[-1] == "座"


def test_room_that_the_corpus_leaves_goes_to_tokens_of_its_characters(base: Trimmed, tmp_path: Path) -> None:
    few = ["蓝牙耳机续航"]
    report = trim(load_base(base.full.source), few, keep=base.required + ROOM, out=tmp_path / "few")
    assert report.vocab_after == base.required + ROOM
    assert report.num_filled > 0
    assert report.texts_same_ids == 1


def test_a_study_may_drop_the_common_characters_too_and_still_write_them_in_bytes(base: Trimmed, tmp_path: Path) -> None:
    report = trim(load_base(str(tmp_path.parent / base.full.source)), CORPUS, keep=base.required, out=tmp_path / "s", characters="corpus")
    small = load_base(str(tmp_path / "s"))
    assert report.num_required < base.required
    assert small.tokenizer.decode(ids(small, "籍贯"), skip_special_tokens=True).strip() == "籍贯"


def test_an_existing_folder_is_not_written_over(base: Trimmed, tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="never written over"):
        trim(base.full, CORPUS, keep=10_000, out=tmp_path)


def test_an_empty_corpus_is_refused(base: Trimmed, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="corpus"):
        trim(base.full, ["", ""], keep=10_000, out=tmp_path / "x")


@pytest.mark.parametrize(
    ("model", "message"),
    [({"type": "Unigram"}, "type Unigram"), ({"type": "BPE", "vocab": {"a": 0}, "merges": []}, "without all 256 bytes")],
)
def test_a_tokenizer_that_cannot_be_trimmed_safely_is_refused(model: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        Vocabulary({"model": model}, source="test")
