"""Pictures of reports and of the site at four widths, light and dark, and what is wrong with them:

    python docs/tools/screens.py FOLDER PAGE.html [PAGE.html …]

For each page it opens what is folded, writes FOLDER/PAGE-WIDTH-THEME.png, and prints every element that leaves the
window, every label that lies on another or leaves its picture, and every table that scrolls without showing it. Ends
with 1 where there is any.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

__all__ = ["CLIPPED", "OVERLAPS", "WITHOUT_CUE", "faults_of"]

WIDTHS = (390, 1000, 1400, 1920)
THEMES = ("light", "dark")
_HIGHEST = 12_000  # pixels of a picture
OVERLAPS = """() => {
    const found = [];
    for (const svg of document.querySelectorAll("svg.chart, svg.plot")) {
        const frame = svg.getBoundingClientRect();
        const boxes = [...svg.querySelectorAll("text")].filter((each) => each.textContent.trim())
            .map((each) => [each.textContent, each.getBoundingClientRect()]);
        boxes.forEach(([text, a], k) => {
            const inside = a.left > frame.left - 1 && a.right < frame.right + 1;
            if (!inside || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
                found.push(`${text} leaves its picture`);
            // Letters fill about two thirds of the height of their box.
            for (const [other, b] of boxes.slice(k + 1)) {
                const dx = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const dy = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (dx > 1 && dy > 0.34 * Math.min(a.height, b.height)) found.push(`${text} lies on ${other}`);
            }
        });
    }
    return found;
}"""
_SCROLLS = """(each) => {
    for (let box = each; box && box !== document.body; box = box.parentElement)
        if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return true;
    return false;
}"""
CLIPPED = f"""() => [...document.querySelectorAll("h1, h2, h3, p, dt, dd, li, th, td, svg, img, pre, summary")]
.filter((each) => {{
    const box = each.getBoundingClientRect();
    if (!box.width || each.closest("defs, symbol, .unseen, aside, [aria-hidden]")) return false;
    return !({_SCROLLS})(each) && (box.left < -1 || box.right > innerWidth + 1);
}}).map((each) => each.tagName + " " + each.textContent.trim().slice(0, 60))"""
WITHOUT_CUE = """() => [...document.querySelectorAll(".scroll")].filter((each) =>
    each.scrollWidth > each.clientWidth + 1
    && (!getComputedStyle(each).backgroundImage.includes("gradient") || each.tabIndex !== 0))
    .map((each) => (each.getAttribute("aria-label") || each.textContent.trim()).slice(0, 60))"""


def faults_of(page: Any, width: int) -> list[str]:
    """Return what is wrong with a page that is open at a width."""
    found = [f"clipped: {each}" for each in page.evaluate(CLIPPED)]
    found += [f"overlap: {each}" for each in page.evaluate(OVERLAPS)]
    found += [f"scrolls without a cue: {each}" for each in page.evaluate(WITHOUT_CUE)]
    wide = page.evaluate("document.documentElement.scrollWidth")
    return found + ([f"the page scrolls sideways: {wide} of {width} pixels"] if wide > width else [])


def main() -> int:
    """Write the pictures, print the faults."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder, pages = Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]]
    folder.mkdir(parents=True, exist_ok=True)
    n_faults = 0
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for path in pages:
            for width in WIDTHS:
                for theme in THEMES:
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
                    page.goto(path.resolve().as_uri())
                    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                    # What is far below the window is not drawn until it comes into sight.
                    for _ in range(2):
                        height = min(page.evaluate("document.documentElement.scrollHeight"), _HIGHEST)
                        page.set_viewport_size({"width": width, "height": height})
                    picture = folder / f"{path.stem}-{width}-{theme}.png"
                    page.screenshot(path=picture)
                    faults = faults_of(page, width)
                    page.close()
                    n_faults += len(faults)
                    print(f"{picture}: {len(faults)} faults")
                    for each in dict.fromkeys(faults):
                        print(f"    {each}")
        browser.close()
    return 1 if n_faults else 0


if __name__ == "__main__":
    sys.exit(main())
