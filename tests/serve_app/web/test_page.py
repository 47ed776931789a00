"""The page in a real Chromium (Debian's, installed where it is missing and may be): what a shop's employee does, sees and is told."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect, sync_playwright

from common.contract.takedown import Standing, Takedown
from common.errors import Overloaded, RateLimited, Unavailable

TAKEN_DOWN = Standing().after([Takedown(kind="product", value="p1", by="law", at=datetime(2026, 1, 1, tzinfo=UTC))])
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if shutil.which("chromium") is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            pytest.skip("chromium is absent and cannot be installed here; the page's tests did not run")
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        command = ["apt-get", "install", "-qq", "--no-install-recommends", "chromium"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        yield browser
        browser.close()


@dataclass
class Visit:
    """The page, and what a visit leaves behind."""

    page: Page
    url: str
    noise: list[str] = field(default_factory=list)
    """what stands in the console, what a script failed with, what the policy stopped"""
    hosts: set[str] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    """statuses from 400 on, which a test takes out as it expects them"""
    asked: list[dict[str, Any]] = field(default_factory=list)
    """bodies of requests for reasons"""

    def card(self, title: str) -> Locator:
        return self.page.get_by_role("article").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    def search(self, words: str) -> None:
        self.page.get_by_role("searchbox").fill(words)
        self.page.get_by_role("searchbox").press("Enter")

    def done(self) -> None:
        expect(self.page.locator("#status")).to_have_text(re.compile("用时|reasons in"))


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Whatever a visit does: nothing in the console, no script that failed, nothing that the policy stopped, and no other host."""
    visits: list[Visit] = []

    def open_page(url: str, **context: Any) -> Visit:
        page = browser.new_context(**{"locale": "zh-CN", "viewport": {"width": 1280, "height": 900}} | context).new_page()
        page.set_default_timeout(PATIENCE_MS)
        visit = Visit(page, url)
        page.on("console", lambda message: visit.noise.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: visit.noise.append(str(error)))
        page.on("request", lambda request: visit.hosts.add("/".join(request.url.split("/")[:3])))
        page.on("request", lambda request: visit.asked.append(request.post_data_json) if request.url.endswith("/v1/reasons") else None)
        page.on("response", lambda response: visit.refused.append(response.status) if response.status >= 400 else None)
        page.goto(f"{url}/")
        visits.append(visit)
        return visit

    yield open_page
    for visit in visits:
        assert (visit.refused, visit.hosts) == ([], {visit.url})
        assert [line for line in visit.noise if not line.startswith("Failed to load resource")] == []
        visit.page.context.close()


@pytest.fixture
def visit(shop: Any, open_page: Callable[..., Visit]) -> Visit:
    """With two products."""
    visit = open_page(shop.url)
    visit.search("耳机")
    expect(visit.page.get_by_role("article")).to_have_count(2)
    visit.done()
    return visit


def test_products_are_searched_and_more_of_them_follow(visit: Visit) -> None:
    assert visit.page.url.endswith("/demo/")
    visit.search("云朵 30小时")
    visit.done()
    assert visit.page.get_by_role("article").count() == 1
    card = visit.card("静音蓝牙耳机")
    expect(card).to_contain_text("¥299.00")
    expect(card).to_contain_text("品牌 云朵")
    expect(card.locator(".text")).to_have_text("😀云朵这款蓝牙耳机续航30小时，只要299元，用得上。")
    expect(card.locator(".labels")).to_have_text("模型写的AI生成")
    visit.search("台灯")
    expect(visit.page.get_by_role("article")).to_have_count(8)
    visit.page.get_by_role("button", name="更多商品").press("Enter")
    expect(visit.page.get_by_role("article")).to_have_count(11)
    expect(visit.page.get_by_role("article").nth(8).get_by_role("heading", level=2)).to_be_focused()
    expect(visit.page.locator(".text")).to_have_count(11)
    expect(visit.page.get_by_role("button", name="更多商品")).to_be_hidden()
    assert [len(page["items"]) for page in visit.asked[-2:]] == [8, 3], "who has a reason is not asked about again"
    visit.search("没有这样的东西")
    expect(visit.page.locator("#status")).to_have_text("没有找到商品。换个词试试。")


