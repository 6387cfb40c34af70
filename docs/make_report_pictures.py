"""Draw docs/report.png and docs/report-dark.png: a report of the bundled digits, in Chromium."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

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
    )
    bn.fit(cache, "svm", layers="layer3").head.save(folder / "head.safetensors")
    images = ROOT / "data" / "digits"
    made = bn.report(cache, folder / "head.safetensors", folder / "report.html", images=images)
    print(made)  # noqa: T201
    return made.path


def draw(page: Path) -> None:
    """Draw the beginning of a page in light, and more of it in dark."""
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, scheme, place in (("report", "light", ""), ("report-dark", "dark", _CELL)):
            size = {"width": 1160, "height": 900}
            window = browser.new_page(viewport=size, color_scheme=scheme)
            window.goto(page.as_uri() + place)
            if place:
                window.locator("#confusion").evaluate("node => node.scrollIntoView(true)")
            # Their place is of this machine alone.
            window.locator(".subtitle").evaluate("node => { node.textContent = 'digits.cache' }")
            window.wait_for_timeout(500)
            window.screenshot(path=DOCS / f"{name}.png")
            _reduce(DOCS / f"{name}.png")
        browser.close()


def _reduce(path: Path) -> None:
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        draw(digits_report(Path(folder)))
