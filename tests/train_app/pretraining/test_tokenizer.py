"""The starter's tokenizer spells everything, cuts digits and block heads apart, and survives a save."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from train_app.pretraining.tokenizer import END, train_tokenizer

TEXTS = ["【用户】新客\n【商品】声海蓝牙耳机｜类目:蓝牙耳机｜续航:30小时｜价格:299元\n", "这副蓝牙耳机的续航是三十小时，戴着很轻。"] * 20


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, vocab_size=4200)


@given(text=st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=40))
def test_nothing_is_unencodable(text: str, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_digits_stand_alone_and_frequent_words_are_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("299元") == ["2", "9", "9", "元"]
    assert tokenizer.tokenize("｜类目:蓝牙耳机｜续航:3") == ["｜类目:", "蓝牙耳机", "｜续航:", "3"]
    assert tokenizer.tokenize("的蓝牙耳机") == ["的", "蓝牙耳机"]
    assert tokenizer.tokenize("\n【商品】") == ["\n【商品】"]


def test_what_no_token_spells_becomes_bytes(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("鑫🎧") == ["<0xE9>", "<0x91>", "<0xAB>", "<0xF0>", "<0x9F>", "<0x8E>", "<0xA7>"]
    assert len(tokenizer.tokenize("<0x41>")) == 6


def test_the_end_token_is_a_token_only_where_it_is_trusted(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer(END)["input_ids"] == [tokenizer.eos_token_id]
    split = tokenizer(END, split_special_tokens=True)["input_ids"]
    assert tokenizer.eos_token_id not in split
    assert tokenizer.decode(split) == END


def test_saved_and_read_again_it_gives_the_same_ids(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*TEXTS[:2], "鑫🎧 <|end|>"):
        assert again(text, split_special_tokens=True)["input_ids"] == tokenizer(text, split_special_tokens=True)["input_ids"]
    assert again.eos_token == END
