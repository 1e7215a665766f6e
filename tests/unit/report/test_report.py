"""The report as a page and as Markdown: complete, and every text shown as text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.files import read_study, write_records
from transferability.report.render import show, to_html, to_json, to_markdown
from transferability.report.summarize import summarize, summarize_records


class Page(HTMLParser):
    """What a browser would find: elements, their attributes, and the text outside script and style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._code = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._code = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._code = False

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_needs_nothing_beside_itself(ranking: Ranking, relations: list[Relatedness]) -> None:
    for results in (ranking, relations):
        page = Page(to_html(summarize(results)))
        for tag, attributes in page.elements:
            assert tag not in ("link", "iframe", "object", "embed", "base") or attributes.get("href") == "data:,"
            for name in ("src", "href", "xlink:href", "action", "srcset"):
                link = attributes.get(name)
                assert link is None or link.startswith(("#", "data:image/jpeg;base64,", "data:,"))
            assert not [name for name in attributes if name.startswith("on")]
        assert page.count("script") == 1


def test_ids_are_unique_and_every_link_has_its_place(ranking: Ranking) -> None:
    page = Page(to_html(summarize([ranking, ranking])))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        link = attributes.get("href") or ""
        assert not link.startswith("#") or link[1:] in ids


def test_every_picture_says_what_it_is(ranking: Ranking) -> None:
    page = Page(to_html(summarize(ranking)))
    for tag, attributes in page.elements:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    # Before and after the map, or once where the features stayed; τ; agreement of three quantities and a score.
    stayed = sum(np.isinf(entry.relatedness.ridge) for entry in ranking.entries)
    assert page.count("figure") == 3 * len(ranking.entries) - stayed + 5  # before, after; four scores, and the front


def test_hostile_names_are_text(hostile_ranking: Ranking, hostile_names: tuple[str, ...]) -> None:
    html = to_html(summarize(hostile_ranking))
    page = Page(html)
    assert page.count("script") == 1
    assert page.count("img") == 0
    text = "".join(page.text)
    assert hostile_names[0] in text
    assert '"><img src=x onerror=alert(1)>' in text
    assert "{{ 7*7 }}" in text
    assert "🦜" in text
    assert "\x00" not in html
    assert max(map(len, page.text)) < 2_500  # 10,000 letters are cut, not poured over the page
    json.loads(to_json(summarize(hostile_ranking)))


def test_any_text_is_shown_and_nothing_else_changes(ranking: Ranking) -> None:
    template = json.dumps(ranking.to_dict())

    def renamed(text: str) -> tuple[Page, str]:
        record = json.loads(template)
        record["target"] = text
        record["ranking"][0]["encoder"] = text
        record["ranking"][0]["identifier"] = "features:x"  # a name that can be pasted has code beside it
        record["ranking"][0]["relatedness"]["per_class"][0]["target_class"] = text
        for each in record["ranking"]:
            each["relatedness"]["transferability_accuracy"] = None  # agreement takes time and has no part in this
        summary = summarize_records([(record, [])])
        return Page(to_html(summary)), to_markdown(summary)

    plain, plain_markdown = renamed("plain")

    @settings(max_examples=6)
    @given(name=st.text(st.characters(), min_size=1, max_size=60))
    def check(name: str) -> None:
        page, markdown = renamed(name)
        assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
        assert show(name).strip() in "".join(page.text)
        assert len(markdown.splitlines()) == len(plain_markdown.splitlines())

    check()


def test_text_is_cut_in_the_middle_and_cleaned() -> None:
    assert show("a" * 100, 20) == "aaaaaaaa…aaaaaaaaaaa"
    assert show("a\x00b\ud800c\nd") == "a\ufffdb\ufffdc\nd"
    assert show("\u202eexe.txt עברית") == "\ufffdexe.txt עברית"


def test_of_many_classes_the_most_costly_are_shown(ranking: Ranking) -> None:
    record = json.loads(json.dumps(ranking.to_dict()))
    result = record["ranking"][0]["relatedness"]
    order = np.random.default_rng(0).permutation(90)
    result["per_class"] = [
        {"target_class": f"class {cost}", "reference_class": None, "prior": 1 / 90}
        | {"reference_loss": 0.25 * cost, "label_mismatch": 0.5 * cost, "distribution_mismatch": 0.25 * cost}
        for cost in order.tolist()
    ]
    classes = summarize_records([(record, [])])["parts"][0]["entries"][0]["result"]["classes"]
    shown = [row["cost"] for row in classes]
    assert sorted(shown) == list(range(30, 90))
    assert [row["number"] for row in classes] == sorted(row["number"] for row in classes)