def test_cards_fill_one_by_one_as_their_lines_come(shop: Any, visit: Visit) -> None:
    visit.search("跑鞋")
    expect(visit.page.get_by_role("article")).to_have_count(1)
    visit.done()
    shop.held = True
    visit.search("耳机")
    expect(visit.page.get_by_role("article")).to_have_count(2)
    expect(visit.page.locator(".text")).to_have_count(1)
    expect(visit.page.locator("#status")).to_have_text("正在写：1/2")
    assert visit.page.locator("article[aria-busy=true]").count() == 1
    expect(visit.page.locator("article[aria-busy=true]")).to_contain_text("正在写这条理由…")
    assert visit.page.locator("#status").get_attribute("role") == "status"
    shop.held = False
    expect(visit.page.locator(".text")).to_have_count(2)
    expect(visit.page.locator("#status")).to_have_text(re.compile(r"2 条，用时 \d+\.\d 秒：模型 2，缓存 0，模板 0，没有理由 0。"))
    assert visit.page.locator("[aria-busy]").count() == 0


def test_switches_say_what_is_asked_and_reasons_follow(visit: Visit) -> None:
    page, text = visit.page, visit.card("静音蓝牙耳机").locator(".text")
    visit.search("蓝牙耳机")
    visit.done()
    assert (visit.asked[-1]["controls"], visit.asked[-1]["personalise"], "user" in visit.asked[-1]) == ({}, True, False)
    page.get_by_label("风格").select_option("详细")
    expect(text).to_contain_text("通勤路上一直有歌听")
    assert visit.asked[-1]["controls"] == {"style": "detailed"}
    page.get_by_label("风格").select_option("不要求")
    expect(text).not_to_contain_text("通勤路上")
    assert visit.asked[-1]["controls"] == {"style": None}
    page.get_by_label("风格").select_option("自动")
    page.get_by_label("用户", exact=True).select_option("u-much · 9 个事件")
    expect(text).to_have_text("看过轻云跑鞋的你，跑步时配这副云朵蓝牙耳机正合适。")
    assert (visit.asked[-1]["controls"], visit.asked[-1]["user"]) == ({}, {"user_id": "u-much"})
    expect(page.locator("#past")).to_have_text("看过 轻云跑鞋")
    page.get_by_label("使用用户的历史和偏好").uncheck()
    expect(text).not_to_contain_text("看过")
    assert visit.asked[-1]["personalise"] is False
    expect(page.locator("#past")).to_have_text("没有历史：理由只谈商品。")
    with page.expect_request("**/v1/reasons") as asked:
        page.get_by_label("时限").select_option("3 s")
    assert asked.value.headers["x-deadline-ms"] == "3000"


def test_why_shows_each_fact_in_its_place_the_checks_and_how_it_was_made(visit: Visit) -> None:
    card = visit.card("静音蓝牙耳机")
    expect(card.locator("section.why")).to_be_hidden()
    card.get_by_role("button", name="为什么是这条？").click()
    assert card.locator("mark").all_text_contents() == ["云朵", "蓝牙", "30小时", "299元"], "an emoji before them moves no mark"
    assert card.locator("section.why ol li").all_text_contents() == [
        "云朵 依据商品属性「品牌」：云朵",
        "蓝牙 依据商品标题：静音蓝牙耳机",
        "30小时 依据商品属性「续航」：30小时",
        "299元 依据商品价格：299.00 CNY",
    ]
    why = card.locator("section.why")
    for told in ("0.90", "事实 通过", "合规 通过", "生成轮数：1", "生产者 small shop"):
        expect(why).to_contain_text(told)
    visit.page.get_by_label("用户", exact=True).select_option("u-once · 1 个事件")
    expect(why).to_contain_text("看过轻云跑鞋 依据用户最近看过：轻云跑鞋")


