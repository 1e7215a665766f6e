"""The report in a real browser: Chromium, driven by Playwright; skipped where either is missing."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from transferability.ranking.entry import EncoderCost
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.render import to_html
from transferability.report.summarize import summarize

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found on the path"),
]

SCREENS = runpy.run_path(str(Path(__file__).parents[3] / "docs" / "tools" / "screens.py"))
NAME_OF = "row => row.querySelector('a').textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def crowded(ranking: Ranking) -> Ranking:
    """Return a ranking of twenty encoders of long names, of nearly the same accuracies and costs."""
    entries = [
        replace(
            ranking.entries[k % 2],
            encoder=f"timm:vit_small_patch16_224_{k}.augreg_in21k_ft_in1k",
            cost=EncoderCost(items_per_second=20 + 0.01 * k, load_seconds=1.0),
            relatedness=replace(
                ranking.entries[k % 2].relatedness,
                transferred_accuracy=0.8 + 0.0001 * k,
                class_map=ranking.entries[0].relatedness.class_map,
            ),
        )
        for k in range(20)
    ]
    return Ranking.sort(entries, [], None, ranking.columns, "bands", ranking.references, ranking.provenance)


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory,
    ranking: Ranking,
    hostile_ranking: Ranking,
    relations: list[Relatedness],
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("browser")
    made = {}
    every = {"ranking": ranking, "hostile": hostile_ranking, "relations": relations, "crowded": crowded(ranking)}
    every["study"] = [ranking, hostile_ranking]
    for name, results in every.items():
        made[name] = folder / f"{name} <report>.html"
        made[name].write_text(to_html(summarize(results)), "utf-8")
    return made


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Open a page; afterwards see that it asked for nothing, complained of nothing and was not taken over."""
    pages, complaints, requests = [], [], []

    def open_file(path: Path, **options: Any) -> Any:
        page = browser.new_page(**options)
        page.set_default_timeout(30_000)  # a busy machine takes seconds for a page of a hundred encoders
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        pages.append((page, path))
        return page

    yield open_file
    for page, path in pages:
        assert page.title().startswith("Transferability: ")
        requests = [url for url in requests if url != path.as_uri()]
        page.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == []


def names(page: Any) -> list[str]:
    return page.locator("table.ranking tbody tr:visible").evaluate_all(f"rows => rows.map({NAME_OF})")


def test_columns_sort_both_ways_and_say_so(open_page: Any, files: dict[str, Path], ranking: Ranking) -> None:
    page = open_page(files["ranking"])
    ranked = [entry.encoder for entry in ranking.entries]
    assert names(page) == ranked
    logme = {entry.encoder: entry.scores["logme"] for entry in ranking.entries}
    head = page.get_by_role("columnheader", name="logme")
    head.get_by_role("button").click()  # higher is better: the best first
    assert names(page) == sorted(ranked, key=lambda name: -logme[name])
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").press("Enter")  # by keyboard
    assert names(page) == sorted(ranked, key=logme.get)
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Encoder", exact=True).click()
    assert names(page) == sorted(ranked)
    page.get_by_role("button", name="Seconds", exact=True).click()
    seconds = {entry.encoder: entry.seconds for entry in ranking.entries}
    assert names(page) == sorted(ranked, key=seconds.get)
    page.get_by_role("button", name="Bound", exact=True).click()
    bounds = {entry.encoder: entry.relatedness.bound for entry in ranking.entries}
    rows = page.locator("table.terms tbody tr").evaluate_all("all => all.map((row) => row.dataset.name)")
    assert rows == sorted(ranked, key=bounds.get)


def test_the_filter_narrows_table_and_sections(open_page: Any, files: dict[str, Path]) -> None:
    page = open_page(files["ranking"])
    box = page.get_by_role("searchbox", name="Filter by name")
    box.fill("NOI")
    assert names(page) == ["python:noise"]
    assert page.locator("details.result:visible").count() == 1
    assert page.get_by_role("status").inner_text() == "1 shown"
    box.fill("")
    assert len(names(page)) == 3


def test_a_name_leads_to_its_pictures_even_where_they_are_folded(open_page: Any, files: dict[str, Path]) -> None:
    page = open_page(files["ranking"])
    last = page.locator("details.result").last
    assert last.get_attribute("open") is None
    page.locator("table.ranking tbody tr").last.locator("a").click()
    assert last.get_attribute("open") is not None


