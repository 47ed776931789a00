"""Other domains than a shop's goods, as data: those that ship, and one that is a folder of its own and nothing else."""

from datetime import UTC, datetime
from itertools import product as combinations
from pathlib import Path

import pytest

from common.domain.context import BehaviorSummary, Context, ProductMention
from common.domain.money import money
from common.domain.product import Attribute, Product
from common.generation.template import fill_template
from common.language.prompt import build_prompt
from common.packs.load import load_pack
from common.packs.schema import Pack
from common.quality.verdict import Checker


def goods(category: str, title: str, brand: str | None = None, price: float | None = None, **attributes: str) -> Product:
    pairs = {"品牌": brand, **attributes} if brand else attributes
    return Product(
        product_id="p1",
        title=title,
        category=category,
        attributes=tuple(Attribute(key=key, value=value) for key, value in pairs.items() if value),
        price=money(price, "CNY") if price is not None else None,
    )


ARTICLE = goods("文章", "一座老桥的三百年", "长桥夜读", 体裁="深度报道", 题材="历史题材", 字数="3200", 阅读时长="9")
SONG = goods("单曲", "雨停以后", "慢半拍乐队", 曲风="民谣曲风", 语种="国语演唱", 编配="木吉他编配", 时长="4")
EARBUDS = goods("蓝牙耳机", "澄音静听蓝牙耳机", "澄音", 299.0, 降噪="主动降噪", 续航="30")
CASES = [
    ("content", ARTICLE, "这篇文章是深度报道，三千二百字，九分钟读完，长知识。", "这篇文章足有八千字，长知识。"),
    ("content", SONG, "慢半拍乐队的民谣，木吉他编配，睡前听正好放松。", "这首单曲是粤语演唱，睡前听正好放松。"),
    ("advertising", EARBUDS, "主动降噪，续航30小时。", "主动降噪，续航50小时。"),
    ("advertising", EARBUDS, "澄音蓝牙耳机，标价299元。", "全网最低价，仅售99元。"),
]


def codes_of(pack: Pack) -> list[dict[str, str]]:
    return [
        dict(zip((one.name for one in pack.vocabulary.controls), values, strict=True))
        for values in combinations(*([value.name for value in one.values] for one in pack.vocabulary.controls))
    ]


@pytest.mark.parametrize(("name", "item", "true", "false"), CASES)
def test_what_is_known_of_an_item_may_be_said_and_what_is_not_may_not(name: str, item: Product, true: str, false: str) -> None:
    checker = Checker(load_pack(name))
    verdict = checker.judge(true, context=Context(product=item))
    assert verdict.checks_passed, verdict.checks
    assert verdict.evidence()
    assert not checker.judge(false, context=Context(product=item)).checks_passed


@pytest.mark.parametrize(("name", "item"), [("content", ARTICLE), ("content", SONG), ("advertising", EARBUDS)])
def test_under_every_combination_of_codes_a_template_passes_the_checks_of_its_domain(name: str, item: Product) -> None:
    pack = load_pack(name)
    checker = Checker(pack)
    texts = set()
    for codes in codes_of(pack):
        text, verdict = fill_template(Context(product=item, controls=codes), checker=checker)
        assert verdict.checks_passed, (codes, text, verdict.checks)
        texts.add(text)
    assert len(texts) > 10


def test_who_heard_a_song_is_told_so_in_the_words_of_the_domain_and_nobody_else_is() -> None:
    checker = Checker(load_pack("content"))
    heard = BehaviorSummary(last_viewed=ProductMention(product_id="p9", title="林间信号现场专辑", category="专辑", brand="林间信号"))
    text = "听过林间信号，这首单曲也是木吉他编配。"
    assert checker.judge(text, context=Context(product=SONG, behavior=heard)).checks_passed
    assert not checker.judge(text, context=Context(product=SONG)).checks_passed


TRAVEL = {
    "pack.yaml": "name: travel\nextends: shop\n",
    "controls.yaml": """
controls:
  - name: mood
    word: 心情
    measured_by: cues
    values:
      - {name: quiet, word: 清静, cues: [清静, 人少, 慢慢走]}
      - {name: lively, word: 热闹, cues: [热闹, 夜市, 烟火气]}
  - name: style
    word: 风格
    measured_by: length
    values:
      - {name: concise, word: 简洁, chars: [12, 26]}
      - {name: detailed, word: 详细, chars: [30, 70]}
""",
    "facts.yaml": """
categories:
  - name: 民宿
    parent: 旅行
    aliases: [小院]
    attributes:
      - {key: 位置, kind: choice, values: [湖边位置, 山腰位置, 古镇位置]}
      - {key: 房间数, kind: quantity, unit: 间, range: [1, 60]}
brands: [听松小筑]
units: {间: [间, 间房]}
price_phrases: [{phrase: "{n}元", low: 1.0, high: 1.0}]
rating_phrases: [{phrase: "评分{n}", kind: rating}]
history_phrases: [{phrase: "住过{thing}", mention: purchased}]
synonyms: {湖边位置: [湖边]}
""",
    "templates.yaml": """
version: "1"
topics:
  - {id: quiet, text: 想找个清静的地方}
  - {id: lively, text: 想住得热闹些}
facts:
  - {id: spec, text: "这家{category}{spec}"}
  - {id: specs, text: "这家{category}{spec}，{spec2}"}
  - {id: page, text: 房型和照片都写在页面里, follows: true}
closings:
  - {id: quiet, text: 慢慢走，人少也自在}
  - {id: look, text: 点开看看}
last_resort:
  - {id: plain, text: 房型和照片都在页面里，可以点开看看。}
""",
}


def test_a_domain_is_a_folder_and_nothing_else(tmp_path: Path) -> None:
    for file, text in TRAVEL.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    pack = load_pack(tmp_path)
    checker = Checker(pack)
    house = goods("民宿", "听松小筑湖边小院", "听松小筑", 420.0, 位置="湖边位置", 房间数="8")
    stayed = BehaviorSummary(last_purchased=ProductMention(product_id="p9", title="山腰的小院", category="民宿", brand=None))
    for codes in codes_of(pack):
        context = Context(product=house, controls=codes, on=datetime(2026, 11, 30, tzinfo=UTC).date())
        text, verdict = fill_template(context, checker=checker)
        assert verdict.checks_passed, (codes, text)
        prompt = build_prompt(context, vocabulary=pack.vocabulary)
        assert pack.vocabulary.word("mood", codes["mood"]) in prompt.codes
    said = "湖边的小院，一共八间房，人少清静。"
    assert checker.judge(said, context=Context(product=house)).checks_passed
    assert not checker.judge("山腰位置的小院，一共八间房。", context=Context(product=house)).checks_passed
    returning = "住过小院，这家在湖边。"
    assert checker.judge(returning, context=Context(product=house, behavior=stayed)).checks_passed
    assert not checker.judge(returning, context=Context(product=house)).checks_passed
    assert not checker.judge("全国第一的民宿，住了包治失眠。", context=Context(product=house)).checks_passed, "the law holds everywhere"
