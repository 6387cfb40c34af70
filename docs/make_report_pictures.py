"""Draw docs/report.png and docs/report-dark.png: a report of the bundled digits, in Chromium."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import bottleneck as bn

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_COLOURS = 128  # of a picture: a page has few, and its file is a third as large
_CELL = "#cell-4-0"  # nines that were taken for fives


def digits_report(folder: Path) -> Path:
    """Make a report of the digits, as ``make demo`` extracts and fits them."""
    network = ROOT / "data" / "digits_resnet.py"
    cache = bn.extract(
        ROOT / "data" / "digits",
        folder / "digits.cache",
        model=f"{network}:digits_resnet",
        weights=str(network.with_suffix(".safetensors")),
        layers=["layer1", "layer2", "layer3", "layer4"],
        compute=bn.ComputeOptions(precision="float32"),  # as in the README, on any processor
    )
    bn.fit(cache, "svm", layers="layer3").head.save(folder / "head.safetensors")
    images = ROOT / "data" / "digits"
    made = bn.report(cache, folder / "head.safetensors", folder / "report.html", images=images)
    print(made)  # noqa: T201
    return made.path


def draw(page: Path) -> None:
    """Draw the images behind a cell of the matrix in light, and the page's beginning in dark."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 1160, "height": 900}, color_scheme="light")
        window.goto(page.as_uri() + _CELL)
        window.locator("#confusion").evaluate("node => node.scrollIntoView(true)")
        _shoot(window, "report.png")
        window.emulate_media(color_scheme="dark")
        window.goto(page.as_uri())
        window.evaluate("scrollTo(0, 0)")
        _shoot(window, "report-dark.png")
        browser.close()


def _shoot(window: Page, name: str) -> None:
    # The files were made in a folder of no interest.
    window.locator(".subtitle").evaluate("node => { node.textContent = 'digits.cache'; }")
    window.wait_for_timeout(500)  # scrolling is smooth
    window.screenshot(path=DOCS / name)
    with Image.open(DOCS / name) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(DOCS / name, optimize=True)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        draw(digits_report(Path(folder)))