def test_several_rankings_make_a_study(ranking: Ranking) -> None:
    summary = summarize([ranking, ranking])
    assert len(summary["parts"]) == 2
    assert [row["name"] for row in summary["overview"]["rows"]] == [each.encoder for each in ranking.entries]
    assert Page(to_html(summary)).count("h1") == 1
    assert summary["overview"]["quantities"] == ["transferred_accuracy"] * 2
    best = summary["overview"]["rows"][0]["values"]
    assert best == [ranking.best.relatedness.transferred_accuracy] * 2
    assert f'<td class="h9">{100 * best[0]:.1f} %</td>' in to_html(summary)  # dark is better
    by_bound = Ranking.sort(ranking.entries, [], "bound", ranking.columns, "others", ranking.references)
    mixed = summarize([ranking, by_bound])
    found = next(row for row in mixed["overview"]["rows"] if row["name"] == ranking.best.encoder)
    assert found["values"] == [ranking.best.relatedness.transferred_accuracy, ranking.best.relatedness.bound]
    assert (
        "By target: bands, transferred accuracy; others, bound. The stronger the colour, the better; losses and "
        "bounds in nats." in "".join(Page(to_html(mixed)).text)
    )


def test_records_without_details_make_a_report_too(ranking: Ranking, tmp_path: Path) -> None:
    write_records(ranking.to_dict(), ranking, tmp_path)
    (tmp_path / "ranking.details.json").unlink()
    summary = summarize_records(read_study(tmp_path))
    assert summary["samples"] == {}
    assert Page(to_html(summary)).count("table") > 2


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_markdown_tables_have_as_many_cells_as_columns(hostile_ranking: Ranking, relations: list[Relatedness]) -> None:
    for results in (hostile_ranking, relations):
        text = to_markdown(summarize(results))
        widths: list[int] = []
        for line in text.splitlines():
            if line.startswith("|"):
                cells = len(re.findall(r"(?<!\\)\|", line))
                assert not widths or cells == widths[-1]
                widths.append(cells)
            else:
                widths = []
        assert "<script>" not in text


def test_markdown_takes_nothing_from_files_for_more_than_text(ranking: Ranking) -> None:
    # Whatever a file says: names, reasons, versions, scores.
    hostile = "<img src=x> [a](javascript:b) https://x.example www.x.example a@x.example `c` *d* | zz &amp; $f$ # g"
    record = json.loads(json.dumps(ranking.to_dict()))
    record["target"] = record["made"]["at"] = record["made"]["machine"] = hostile
    record["made"]["versions"] = {hostile: hostile}
    record["columns"] = [{"name": hostile, "higher_is_better": True}]
    record["skipped"] = [{"encoder": hostile, "reason": hostile}]
    for entry in record["ranking"]:
        entry["encoder"] = entry["relatedness"]["reference"] = hostile
        entry["relatedness"]["certificate"] = hostile
        entry["relatedness"]["per_class"][0] |= {"target_class": hostile, "reference_class": hostile}
    text = to_markdown(summarize_records([(record, [])]))
    assert text.count("x.example") > 20
    for mark in ("<img", "[a](", "https://", "www.", "a@x", " `c", "*d*", "| zz", "&amp;", "$f$", "# g"):
        assert not re.search(rf"(?<!\\){re.escape(mark)}", text), mark


@pytest.mark.parametrize("start", ["- a", "+ a", "1. a", "12) a", "=== a", "--- a"])
def test_no_paragraph_becomes_a_list_a_rule_or_a_heading(ranking: Ranking, start: str) -> None:
    summary = summarize(ranking)
    part = summary["parts"][0]
    part["answer"]["sentence"] = part["entries"][0]["result"]["in_words"] = start
    lines = to_markdown(summary).splitlines()
    assert start not in lines
    assert sum(line.replace("\\", "") == start for line in lines) == 2


def test_the_footer_counts_what_was_fine_tuned(ranking: Ranking, relations: list[Relatedness]) -> None:
    tuned = [
        Confirmed(entry.encoder, accuracy, 0.8, 12, finished=True, learning_rate=1e-3, seconds=1.0, note="")
        for entry, accuracy in zip(ranking.entries, (0.9, 0.85, None), strict=True)
    ]
    for results, said in (
        (ranking, "No encoder was fine-tuned."),
        (relations, "No encoder was fine-tuned."),
        (
            replace(ranking, confirmation=Confirmation("bands", 40, tuple(tuned[::2]), (12,))),
            "1 encoder was fine-tuned.",
        ),
        (replace(ranking, confirmation=Confirmation("bands", 40, tuple(tuned), (12,))), "2 encoders were fine-tuned."),
    ):
        assert said in to_html(summarize(results)).partition("<footer>")[2]
