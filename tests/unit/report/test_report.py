"""Summary, renderings and files: one dict, nothing lost on the way to disk and back, every text shown as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability.errors import DatasetError, FileDamagedError, MissingExtraError, TaskError
from transferability.ranking.result import Ranking
from transferability.relatedness.result import Relatedness
from transferability.report.files import read_measured, read_study, write_records, write_report
from transferability.report.render import show, to_html, to_json, to_markdown
from transferability.report.summarize import relation_record, summarize, summarize_records
from transferability.report.words import answer


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


# ── the summary ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_summary_is_json_and_says_what_the_ranking_says(ranking: Ranking) -> None:
    summary = summarize(ranking)
    assert json.loads(to_json(summary)) == summary
    (part,) = summary["parts"]
    assert [entry["name"] for entry in part["entries"]] == [entry.encoder for entry in ranking.entries]
    for entry, ranked in zip(part["entries"], ranking.entries, strict=True):
        result = entry["result"]
        assert result["bound"] == ranked.relatedness.bound
        assert sum(row["cost"] for row in result["classes"]) == pytest.approx(result["bound"])
        assert [each["bound"] for each in result["panel"]] == [each.bound for each in ranked.relatedness.panel]
        assert result["points"] is not None
        for row in result["classes"]:
            assert len(row["samples"]) == len(row["reference_samples"]) == 3
            assert all(key in summary["samples"] for key in row["samples"])
    assert [each["encoder"] for each in part["skipped"]] == ["python:broken"]
    assert [each["score"] for each in part["agreement"]] == [
        "transferred_accuracy",
        "transferred_loss",
        "bound",
        "logme",
    ]
    assert (part["criterion"], part["quantity"]) == ("transferred_accuracy", "transferred_accuracy")
    assert part["matrix"]["columns"] == ["lines", "edges"]
    made = part["made"]
    assert made["settings"]["test_share"] == 0.3
    assert made["estimator"]["tau"] == [0.1, 0.2]
    assert {each["role"] for each in made["data"]} == {"target", "reference"}
    assert "numpy" in made["versions"]


def test_the_answer_names_the_choice_how_sure_and_the_price(ranking: Ranking) -> None:
    said = summarize(ranking)["parts"][0]["answer"]
    best, second = ranking.entries[:2]
    assert said["headline"] == f"Take {best.encoder} for bands."
    assert second.encoder in said["sentence"]
    assert "(95 % confidence)" in said["sentence"]
    assert "linear probe" in said["sentence"]


def entry(name: str, bound: float, accuracy: float | None, p_best: float = 1.0) -> dict:
    result = {"bound": bound, "reference": "r", "evaluated_on": "test", "transferred_loss": bound / 4}
    result |= {
        "certified": True,
        "transferred_accuracy": accuracy,
        "transferability": 0.2,
        "transferability_accuracy": accuracy,
    }
    if accuracy is None:
        result["transferred_loss"] = None
    standing = {"low": bound - 0.1, "high": bound + 0.1, "p_best": p_best}
    return {"name": name, "accuracy": accuracy, "standing": standing, "scores": {"logme": bound}, "result": result}


unsure = {"standing": None}


@pytest.mark.parametrize(
    ("entries", "criterion", "words"),
    [
        (
            [entry("a", 1, 0.9), entry("b", 2, 0.8, 0.0)],
            "bound",
            "below that of b; no other encoder can have the small",
        ),
        (
            [entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.3)],
            "bound",
            "b can have the smallest bound on other rows too (95 %",
        ),
        ([entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.03)], "bound", "(95 % confidence); by the probe, b does best"),
        ([entry("a", 1, 0.8), entry("b", 1.1, 0.9, 0.15)], "bound", "being wrong would cost about 10.0 points"),
        ([entry("a", 1, None), entry("b", 1.1, None, 0.01)], "bound", "nothing can be said of what a wrong choice"),
        ([entry("a", 1, 0.8)], "bound", "the only encoder"),
        (
            [entry("a", 1, 0.8), entry("b", 1.2, 0.9, 0.03)],
            "transferred_loss",
            "Its transferred loss is 0.250 nats, 0.050 less than that of b; no other encoder can lose least on new "
            "data (95 % confidence); by the probe, b does best",
        ),
        ([entry("a", 1, 0.8) | unsure, entry("b", 1.2, 0.7) | unsure], "transferred_loss", "less than that of b; no"),
        ([entry("a", 1, 0.8), entry("b", 1.2, None)], "transferred_loss", "that of b is not known"),
        (
            [entry("a", 1, 0.925), *(entry(name, 1.2, 0.9, 0.2) for name in "bcdef"), entry("g", 1.3, 0.5, 0.001)],
            "transferred_accuracy",
            "Its transferred accuracy is 92.5 %, 2.5 points more than that of b; b, c, d and 2 more can be the "
            "most accurate on new data too (95 % confidence); no other",
        ),
        (
            [entry("a", 1, 0.9), entry("b", 1.2, 0.9, 0.5)],
            "transferred_accuracy",
            "is 90.0 %, the same as that of b, with a loss that is 0.050 nats smaller; b can be the most accurate on "
            "new data too (95 % confidence); no other",
        ),
        ([entry("a", 1, 0.8) | unsure, entry("b", 1.2, 0.7) | unsure], "transferred_accuracy", "than that of b; no"),
        ([entry("a", 1, 0.8), entry("b", 1.2, None)], "transferred_accuracy", "is 80.0 %; that of b is not known"),
        ([entry("a", 0.5, 0.8), entry("b", 0.25, 0.9)], "logme", "By logme it leads b with 0.5000 against 0.2500"),
    ],
)
def test_the_answer_in_every_case(entries: list[dict], criterion: str, words: str) -> None:
    truth = None if entries[0]["accuracy"] is None else "probe"
    assert words in answer("t", criterion, entries, truth)["sentence"]


@pytest.mark.parametrize(
    ("criterion", "of", "interval", "behind"),
    [
        ("transferred_accuracy", "Transferred accuracy", "90.0 – 110.0 %", "accuracy -5.0 points"),
        ("transferred_loss", "Transferred loss", "0.900 – 1.100", "loss +0.050 nats"),
        ("bound", "Bound on the transferred loss", "0.900 – 1.100", "bound +0.200 nats"),
        ("logme", "Transferred accuracy", "90.0 – 110.0 %", "accuracy -5.0 points"),
    ],
)
def test_the_interval_stands_with_what_it_is_of(criterion: str, of: str, interval: str, behind: str) -> None:
    said = answer("t", criterion, [entry("a", 1, 0.85), entry("b", 1.2, 0.8)], "probe")
    assert said["facts"][0]["label"] == of
    assert [each["label"] for each in said["facts"] if interval in each["note"]] == [of]
    assert said["facts"][-1]["note"] == behind
    shown = next(each for each in said["facts"] if each["label"].startswith("Transferred"))
    assert shown["value"] == ("85.0 %" if of == "Transferred accuracy" else "0.250 nats")
    assert ("loss 0.250 nats" if of == "Transferred accuracy" else "accuracy 85.0 %") in shown["note"]
    bare = answer("t", "bound", [entry("a", 1, None)], None)
    assert [each["label"] for each in bare["facts"]] == ["Bound on the transferred loss"]


def test_the_table_marks_what_orders_and_shows_what_is_promised(ranking: Ranking) -> None:
    for criterion in ("transferred_accuracy", "transferred_loss", "bound"):
        by = Ranking.sort(ranking.entries, [], criterion, ranking.columns, "bands", ranking.references)
        page, text = to_html(summarize(by)), to_markdown(summarize(by))
        for each, standing in zip(by.entries, by.standings, strict=True):
            value, interval = f"{each.value(criterion):.3f}", f"{standing.low:.3f} – {standing.high:.3f}"
            if criterion == "transferred_accuracy":
                value = f"{100 * each.value(criterion):.1f} %"
                interval = f"{100 * standing.low:.1f} – {100 * standing.high:.1f} %"
            assert f"<b>{value}</b>" in page
            assert f">{interval}<" in page
            result = each.relatedness
            assert f" {100 * result.transferred_accuracy:.1f} % |" in text
            assert f" {result.transferred_loss:.3f} |" in text
            assert f" {result.bound:.3f} |" in text


def test_measured_accuracies_take_the_place_of_the_stand_in(ranking: Ranking) -> None:
    names = [each.encoder for each in ranking.entries]
    accuracies = dict(zip(names, (0.7, 0.9, 0.5), strict=True))
    for target in ("bands", ""):
        part = summarize(ranking, {target: accuracies})["parts"][0]
        assert [entry["accuracy"] for entry in part["entries"]] == [0.7, 0.9, 0.5]
    assert part["truth"] == "measured accuracy"
    assert f"by the measured accuracy, {names[1]} does best" in part["answer"]["sentence"]
    assert "20.0 points" in part["answer"]["sentence"]
    unknown = summarize(ranking, {"another": accuracies})["parts"][0]
    assert unknown["truth"] is None
    assert unknown["agreement"] == []


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
        "By target: bands, transferred accuracy; others, bound. Dark is better; losses and bounds in nats."
        in "".join(Page(to_html(mixed)).text)
    )


def test_nothing_cannot_be_summarized() -> None:
    with pytest.raises(TaskError, match="at least one ranking"):
        summarize([])


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

    @settings(max_examples=40, deadline=None)
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


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_report_is_the_same_from_objects_and_from_files(ranking: Ranking, tmp_path: Path) -> None:
    files = write_records(ranking.to_dict(), ranking, tmp_path)
    assert [path.name for path in files] == ["ranking.json", "ranking.details.json", "report.html", "report.md"]
    again = summarize_records(read_study(tmp_path))
    assert to_html(again) == (tmp_path / "report.html").read_text("utf-8") == to_html(summarize(ranking))
    assert (tmp_path / "report.md").read_text("utf-8") == to_markdown(again)


def test_hostile_names_survive_the_files(hostile_ranking: Ranking, tmp_path: Path) -> None:
    write_records(hostile_ranking.to_dict(), hostile_ranking, tmp_path)
    assert to_html(summarize_records(read_study(tmp_path))) == to_html(summarize(hostile_ranking))


def test_relations_in_a_folder_of_their_own(relations: list[Relatedness], tmp_path: Path) -> None:
    record = relation_record(relations, "python:rows", {})
    write_records(record, relations, tmp_path / "a")
    ((read, details),) = read_study(tmp_path)  # the folder above
    assert read == json.loads(json.dumps(record))
    assert len(details) == len(relations)
    matrix = summarize_records([(read, details)])["parts"][0]["matrix"]
    assert [row["values"] for row in matrix["rows"]] == [[each.bound for each in r.panel] for r in relations]


def test_records_without_details_make_a_report_too(ranking: Ranking, tmp_path: Path) -> None:
    write_records(ranking.to_dict(), ranking, tmp_path)
    (tmp_path / "ranking.details.json").unlink()
    summary = summarize_records(read_study(tmp_path))
    assert summary["samples"] == {}
    assert Page(to_html(summary)).count("table") > 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must hold ranking.json or relate.json"),
        ("{", "cannot be read"),
        ("[]", "there must be an object; got a list of 0"),
        ('{"schema": 1}', "there is neither"),
    ],
)
def test_a_folder_at_fault(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "ranking.json").write_text(content)
    with pytest.raises(DatasetError if content is None else FileDamagedError, match=message):
        read_study(tmp_path)


def test_measured_accuracies_are_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "measured.csv"
    path.write_text("encoder,accuracy\ntimm:resnet18,0.91\n")
    assert read_measured(path) == {"": {"timm:resnet18": 0.91}}
    path.write_text("target,encoder,accuracy\na,e,0.5\nb,e,0.25\n")
    assert read_measured(path) == {"a": {"e": 0.5}, "b": {"e": 0.25}}
    for text, message in (("encoder,accuracy\na,91\n", "row 1"), ("name,value\na,0.5\n", "encoder,accuracy")):
        path.write_text(text)
        with pytest.raises(DatasetError, match=message):
            read_measured(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_measured(tmp_path / "none.csv")
    printed = tmp_path / "validation.json"
    printed.write_text('{"observations": [{"target": "a", "encoder": "e", "accuracies": [0.5], "accuracy": 0.5}]}')
    assert read_measured(printed) == {"a": {"e": 0.5}}
    printed.write_text('{"observations": ["a"]}')
    with pytest.raises(DatasetError, match="row 1"):
        read_measured(printed)


def test_without_jinja2_the_results_are_written_and_the_extra_is_named(
    ranking: Ranking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    files = write_records(ranking.to_dict(), ranking, tmp_path)
    assert [path.name for path in files] == ["ranking.json", "ranking.details.json"]
    with pytest.raises(MissingExtraError, match=r"pip install 'transferability\[report\]'"):
        write_report(summarize(ranking), tmp_path)
