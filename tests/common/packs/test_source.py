from pathlib import Path

import boto3
import pytest

from common.errors import ConfigError
from common.packs.load import load_pack
from common.packs.source import MAX_BYTES, located, shipped


@pytest.fixture
def shop(bucket: str):
    """A bucket of that name."""
    client = boto3.client("s3")
    client.create_bucket(Bucket="shop")
    return client


def test_a_pack_in_a_bucket_is_read_like_one_in_a_folder(shop) -> None:
    lexicon = (shipped("shop").path / "lexicon.yaml").read_text(encoding="utf-8").replace("首选", "首推", 1)
    shop.put_object(Bucket="shop", Key="packs/my-shop/pack.yaml", Body=b"extends: shop\n")
    shop.put_object(Bucket="shop", Key="packs/my-shop/lexicon.yaml", Body=lexicon.encode())
    pack = load_pack("s3://shop/packs/my-shop")
    assert pack.name == "my_shop"
    assert pack.facts.digest == load_pack("shop").facts.digest
    assert pack.policy_version != load_pack("shop").policy_version


def test_a_mistake_in_a_bucket_is_named_with_its_uri_and_line(shop) -> None:
    lexicon = (shipped("shop").path / "lexicon.yaml").read_text(encoding="utf-8").replace("level: block", "level: forbid", 1)
    shop.put_object(Bucket="shop", Key="mine/pack.yaml", Body=b"extends: shop\n")
    shop.put_object(Bucket="shop", Key="mine/lexicon.yaml", Body=lexicon.encode())
    line = next(number for number, text in enumerate(lexicon.splitlines(), 1) if "level: forbid" in text)
    with pytest.raises(ConfigError, match=rf"s3://shop/mine/lexicon.yaml:{line}: rules.0.level"):
        load_pack("s3://shop/mine/")
    with pytest.raises(ConfigError, match=r"s3://shop/nothing/controls.yaml: no such file"):
        load_pack("s3://shop/nothing")


def test_a_pack_from_outside_bears_a_name_of_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "shop"
    mine.mkdir()
    (mine / "pack.yaml").write_text("extends: shop\n")
    with pytest.raises(ConfigError, match="name: got 'shop', a pack that ships here"):
        load_pack(mine)
    (mine / "pack.yaml").write_text("name: corner_shop\nextends: shop\n")
    assert load_pack(mine).name == "corner_shop"
    (mine / "pack.yaml").write_text("name: corner_shop\nextends: books\n")
    with pytest.raises(ConfigError, match="extends: got 'books'; expected one of"):
        load_pack(mine)


def test_a_file_that_no_person_wrote_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text("extends: shop\n")
    (tmp_path / "lexicon.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=f"lexicon.yaml: {MAX_BYTES + 1} bytes; expected at most {MAX_BYTES}"):
        load_pack(tmp_path)


def test_workers_find_a_pack_where_the_command_was_given(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("mine") == str(tmp_path / "mine")
    assert located("shop") == "shop"
    assert located("s3://shop/mine") == "s3://shop/mine"


@pytest.mark.parametrize(("name", "meant"), [("lexicn.yaml", "lexicon.yaml"), ("lexicon.yml", "lexicon.yaml")])
def test_a_misnamed_part_is_refused_since_the_shipped_one_would_stand_for_it(tmp_path: Path, name: str, meant: str) -> None:
    (tmp_path / "pack.yaml").write_text("name: mine\nextends: shop\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("ours", encoding="utf-8")
    load_pack(tmp_path)
    (tmp_path / name).write_text("rules: []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{name}: no part of a pack; did you mean {meant}"):
        load_pack(tmp_path)
