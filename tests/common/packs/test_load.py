import shutil
from pathlib import Path

import pytest

import common.packs.load as load
from common.errors import ConfigError
from common.packs.load import load_pack
from common.packs.schema import MeasuredControl

SHOP = Path(load.__file__).parent / "shop"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack of somebody else, outside the package."""
    return Path(shutil.copytree(SHOP, tmp_path / "my-shop"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path.name} has changed: {old!r} is gone"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if text in line)


def test_the_shipped_pack_loads_by_name() -> None:
    pack = load_pack("shop")
    assert pack.name == "shop"
    assert [control.name for control in pack.vocabulary.controls] == ["topic", "emotion", "style"]
    assert pack.vocabulary.word("style", "concise") == "简洁"
    assert len(pack.facts.categories) >= 12
    assert len(pack.lexicon.rules) >= 40


def test_a_folder_outside_the_package_loads_by_its_path(folder: Path) -> None:
    pack = load_pack(folder)
    assert pack.name == "my_shop"
    assert pack.facts.digest == load_pack("shop").facts.digest


def test_the_policy_version_covers_policy_only(folder: Path) -> None:
    before = load_pack(folder)
    edit(folder / "facts.yaml", "澄音", "澄声")
    changed_facts = load_pack(folder)
    assert changed_facts.policy_version == before.policy_version
    assert changed_facts.facts.digest != before.facts.digest
    edit(folder / "lexicon.yaml", "首选", "首推")
    assert load_pack(folder).policy_version != before.policy_version


def test_layout_and_comments_do_not_change_a_digest(folder: Path) -> None:
    path = folder / "lexicon.yaml"
    path.write_text("# a remark\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_pack(folder).policy_version == load_pack("shop").policy_version


@pytest.mark.parametrize(
    ("file", "old", "new", "field", "message"),
    [
        ("facts.yaml", "kind: choice, values: [主动降噪", "kind: colour, values: [主动降噪", "categories.0.attributes.0.kind", "'colour'"),
        ("facts.yaml", "unit: 流明,", "unit: 光年,", "unit", "expected a key of units"),
        ("facts.yaml", '"{n}元出头"', '"元出头"', "price_phrases", "exactly one {n}"),
        ("facts.yaml", "synonyms:\n", "synonyms:\n  不存在的值: [甲]\n", "synonyms.不存在的值", "value of no attribute"),
        ("facts.yaml", "brands:\n", "brandz: []\nbrands:\n", "brandz", "no such field; did you mean brands"),
        ("controls.yaml", "measured_by: length", "measured_by: weight", "controls.2.measured_by", "'weight'"),
        ("controls.yaml", "chars: [18, 30]", "chars: [30, 18]", "controls.2.values.0", "fewest"),
        ("lexicon.yaml", "level: block", "level: forbid", "rules.0.level", "'forbid'"),
        ("lexicon.yaml", "  - id: warned\n", "  - id: negated\n", "contexts", "an id stands twice"),
        ("lexicon.yaml", "scope: [食品, 保健]", "scope: [饮食]", "scope", "'饮食'"),
        ("lexicon.yaml", '"最高级"', '"最高级("', "patterns", "not a regular expression"),
        ("lexicon.yaml", '"最高级"', '"(最{1,9}){1,8}级"', "patterns", "ways from one place; expected at most 100,000"),
        ("lexicon.yaml", '"最高级"', '"最?"', "patterns", "matches the empty text"),
        ("templates.yaml", "{brand}", "{maker}", "facts", "unknown slot maker"),
        ("templates.yaml", "这件商品的参数和", "{title}的参数和", "(whole document)", "expected none"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(folder: Path, file: str, old: str, new: str, field: str, message: str) -> None:
    edit(folder / file, old, new)
    with pytest.raises(ConfigError) as caught:
        load_pack(folder)
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"{folder / file}:")
    assert field in first
    assert message in str(caught.value)


def test_the_line_is_the_one_of_the_field(folder: Path) -> None:
    path = folder / "facts.yaml"
    edit(path, "{key: 功率, kind: quantity, unit: 瓦,", "{key: 功率, kind: amount, unit: 瓦,")
    with pytest.raises(ConfigError, match=f"facts.yaml:{line_of(path, 'kind: amount')}: "):
        load_pack(folder)


def test_the_line_of_what_disagrees_with_another_entry_is_named_too(folder: Path) -> None:
    path = folder / "lexicon.yaml"
    edit(path, "id: platform-persons", "id: platform-contact")
    last = max(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if "id: platform-contact" in line)
    with pytest.raises(ConfigError, match=f"lexicon.yaml:{last}: .*stands twice"):
        load_pack(folder)


def test_a_key_that_stands_twice_is_refused(folder: Path) -> None:
    path = folder / "facts.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "\nsynonyms: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="synonyms: stands twice"):
        load_pack(folder)


def test_a_missing_file_says_which(folder: Path) -> None:
    (folder / "knowledge.yaml").unlink()
    with pytest.raises(ConfigError, match=r"knowledge\.yaml: no such file"):
        load_pack(folder)


def test_an_unknown_pack_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match="expected one of advertisegen, advertising, amazon, content, kobe, shop"):
        load_pack("bookshop")


def test_a_cue_gives_one_value_away() -> None:
    values = [{"name": "a", "word": "甲", "cues": ["好"]}, {"name": "b", "word": "乙", "cues": ["好"]}]
    with pytest.raises(ValueError, match="gives one value away"):
        MeasuredControl.model_validate({"name": "x", "word": "某", "measured_by": "cues", "values": values})


@pytest.mark.parametrize(
    ("category", "parents"),
    [
        ("蓝牙耳机", ("数码",)),
        ("耳机", ("数码",)),
        ("羊毛围巾", ("服饰",)),
        ("鱼油软胶囊", ("保健",)),
        ("咖啡杯", ("家居",)),
        ("零食大礼包", ("食品",)),
        ("奶粉书包", ("服饰", "母婴")),
        ("面包", ("食品",)),
        ("飞船", ()),
    ],
)
def test_categories_belong_to_every_parent_whose_goods_their_name_holds(category: str, parents: tuple[str, ...]) -> None:
    assert load_pack("shop").parents(category) == parents
