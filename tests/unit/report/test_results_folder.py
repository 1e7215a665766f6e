"""Reports from files: written, read again, damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from transferability.errors import DatasetError, FileDamagedError, MissingExtraError, NoSuchFileError
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.files import read_measured, read_study, write_records, write_report
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import relation_record, summarize, summarize_records


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
    assert [row["values"] for row in matrix["rows"]] == [[each.bound for each in r.references] for r in relations]


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
    with pytest.raises(NoSuchFileError, match=r"there is no file .*none\.csv"):
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
