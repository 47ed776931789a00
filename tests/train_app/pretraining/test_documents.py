"""Documents are the prompt's own blocks with text that holds to them, and no reason is among them."""

from itertools import islice

import pytest

from common.domain.controls import Control, ControlValue, ControlVocabulary
from common.language.prompt import CUE
from train_app.pretraining.documents import DESCRIPTION, POINTS, REVIEW, STYLE_CHARS, Document, common_characters, documents
from train_app.sample_shop.catalogue import newcomer_brands, pretraining_texts
from train_app.sample_shop.grammar.clauses import load_grammar

VOCABULARY = ControlVocabulary(
    controls=(
        Control(name="topic", word="主题", values=(ControlValue(name="quality", word="品质"), ControlValue(name="value", word="性价比"))),
        Control(name="style", word="风格", values=(ControlValue(name="concise", word="简洁"), ControlValue(name="detailed", word="详细"))),
    )
)


def made(seed: int, num: int = 400) -> list[Document]:
    return list(documents(islice(pretraining_texts(seed, 1000), num), vocabulary=VOCABULARY, seed=seed))


@pytest.fixture(scope="module")
def some() -> list[Document]:
    return made(5)


def test_the_same_seed_gives_the_same_documents(some: list[Document]) -> None:
    assert made(5) == some
    assert made(6) != some


def test_every_kind_occurs_and_blocks_are_the_prompts_own(some: list[Document]) -> None:
    cues = [document.blocks[-1][-4:] for document in some]
    assert {DESCRIPTION, REVIEW, POINTS, CUE} == set(cues)
    assert all(document.blocks[-2].startswith("【商品】") and document.blocks[-2].endswith("\n") for document in some)
    with_user = [document for document in some if document.blocks[0].startswith("【用户】")]
    assert 0.7 < len(with_user) / len(some) < 1.0


def test_what_is_called_copied_stands_in_the_blocks_word_for_word(some: list[Document]) -> None:
    values = [(document, document.text[start:end]) for document in some for start, end in document.copied]
    assert len(values) > 300
    for document, value in values:
        blocks = "".join(document.blocks).replace(" ", "")
        assert value in blocks or value.removesuffix("分") in blocks, value


def test_codes_under_the_prompts_cue_are_read_off_the_text(some: list[Document]) -> None:
    topics = {"品质": load_grammar().free["quality_end"], "性价比": load_grammar().free["value_end"]}
    seen = set()
    for document in some:
        if document.blocks[-1].endswith(CUE):
            style = [word for word, name in (("简洁", "concise"), ("详细", "detailed")) if _within(document.text, STYLE_CHARS[name])]
            asked = document.blocks[-1].removeprefix("【要求】主题:").split("｜")[0]
            assert document.blocks[-1] == f"【要求】主题:{asked}｜风格:{style[0] if style else '不限'}\n【理由】"
            told = {topic for topic, words in topics.items() if any(word in document.text for word in words)}
            assert asked == "不限" or asked in told
            seen.add(asked)
    assert seen == {"不限", *topics}


def _within(text: str, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= len(text) <= bounds[1]


def test_brands_that_only_the_test_set_may_know_are_never_read(some: list[Document]) -> None:
    everything = "\n".join("".join(document.blocks) + document.text for document in some)
    fields = [line.split("品牌:")[1].split("｜")[0] for line in everything.splitlines() if "品牌:" in line]
    assert fields
    assert not set(fields) & newcomer_brands()


def test_gb2312_level_one_has_3755_characters() -> None:
    characters = common_characters()
    assert len(set(characters)) == len(characters) == 3755
    assert (characters[0], characters[-1]) == ("啊", "座")
