"""`make screenshots`: the storefront page as docs/storefront.md shows it, of the starter bundle over a simulated shop, in chromium."""

import io
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from cluster.local_server import local_server
from common.errors import LiyouError

IMAGES = Path("docs/images")
PORT = 8011
COLOURS = 96
"""Of a picture; with all that there are, it is three times as large."""
PATIENCE_MS = 60_000
WRITTEN = re.compile("用时|reasons in")


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        raise LiyouError("chromium is not on the PATH; `apt-get install chromium fonts-noto-cjk` has it, and the characters")
    IMAGES.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_MS)
    with (
        TemporaryDirectory() as folder,
        local_server(["--demo", "--port", str(PORT)], log=Path(folder) / "serve.log") as ready,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium)
        keep(wide(browser, ready["url"]), "storefront.png")
        keep(narrow(browser, ready["url"]), "storefront-why.png")
        browser.close()


def wide(browser: Browser, url: str) -> bytes:
    """In Chinese, for a user with a past."""
    page = opened(browser, url, locale="zh-CN", width=1280, height=900)
    page.get_by_label("用户", exact=True).select_option(index=1)
    page.get_by_label("风格").select_option("简洁")
    expect(page.locator("#status")).to_have_text(WRITTEN)
    return page.screenshot()


def narrow(browser: Browser, url: str) -> bytes:
    """In English, with what the reason that states most rests on, and what becomes of a signature when its text is changed."""
    page = opened(browser, url, locale="en-GB", width=390, height=1000)
    cards = page.get_by_role("article").all()
    card = max(cards, key=lambda one: one.locator("mark").count())
    card.get_by_role("button", name="Why this reason?").click()
    card.get_by_role("button", name="Verify").click()
    text = card.get_by_role("textbox")
    text.fill(text.input_value() + "！")
    card.get_by_role("button", name="Verify this text").click()
    expect(card.locator(".result[data-valid=false]")).to_be_visible()
    return card.screenshot()


def opened(browser: Browser, url: str, *, locale: str, width: int, height: int) -> Page:
    page = browser.new_page(locale=locale, viewport={"width": width, "height": height}, reduced_motion="reduce")
    page.goto(f"{url}/demo/")
    expect(page.locator("#status")).to_have_text(WRITTEN)
    return page


def keep(picture: bytes, name: str) -> None:
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(IMAGES / name, optimize=True)
    print(f"{IMAGES / name}: {(IMAGES / name).stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
