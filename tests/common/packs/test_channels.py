"""channels.yaml: policy that a pack may do without, that it may take from another, and that no bundle can be refused for."""

import shutil
from pathlib import Path

import pytest

import common.packs.load as load
from common.artifacts.digest import canonical_json, sha256_bytes
from common.errors import ConfigError
from common.packs.load import load_pack, under_policy

SHOP = Path(load.__file__).parent / "shop"
CHANNELS = """channels:
  counter:
    description: the screen at the till
    controls: {CODE}
    max_chars: 40
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack of somebody else, of before there were channels."""
    made = Path(shutil.copytree(SHOP, tmp_path / "my-shop"))
    (made / "channels.yaml").unlink()
    return made


def test_the_shop_has_a_list_a_search_a_detail_page_and_a_chat() -> None:
    channels = load_pack("shop").channels.channels
    assert {name: (channel.controls, channel.query) for name, channel in channels.items()} == {
        "list": ({"style": "concise"}, "none"),
        "search": ({"style": "concise"}, "required"),
        "detail": ({"style": "detailed"}, "none"),
        "chat": ({"emotion": "warm"}, "optional"),
    }


def test_a_pack_without_channels_loads_as_ever_and_its_policy_is_the_one_it_was(folder: Path) -> None:
    pack = load_pack(folder)
    assert pack.channels.channels == {}
    of_before = sha256_bytes(canonical_json([pack.lexicon.digest, pack.knowledge.digest, pack.templates.digest]))[:12]
    (folder / "channels.yaml").write_text("channels: {}\n")
    assert load_pack(folder).policy_version == pack.policy_version == of_before


def test_channels_are_policy_and_no_part_of_what_a_bundle_keeps(folder: Path) -> None:
    before = load_pack(folder)
    (folder / "channels.yaml").write_text(CHANNELS.replace("CODE", "style: concise"))
    pack = load_pack(folder)
    assert pack.policy_version != before.policy_version
    assert (pack.controls.digest, pack.facts.digest) == (before.controls.digest, before.facts.digest)


def test_a_pack_that_extends_another_has_its_channels(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text("name: mine\nextends: shop\n")
    assert load_pack(tmp_path).channels == load_pack("shop").channels
    assert [load_pack(name).channels.channels for name in ("kobe", "amazon", "advertisegen")] == [{}, {}, {}]


def test_codes_of_somebody_elses_channels_may_be_unknown_and_an_old_bundle_is_served(tmp_path: Path) -> None:
    controls = (SHOP / "controls.yaml").read_text().replace("name: style", "name: length")
    (tmp_path / "controls.yaml").write_text(controls)
    (tmp_path / "pack.yaml").write_text("name: mine\nextends: shop\n")
    mine = load_pack(tmp_path)
    assert mine.channels == load_pack("shop").channels
    assert under_policy(load_pack("shop"), controls=mine.controls, facts=mine.facts).channels == mine.channels


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("CODE", "mood: good", r"channels\.yaml:4: channels\.counter\.controls\.mood: .*unknown control"),
        ("CODE", "style: loud", r"channels\.yaml:4: .*got 'loud'; expected one of concise, detailed"),
        ("CODE", "style: detailed", r"channels\.yaml:4: .*detailed takes 45 characters; max_chars is 40"),
        ("max_chars: 40", "max_chars: 5", r"channels\.yaml:5: channels\.counter\.max_chars"),
        ("max_chars: 40", "query: perhaps", r"channels\.yaml:5: channels\.counter\.query"),
        ("max_chars: 40", "maxchars: 40", r"maxchars: no such field"),
    ],
)
def test_a_mistake_in_a_packs_own_channels_is_named_with_its_line(folder: Path, old: str, new: str, told: str) -> None:
    (folder / "channels.yaml").write_text(CHANNELS.replace(old, new).replace("CODE", "style: concise"))
    with pytest.raises(ConfigError, match=told):
        load_pack(folder)
