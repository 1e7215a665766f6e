"""Size of a report and time to open it, for a study of many encoders and targets.

    python benchmarks/report.py [--encoders 100] [--targets 5] [--classes 10] [--keep FOLDER]

One real result, of pictures, is copied for every encoder and target with points of its own, so that nothing compresses
or repeats that would not in a real study. Opening is timed in headless Chromium where Playwright finds one: from the
request to the load event, and until the page has been laid out and drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from transferability.datasets.arrays import picture_arrays
from transferability.encoders.function import FunctionEncoder
from transferability.pipeline import Settings, rank
from transferability.ranking.result import Ranked, Ranking, ScoreColumn
from transferability.report.render import to_html
from transferability.report.summarize import summarize


def pixels(items: list) -> np.ndarray:
    """Return the pixels of pictures."""
    return np.stack([np.asarray(each.convert("L"), dtype=float).ravel() for each in items])


def study(n_encoders: int, n_targets: int, n_classes: int) -> list[Ranking]:
    """Return rankings of many encoders."""
    rng = np.random.default_rng(0)
    labels = np.arange(60 * n_classes) % n_classes
    middles = rng.integers(0, 200, size=(n_classes, 12, 12))
    noisy = np.clip(middles[labels] + rng.normal(0, 40, size=(len(labels), 12, 12)), 0, 255).astype(np.uint8)
    names = [f"class {k}" for k in range(n_classes)]
    sets = [picture_arrays(name, noisy[part], labels[part], names, name) for name, part in
            (("target", slice(0, None, 2)), ("reference", slice(1, None, 2)))]  # fmt: skip
    if n_classes % 2 == 0:  # every other row would be every other class
        order = rng.permutation(len(labels))
        sets = [picture_arrays(name, noisy[order], labels[order], names, name) for name in ("target", "reference")]
    settings = Settings(cache=False)
    model = rank(sets[0], sets[1], [FunctionEncoder("pixels", pixels)], scores=["logme"], settings=settings)
    result, columns = model.best.relatedness, [ScoreColumn("logme", higher_is_better=True)]
    rankings = []
    for target in range(n_targets):
        entries = []
        for encoder in range(n_encoders):
            details = dataclasses.replace(
                result.details,
                **{name: np.clip(getattr(result.details, name) + rng.integers(-60, 60, size=(1, 2)), 0, 1000)
                   for name in ("reference", "before", "after")},
            )  # fmt: skip
            terms = result.certificate_terms
            scaled = terms._replace(
                distribution_mismatch=terms.distribution_mismatch * rng.uniform(0.5, 9),
                per_point=terms.per_point * rng.uniform(0.8, 1.2),
            )
            factor = rng.uniform(0.8, 1.2)
            correct = rng.random(len(result.transferred_correct)) < rng.uniform(0.5, 1)
            one = dataclasses.replace(
                result, target=f"target {target}", certificate_terms=scaled, details=details,
                transferability_accuracy=float(rng.uniform(0.5, 1)),
                transferred_loss=factor * result.transferred_loss,
                transferred_losses=factor * result.transferred_losses,
                transferred_accuracy=float(correct.mean()),
                transferred_correct=correct,
            )  # fmt: skip
            name = f"timm:some_vision_transformer_{encoder}.augreg_in21k_ft_in1k"
            entries.append(Ranked(name, 10**7 + encoder, one, {"logme": float(rng.normal())}, {}, 12.3))
        rankings.append(Ranking.sort(entries, [], None, columns, f"target {target}", ["reference"], model.provenance))
    return rankings


def open_in_browser(path: Path) -> dict[str, float] | None:
    """Return seconds until loaded and until drawn, and the number of elements; None without a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        return None
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        begin, busy = time.perf_counter(), _cpu(devtools)
        page.goto(path.as_uri(), wait_until="load")
        drawn = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
        page.evaluate(drawn)
        seconds, busy = time.perf_counter() - begin, _cpu(devtools) - busy
        load = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
        elements = page.evaluate("document.querySelectorAll('*').length")
        browser.close()
    return {"loaded": load, "drawn": seconds, "cpu": busy, "elements": elements}


def _cpu(devtools: Any) -> float:
    """Return the CPU seconds that the page's process has used: they do not depend on what else the machine does."""
    found = devtools.send("Performance.getMetrics")["metrics"]
    return next(each["value"] for each in found if each["name"] == "ProcessTime")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=int, default=100)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="folder to leave the report in")
    chosen = parser.parse_args()
    rankings = study(chosen.encoders, chosen.targets, chosen.classes)
    begin = time.process_time()
    html = to_html(summarize(rankings))
    print(f"{chosen.encoders} encoders × {chosen.targets} targets, {chosen.classes} classes")
    print(f"made in {time.process_time() - begin:.1f} CPU seconds, {len(html.encode()) / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.html"
        path.write_text(html, "utf-8")
        for _ in range(3):
            seen = open_in_browser(path)
            if seen is None:
                print("no Chromium, or no Playwright: opening is not timed")
                break
            seconds = f"loaded in {seen['loaded']:.2f} s, drawn in {seen['drawn']:.2f} s ({seen['cpu']:.2f} CPU s)"
            print(f"{seconds}, {seen['elements']:,.0f} elements")


if __name__ == "__main__":
    main()
