from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from common.text.phrases import PhraseSet

WORDS = st.lists(st.text(alphabet="甲乙丙^-]a", min_size=1, max_size=3), max_size=6)


@given(WORDS, st.text(alphabet="甲乙丙^-]a。", max_size=12))
def test_what_is_found_stands_there_and_overlaps_nothing(words: list[str], text: str) -> None:
    found = PhraseSet(words).find(text)
    assert all(text[hit.start : hit.end] == hit.phrase and hit.phrase in words for hit in found)
    assert all(left.end <= right.start for left, right in pairwise(found))


@given(WORDS, st.text(alphabet="甲乙丙", max_size=12))
def test_nothing_is_missed(words: list[str], text: str) -> None:
    covered = {i for hit in PhraseSet(words).find(text) for i in range(hit.start, hit.end)}
    for word in words:
        start = text.find(word)
        while start >= 0:
            assert covered & set(range(start, start + len(word)))
            start = text.find(word, start + 1)


def test_the_longest_wins() -> None:
    assert [hit.phrase for hit in PhraseSet(["降噪", "主动降噪"]).find("主动降噪和降噪")] == ["主动降噪", "降噪"]


def test_latin_phrases_are_whole_words() -> None:
    assert PhraseSet(["anc"]).find("dance anc，ancient") == PhraseSet(["anc"]).find("      anc，       ")


def test_no_phrases_find_nothing() -> None:
    assert PhraseSet([]).find("任何文字") == []