def test_a_template_is_called_one_and_says_why_it_stands_there(visit: Visit) -> None:
    visit.search("保温杯")
    visit.done()
    card = visit.page.get_by_role("article")
    expect(card.locator(".labels")).to_have_text("模板（人写的）为何用模板：没有候选通过检查")
    card.get_by_role("button", name="为什么").click()
    expect(card).to_contain_text("判别器没有评分")
    expect(card).to_contain_text("AI 标识：不是 AI 生成")


def test_what_was_signed_is_valid_and_a_changed_character_makes_it_not(visit: Visit) -> None:
    card = visit.card("静音蓝牙耳机")
    card.get_by_role("button", name="验证 静音蓝牙耳机").click()
    result = card.locator(".result")
    expect(result).to_have_text(re.compile(r"^有效：.*有效期到 \d{4}-\d\d-\d\d \d\d:\d\d。$"))
    box = card.get_by_role("textbox")
    box.fill(box.input_value().replace("299", "199"))
    expect(result).to_have_text("文字改过了，还没有验证。")
    card.get_by_role("button", name="验证这段文字").click()
    expect(result).to_have_text(re.compile("^无效：这不是签发的内容"))
    expect(card.locator(".text")).to_contain_text("299元"), "what is shown is not what is tried"
    card.get_by_role("button", name="恢复原文").click()
    expect(result).to_have_text(re.compile("^有效"))


def test_a_verification_that_comes_late_says_nothing_of_another_text(visit: Visit) -> None:
    held: list[Route] = []
    visit.page.route("**/v1/reasons:verify", lambda route: held.append(route))
    card = visit.card("静音蓝牙耳机")
    card.get_by_role("button", name="验证 静音蓝牙耳机").click()
    expect(card.locator(".result")).to_have_text("正在验证…")
    card.get_by_role("textbox").fill("改过了。")
    with visit.page.expect_response("**/v1/reasons:verify") as answer:
        held[0].continue_()
    answer.value.finished()
    visit.page.unroute("**/v1/reasons:verify")
    visit.page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    expect(card.locator(".result")).to_have_text("文字改过了，还没有验证。")
    card.get_by_role("button", name="恢复原文").click()
    expect(card.locator(".result")).to_have_text(re.compile("^有效"))


def test_verify_tells_what_was_taken_down_and_what_is_past_its_time(shop: Any, visit: Visit) -> None:
    card = visit.card("静音蓝牙耳机")
    shop.standing = TAKEN_DOWN
    card.get_by_role("button", name="验证 静音蓝牙耳机").click()
    expect(card.locator(".result")).to_have_text(re.compile("^已下架"))
    shop.standing, shop.later_s = Standing(), 3600 + 301
    card.get_by_role("button", name="验证这段文字").click()
    expect(card.locator(".result")).to_have_text(re.compile("^已过期"))


UNTOLD = """() => [...document.querySelectorAll('body *')].filter((it) => !it.closest('[lang]:not(html)')).flatMap((it) =>
    [...it.childNodes].filter((part) => part.nodeType === 3 && /\\p{Script=Han}/u.test(part.data)).map((part) => part.data))"""
"""Chinese text of which a screen reader is not told that it is."""


