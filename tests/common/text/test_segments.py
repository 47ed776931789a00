from hypothesis import given
from hypothesis import strategies as st

from common.text.segments import clauses, ngrams, sentences, share_of_han


@given(st.text(alphabet="轻便，。！ ab\n", max_size=20))
def test_clauses_stand_where_they_say(text: str) -> None:
    for piece, (start, end) in clauses(text):
        assert text[start:end] == piece
        assert piece.strip() == piece != ""


@given(st.text(alphabet="轻便，。！？…”a", max_size=20))
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text


def test_clauses_are_between_marks() -> None:
    assert clauses("轻便，好用！") == [("轻便", (0, 2)), ("好用", (3, 5))]


def test_ngrams_slide_by_one() -> None:
    assert ngrams("四字短语", 2) == ["四字", "字短", "短语"]
    assert ngrams("短", 2) == []


def test_share_of_han_ignores_digits_and_marks() -> None:
    assert share_of_han("续航30小时，够用。") == 1.0
    assert share_of_han("好good") == 0.2
    assert share_of_han("123") == 1.0
