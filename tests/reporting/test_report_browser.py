"""The page in a real Chromium: scripts, keyboard, phones, light and dark, and axe-core's rules."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bottleneck as bn
from tests.helpers.pages import noisy_cache, noisy_head, noisy_images

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

OPEN_ALL = """
document.querySelectorAll("details").forEach((node) => { node.name = ""; node.open = true; });
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to open a page with")


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers run as root, where Chromium has no sandbox; the page is our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    images = noisy_images(folder)
    cache = noisy_cache(images, folder / "cache")
    head = noisy_head(cache, folder / "head.safetensors")
    return bn.report(cache, head, folder / "report.html", images=images).path


@pytest.fixture(scope="module")
def window(browser: "Browser") -> "Iterator[tuple[Page, list[str]]]":
    """A window, and what is said and asked for in it: each new one takes a process."""
    said: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    yield page, said
    page.close()


@pytest.fixture
def page(window: "tuple[Page, list[str]]", report: Path) -> "Iterator[Page]":
    """The page, just loaded; a word in the console, or a request, is an error."""
    page, said = window
    said.clear()
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    page.goto("about:blank")  # a link to a part of the page would be followed without loading it
    page.goto(report.as_uri())
    yield page
    assert [
        line for line in said if not line.startswith(("data:", "about:blank", report.as_uri()))
    ] == []


def column(page: "Page", number: int) -> list[str]:
    return page.locator(f"#classes tbody tr > :nth-child({number})").all_inner_texts()


def test_a_table_is_sorted_by_click_and_by_keyboard(page: "Page") -> None:
    button = page.locator("#classes th button", has_text="recall")
    header = page.locator("#classes th", has_text="recall")
    before = [float(text.rstrip("%")) for text in column(page, 4)]
    assert len(set(before)) == 3
    button.click()
    assert [float(text.rstrip("%")) for text in column(page, 4)] == sorted(before, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    button.focus()
    page.keyboard.press("Enter")
    assert [float(text.rstrip("%")) for text in column(page, 4)] == sorted(before)
    assert header.get_attribute("aria-sort") == "ascending"
    first = page.locator("#classes th button").first
    first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert page.locator("#classes th[aria-sort='descending']").inner_text().startswith("class")
    assert column(page, 1) == ["wésps", 'a "b" & c', "<script>alert('x')</script>"]


MANY_CLASSES = """
const body = document.querySelector("#classes tbody");
for (let i = 0; i < 300; i++) body.append(body.rows[i % 3].cloneNode(true));
"""


def test_a_long_table_scrolls_by_itself_below_its_header(page: "Page") -> None:
    from playwright.sync_api import expect

    page.evaluate(MANY_CLASSES)
    table, last = page.locator("#classes .wide"), page.locator("#classes tbody tr").last
    expect(last).not_to_be_in_viewport()
    table.focus()
    page.keyboard.press("End")
    expect(last).to_be_in_viewport()
    height, header = table.evaluate(  # at one moment: the page may still scroll
        """node => {
            const inside = node.getBoundingClientRect();
            const header = node.querySelector("th").getBoundingClientRect();
            return [inside.height, header.top - inside.top];
        }"""
    )
    assert height < 900  # of the window
    assert header == pytest.approx(0, abs=1)
    page.emulate_media(media="print")
    whole = table.evaluate("node => [node.clientHeight, node.scrollHeight]")
    page.emulate_media(media="screen")
    assert whole[0] == whole[1]


@pytest.mark.parametrize("key", ["", "Enter"])
def test_a_cell_opens_its_images_and_no_others(page: "Page", key: str) -> None:
    links = page.locator("#confusion .matrix a")
    assert page.locator("#confusion .cells img:visible").count() == 0
    for link in (links.nth(1), links.nth(0)):
        if key:
            link.focus()
            page.keyboard.press(key)
        else:
            link.click()
        cell = page.locator(f"details:has({link.get_attribute('href')})")
        cell.locator("img").first.wait_for(state="visible")
        assert page.locator("#confusion details[open]").count() == 1
        assert cell.locator("summary").evaluate("node => node === document.activeElement")
        loaded = cell.locator("img").evaluate_all(
            "nodes => nodes.every((node) => node.complete && node.naturalWidth > 0)"
        )
        assert loaded
        shown = int(link.inner_text())
        assert cell.locator("img").count() == min(shown, 12)


def test_a_link_to_a_cell_opens_it_without_our_script(browser: "Browser", report: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    page.locator("#confusion .matrix a").first.click()
    page.locator("#confusion .cells img").first.wait_for(state="attached")
    assert page.locator("#confusion details[open] img:visible").count() > 0
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_light_and_in_dark(page: "Page", scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 360, "height": 740})  # where tables scroll
    page.evaluate(OPEN_ALL)
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    checked = {rule["id"] for rule in found.response["passes"]}
    assert {"color-contrast", "image-alt", "svg-img-alt", "scrollable-region-focusable"} <= checked


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_of_charts_stand_out_from_the_page(page: "Page", scheme: str) -> None:
    """WCAG 2.2, 1.4.11: three to one, which axe-core does not check for drawings."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    paper = page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor")
    for kind, property_ in (
        ("dot", "fill"),
        ("error", "stroke"),
        ("ring", "stroke"),
        ("bar", "fill"),
        ("diagonal", "stroke"),
        ("curve", "stroke"),
    ):
        colour = page.locator(f".chart .{kind}").first.evaluate(
            f"node => getComputedStyle(node).{property_}"
        )
        assert contrast(colour, paper) >= 3, (kind, colour, paper)


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances, as WCAG 2.2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_page_is_no_wider_than_a_phone(page: "Page") -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    letters = page.locator(".chart text").first.evaluate(
        "node => parseFloat(getComputedStyle(node).fontSize) * node.getScreenCTM().a"
    )
    assert letters >= 9  # pixels


def test_everything_is_reached_with_tab(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.tagName + document.activeElement.className"))
    assert {"DIVwide", "BUTTON", "A", "SUMMARY", "PRE"} <= seen