def test_the_language_of_the_page_changes_and_reasons_stay(visit: Visit) -> None:
    page, card = visit.page, visit.card("静音蓝牙耳机")
    card.get_by_role("button", name="为什么是这条？").click()
    text = card.locator(".text").inner_text()
    page.get_by_role("button", name="English").click()
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("button", name="English").get_attribute("aria-pressed") == "true"
    expect(card.get_by_role("button", name="Why this reason? 静音蓝牙耳机")).to_be_visible()
    expect(card.locator("section.why")).to_contain_text("the product’s attribute “续航”: 30小时")
    expect(page.get_by_label("style")).to_have_text(re.compile("auto.*none.*concise.*detailed"))
    assert card.locator(".text").inner_text() == text
    assert card.locator(".text").get_attribute("lang") == "zh-Hans"
    assert page.evaluate(UNTOLD) == ["理由 ", "the product’s attribute “品牌”: ", "the product’s attribute “续航”: "]


def test_a_browser_in_another_language_is_met_in_english(shop: Any, open_page: Callable[..., Visit]) -> None:
    visit = open_page(shop.url, locale="de-DE")
    visit.done()
    expect(visit.page.get_by_role("button", name="Search")).to_be_visible()


def test_a_title_that_is_html_is_shown_as_it_stands_and_runs_nothing(visit: Visit) -> None:
    visit.search("<img")
    visit.done()
    heading = visit.page.get_by_role("article").get_by_role("heading", level=2)
    expect(heading).to_have_text("<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> 保温杯")
    assert visit.page.locator("article img, article script").count() == 0
    assert visit.page.title() == "理由 · 推荐理由演示"


def test_even_a_mistake_in_the_page_could_not_turn_text_into_html(visit: Visit) -> None:
    refused = visit.page.evaluate(
        """() => { try { document.body.innerHTML = '<img src=x>'; return null } catch (error) { return error.name } }"""
    )
    assert refused == "TypeError"
    assert "TrustedHTML" in visit.noise.pop()
    expect(visit.page.get_by_role("searchbox")).to_be_visible()


def test_what_is_refused_is_told_in_words_with_its_number_and_nothing_is_lost(shop: Any, visit: Visit) -> None:
    page = visit.page
    visit.search("耳机")
    visit.done()
    shown = page.locator(".text").all_text_contents()
    shop.fail = [RateLimited("key staff: items_per_minute is 60; come again in 7 s", retry_after_s=7), Overloaded("too many pages at once")]
    page.get_by_label("风格").select_option("详细")
    problem = page.get_by_role("alert")
    for told in ("请求太频繁", "items_per_minute is 60", "7 秒后可以再试。", "请求编号 "):
        expect(problem).to_contain_text(told)
    assert re.search(r"请求编号 [0-9a-f]{32}", problem.inner_text())
    assert page.locator(".text").all_text_contents() == shown
    assert page.locator("[aria-busy]").count() == 0
    visit.card("静音蓝牙耳机").get_by_role("button", name="验证 静音蓝牙耳机").click()
    expect(visit.card("静音蓝牙耳机").locator(".result")).to_have_text(re.compile("^有效"))
    page.get_by_role("button", name="再试一次").click()
    expect(problem).to_contain_text("服务器忙")
    page.get_by_role("button", name="再试一次").press("Enter")
    expect(page.locator(".text").filter(has_text="通勤路上一直有歌听")).to_have_count(1)
    expect(problem).to_be_empty()
    assert [(page["controls"], len(page["items"])) for page in visit.asked[-3:]] == [({"style": "detailed"}, 2)] * 3
    assert visit.refused == [429, 503]
    visit.refused.clear()


def test_an_answer_that_breaks_off_keeps_what_came_and_is_asked_for_again(shop: Any, visit: Visit) -> None:
    shop.break_off = Unavailable("generator: it did not answer in time; try again")
    visit.search("台灯")
    expect(visit.page.get_by_role("alert")).to_contain_text("服务暂时不可用")
    assert visit.page.locator(".text").count() == 1
    shop.break_off = None
    visit.page.get_by_role("button", name="再试一次").click()
    expect(visit.page.locator(".text")).to_have_count(8)
    visit.done()