@pytest.mark.parametrize("which", ["ranking", "relations", "hostile"])
@pytest.mark.parametrize("scripts", [True, False])
def test_every_picture_is_there_with_and_without_scripts(
    open_page: Any, files: dict[str, Path], which: str, scripts: bool
) -> None:
    page = open_page(files[which], java_script_enabled=scripts)
    folded = page.locator("details.result:not([open]) > summary")
    while folded.count():
        folded.first.click()
    pictures = page.locator("svg[role=img]")
    assert pictures.count() > 20
    for picture in pictures.all():
        box = picture.bounding_box()
        assert box["width"] > 5
        assert box["height"] > 5
    assert page.locator("table").count() >= 3
    assert page.get_by_role("searchbox").count() == (1 if scripts else 0)  # a box that does nothing is not shown


def test_thumbnails_are_decoded(open_page: Any, files: dict[str, Path]) -> None:
    page = open_page(files["ranking"])
    sizes = page.evaluate(
        """async () => Promise.all([...document.querySelectorAll("symbol image")].map(async (image) => {
            const picture = new Image(); picture.src = image.href.baseVal; await picture.decode();
            return [picture.naturalWidth, picture.naturalHeight]; }))"""
    )
    assert len(sizes) >= 9
    assert all(size == [12, 12] for size in sizes)


@pytest.mark.parametrize("which", ["ranking", "relations", "hostile"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways(
    open_page: Any, files: dict[str, Path], which: str, width: int
) -> None:
    page = open_page(files[which], viewport={"width": width, "height": 844})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.locator("p, td, th, dd, dt, figcaption").evaluate_all(
        "all => all.filter((each) => parseFloat(getComputedStyle(each).fontSize) < 11).length"
    )
    assert small == 0


@pytest.mark.parametrize("width", [390, 1000, 1400, 1920])
@pytest.mark.parametrize("which", ["ranking", "relations", "hostile", "crowded", "study"])
def test_nothing_is_clipped_and_no_label_lies_on_another(
    open_page: Any, files: dict[str, Path], which: str, width: int
) -> None:
    page = open_page(files[which], viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert SCREENS["faults_of"](page, width) == []


@pytest.mark.parametrize("which", ["ranking", "study"])
def test_tables_that_fit_do_not_scroll(open_page: Any, files: dict[str, Path], which: str) -> None:
    page = open_page(files[which], viewport={"width": 1920, "height": 900})
    wider = "(each) => each.closest('.scroll').scrollWidth > each.closest('.scroll').clientWidth"
    assert page.locator("table").evaluate_all(f"all => all.filter({wider}).length") == 0


def test_every_control_has_a_name(open_page: Any, files: dict[str, Path]) -> None:
    page = open_page(files["ranking"])
    found = page.locator("body").aria_snapshot()
    controls = [line for line in found.splitlines() if line.strip().startswith(("- button", "- searchbox", "- link"))]
    assert len(controls) >= 10
    assert all('"' in line for line in controls), controls
    assert page.locator("[tabindex]:not([aria-label])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_themes(open_page: Any, files: dict[str, Path], scheme: str) -> None:
    page = open_page(files["ranking"], color_scheme=scheme)
    colours = page.evaluate(
        """() => ["--paper", "--ink", "--soft", "--accent"].map(
            (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim())"""
    )
    paper, *inks = map(_luminance, colours)
    assert (paper > 0.5) == (scheme == "light")
    for ink in inks:
        assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) >= 4.5  # WCAG AA for small text


def test_hostile_names_do_nothing_and_are_read_as_text(
    open_page: Any, files: dict[str, Path], hostile_names: tuple[str, ...]
) -> None:
    page = open_page(files["hostile"])
    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert hostile_names[0] in page.locator("table.ranking").inner_text()
    assert "🦜" in page.locator("body").inner_text()
    assert page.locator("a[href^='javascript']").count() == 0


def test_it_prints(browser: Any, files: dict[str, Path]) -> None:
    page = browser.new_page()
    page.goto(files["ranking"].as_uri())
    printed = page.pdf(format="A4", print_background=False)
    page.close()
    assert printed.startswith(b"%PDF")
    assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 12


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
