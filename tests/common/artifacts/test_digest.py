import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.artifacts.digest import canonical_json, file_digests, sha256_bytes, sha256_file, tree_digest
from common.config import Frozen

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Point(Frozen):
    y: int
    x: tuple[int, ...]


def test_sha256_is_the_published_one() -> None:
    assert sha256_bytes(b"") == EMPTY


def test_a_file_larger_than_a_chunk_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9_000
    (tmp_path / "f").write_bytes(data)
    assert sha256_file(tmp_path / "f") == sha256_bytes(data)


def test_canonical_json_does_not_depend_on_key_order_and_keeps_chinese() -> None:
    assert canonical_json({"b": 1, "a": "理由"}) == canonical_json({"a": "理由", "b": 1}) == '{"a":"理由","b":1}'.encode()


def test_canonical_json_of_a_model_is_that_of_its_fields() -> None:
    assert canonical_json(Point(y=1, x=(2, 3))) == b'{"x":[2,3],"y":1}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_cannot_say(value: float) -> None:
    with pytest.raises(ValueError, match="canonical"):
        canonical_json({"a": [{"b": (value,)}]})


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4),
)
def test_tree_digests_are_equal_exactly_when_the_files_are(one: dict[str, str], other: dict[str, str]) -> None:
    assert (tree_digest(one) == tree_digest(other)) == (one == other)


def test_file_digests_name_files_by_their_path_inside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "f").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"1")
    assert file_digests(tmp_path) == {"a": sha256_bytes(b"1"), "b/f": EMPTY}


def test_file_digests_refuse_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(ValueError, match="link"):
        file_digests(tmp_path)