def test_a_server_that_cannot_be_reached_is_said_and_asked_again(visit: Visit) -> None:
    visit.page.context.set_offline(True)
    visit.search("台灯")
    expect(visit.page.get_by_role("alert")).to_contain_text("连不上服务器")
    assert visit.page.locator(".text").count() == 2, "what was there is there"
    visit.page.context.set_offline(False)
    visit.page.get_by_role("button", name="再试一次").click()
    expect(visit.page.locator("#status")).to_contain_text("8 条")
    expect(visit.page.get_by_role("alert")).to_be_empty()


def test_an_item_of_which_nothing_is_said_tells_why_on_its_card(shop: Any, visit: Visit) -> None:
    shop.standing = TAKEN_DOWN
    visit.search("耳机")
    visit.done()
    card = visit.card("静音蓝牙耳机")
    expect(card).to_contain_text("没有理由（taken_down）nothing is said of this product by order 1")
    expect(card.get_by_role("button", name="为什么")).to_be_disabled()
    expect(visit.page.locator("#status")).to_contain_text("没有理由 1")


def test_where_a_key_is_asked_for_the_page_asks_for_it_and_goes_on(guarded_shop: Any, open_page: Callable[..., Visit]) -> None:
    url, key = guarded_shop
    visit = open_page(url)
    expect(visit.page.get_by_role("alert")).to_contain_text("这里要 API 密钥")
    visit.page.get_by_label("API 密钥").fill("lk-wrong")
    visit.page.get_by_label("API 密钥").press("Enter")
    expect(visit.page.get_by_role("alert")).to_contain_text("is not known")
    visit.page.get_by_label("API 密钥").fill(key)
    visit.page.get_by_role("button", name="使用这个密钥").click()
    visit.done()
    assert visit.page.locator(".text").count() == 8
    assert set(visit.refused) == {401}
    visit.refused.clear()


FOCUS = """(what) => {
    const it = document.activeElement, style = getComputedStyle(it);
    return {there: it.matches(what), seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, it: it.outerHTML};
}"""


