"""A picture of the top of a report, for a page: python docs/tools/picture.py REPORT.html PICTURE.png [HEIGHT].

Drawn by headless Chromium, the system's or Playwright's own, at the width of a README, and stored in 128 colours.
"""

from __future__ import annotations

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

__all__ = ["photograph"]

_WIDTH = 1180
_HEIGHT = 1100


def photograph(report: Path, picture: Path, height: int = _HEIGHT) -> None:
    """Write the first `height` pixels of a report as PNG."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": height}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        drawn = page.screenshot()
        browser.close()
    Image.open(BytesIO(drawn)).convert("RGB").quantize(128).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    photograph(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
