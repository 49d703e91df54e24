"""The page in Chromium: a click through it, without a request or an error, on a phone, and in the dark."""

import os

import pytest
from playwright.sync_api import sync_playwright
from test_page import folder, page_of

import browser

__all__ = ["folder"]


@pytest.fixture(scope="module")
def chromium():
    path = browser.find()
    if path is None and "CI" not in os.environ:
        pytest.skip("no Chromium on this machine; `python tests/browser.py` installs one")
    assert path, "no Chromium; continuous integration installs one by `python tests/browser.py`"
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Visit:
    """An open page, with what it asked for and complained about."""

    def __init__(self, chromium, file, **options):
        self.page = chromium.new_page(**options)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(file.as_uri())


@pytest.fixture
def visit(chromium, folder):
    def visit(**options):
        page_of(folder)
        return Visit(chromium, folder / "page.html", **options)

    return visit


def test_a_click_through_the_page(visit, folder):
    visited = visit()
    page = visited.page
    cards = page.locator("section.query")
    assert cards.count() == 2
    assert cards.first.locator(".row").count() == 2  # signed: highest and lowest
    page.select_option("#method", "two")
    assert cards.first.locator(".row").count() == 1
    assert cards.first.locator(".row button").count() == 3

    page.fill("#search", "nothing has this")
    assert page.locator("#found").inner_text() == "0 images match"
    assert page.locator(".row button:not(.other)").count() == 0
    page.fill("#search", "4.PNG")
    assert page.locator(".row button:not(.other)").count() == int(page.locator("#found").inner_text()[0])
    page.fill("#search", "")

    first = cards.first.locator(".row button").first
    first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    assert "rank\n1\n" in dialog.inner_text()
    image = first.locator("img").get_attribute("alt").partition(",")[0]  # training image 3
    alike = page.locator(f".row:first-of-type button img[alt^='{image},']")
    assert f"among the highest of\n{alike.count()} of 2 pictures" in dialog.inner_text()
    shown = dialog.locator("img")
    assert shown.get_attribute("src") == first.locator("img").get_attribute("src")
    assert shown.evaluate("image => image.complete && image.naturalWidth") == 6
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert visited.complaints == []
    assert [url for url in visited.requests if not url.startswith("data:")] == [
        (folder / "page.html").as_uri()
    ]


def test_a_phone_needs_no_scrolling_to_the_side(visit):
    page = visit(viewport={"width": 360, "height": 740}).page
    wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide == [360, 360]


def test_the_dark_is_dark(visit):
    grounds = [
        visit(color_scheme=scheme).page.evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]