def focus_on(page: Page, what: str) -> None:
    """By Tab alone, from where the focus is; each stop on the way is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.evaluate(FOCUS, what)
        assert focus["seen"], f"the focus is not to be seen on {focus['it'][:200]}"
        if focus["there"]:
            return
    raise AssertionError(f"{what} is not reached by Tab")


def test_everything_is_done_by_keyboard_alone(shop: Any, open_page: Callable[..., Visit]) -> None:
    visit = open_page(shop.url)
    visit.done()
    page, keys = visit.page, visit.page.keyboard
    keys.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    keys.press("/")
    assert page.evaluate("document.activeElement.id") == "words"
    keys.type("蓝牙/耳机")
    assert page.get_by_role("searchbox").input_value() == "蓝牙/耳机", "a slash in a word is a slash"
    keys.press("Control+a")
    keys.type("蓝牙耳机")
    keys.press("Enter")
    expect(page.get_by_role("article")).to_have_count(1)
    focus_on(page, "#user")
    keys.press("ArrowDown")
    expect(page.locator(".text")).to_contain_text("看过轻云跑鞋")
    focus_on(page, "#personalise")
    keys.press("Space")
    expect(page.locator(".text")).not_to_contain_text("看过轻云跑鞋")
    focus_on(page, "#code-style")
    keys.press("End")
    expect(page.locator(".text")).to_contain_text("通勤路上一直有歌听")
    focus_on(page, "article button[aria-controls$=why]")
    keys.press("Enter")
    expect(page.locator("section.why")).to_be_visible()
    keys.press("Escape")
    expect(page.locator("section.why")).to_be_hidden()
    focus_on(page, "article button[aria-controls$=verify]")
    keys.press("Space")
    expect(page.locator(".result")).to_have_text(re.compile("^有效"))
    focus_on(page, "textarea")
    keys.press("Control+End")
    keys.type("/！")
    focus_on(page, "section.verify button")
    keys.press("Space")
    expect(page.locator(".result")).to_have_text(re.compile("^无效"))
    keys.press("Escape")
    expect(page.locator("section.verify")).to_be_hidden()
    assert page.evaluate("document.activeElement.getAttribute('aria-controls')").endswith("verify"), "closing leads back to what opened"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "words"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.lang") == "en"
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "en")


OPERATED = {"button", "checkbox", "combobox", "link", "searchbox", "textbox", "MenuListPopup", "option"}


@pytest.mark.parametrize("language", ["中文", "English"])
def test_everything_that_is_operated_has_a_name_and_no_two_cards_the_same(visit: Visit, language: str) -> None:
    page = visit.page
    page.get_by_role("button", name=language).click()
    for opener in page.locator("article button[aria-controls]").all():
        opener.click()
    expect(page.locator(".result[data-valid=true]")).to_have_count(2)
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    told = [(one["role"]["value"], one.get("name", {}).get("value", "")) for one in nodes if not one["ignored"]]
    operated = [one for one in told if one[0] in OPERATED and one[0] != "MenuListPopup"]
    assert len(operated) > 30
    assert [role for role, name in operated if not name.strip()] == []
    openers = [name for role, name in told if role == "button" and any(word in name for word in ("为什么", "Why"))]
    assert len(set(openers)) == 2
    assert {"main", "search", "form", "heading", "status", "article", "list"} <= {role for role, _ in told}
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].filter((it) => it.checkVisibility()).map((it) => +it.tagName[1])")
    assert all(after - before <= 1 for before, after in pairwise(levels))


CONTRASTS = """() => {
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const linear = (part) => part <= .03928 * 255 ? part / 255 / 12.92 : ((part / 255 + .055) / 1.055) ** 2.4;
    const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
    const ground = (it) => {
        const colour = parts(getComputedStyle(it).backgroundColor);
        return (colour[3] ?? 1) === 1 || it === document.body ? colour : ground(it.parentElement);
    };
    const speaks = (it) => it.matches('input, textarea') || [...it.childNodes].some((part) => part.nodeType === 3 && part.data.trim());
    return [...document.querySelectorAll('body *')].filter((it) => it.checkVisibility() && !it.disabled && speaks(it)).map((it) => {
        const [light, dark] = [luminance(parts(getComputedStyle(it).color)), luminance(ground(it))].sort((a, b) => b - a);
        return [(light + .05) / (dark + .05), `${it.tagName} ${it.className} ${it.textContent.slice(0, 20)}`];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(shop: Any, visit: Visit, scheme: str) -> None:
    page = visit.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    visit.search("杯")
    visit.done()
    for opener in page.locator("article button[aria-controls]").all():
        opener.click()
    page.get_by_role("textbox").fill("改")
    page.get_by_role("button", name="验证这段文字").click()
    expect(page.locator(".result")).to_have_text(re.compile("^无效"))
    shop.fail = [Overloaded("too many pages at once")]
    page.get_by_label("风格").select_option("详细")
    expect(page.get_by_role("alert")).to_contain_text("服务器忙")
    found = page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [(round(ratio, 1), where) for ratio, where in found if ratio < 4.5] == []
    visit.refused.remove(503)


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_window(shop: Any, open_page: Callable[..., Visit], width: int) -> None:
    visit = open_page(shop.url, viewport={"width": width, "height": 740})
    visit.done()
    visit.search("杯")
    visit.done()
    for opener in visit.page.locator("article button[aria-controls]").all():
        opener.click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_who_wants_no_motion_sees_none(shop: Any, visit: Visit, motion: Any, moves: bool) -> None:
    visit.page.emulate_media(reduced_motion=motion)
    shop.held = True
    visit.search("耳机")
    expect(visit.page.locator("[aria-busy=true]")).to_have_count(1)
    assert bool(visit.page.evaluate("document.getAnimations().length")) == moves
