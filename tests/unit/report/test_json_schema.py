"""JSON Schemas: real results satisfy them with no key unlisted, damaged ones do not; the files in docs are current."""

from __future__ import annotations

import copy
import json
import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.result import Ranking
from transferability.relatedness.results.result import Relatedness
from transferability.report.json_schema import SCHEMAS
from transferability.report.stored import relation_record

TOOL = runpy.run_path(str(Path(__file__).parents[3] / "docs" / "tools" / "json_schema.py"))


def faults(name: str, value: Any, *, closed: bool = True) -> list[str]:
    schema = SCHEMAS[name](closed=closed)
    Draft202012Validator.check_schema(schema)
    errors = Draft202012Validator(schema).iter_errors(json.loads(json.dumps(value)))
    return [f"{each.json_path}: {each.message[:300]}" for each in errors]


@pytest.fixture
def confirmed(ranking: Ranking) -> Ranking:
    first, second = (entry.encoder for entry in ranking.entries[:2])
    tuned = (
        Confirmed(first, 0.9, 0.85, 12, finished=True, learning_rate=1e-3, seconds=2.0, note=""),
        Confirmed(second, None, None, 0, finished=False, learning_rate=None, seconds=0.0, note="cannot be fine-tuned"),
    )
    return replace(ranking, confirmation=Confirmation("bands", 40, tuned, (4, 12)))


def test_rankings_hold_what_the_schema_lists_and_nothing_else(
    ranking: Ranking, hostile_ranking: Ranking, confirmed: Ranking
) -> None:
    for each in (ranking, hostile_ranking, confirmed):
        assert faults("ranking", each.to_dict()) == []
        assert faults("study", {"schema": 1, "results": "study.sqlite", "rankings": [each.to_dict()] * 2}) == []


def test_relations_hold_what_the_schema_lists_and_nothing_else(relations: list[Relatedness]) -> None:
    assert faults("relate", relation_record(relations, "python:rows")) == []


def test_what_later_versions_add_is_allowed(ranking: Ranking) -> None:
    record = ranking.to_dict() | {"news": 3}
    assert faults("ranking", record, closed=False) == []
    (fault,) = faults("ranking", record)
    assert "'news' was unexpected" in fault


@pytest.mark.parametrize(
    ("damage", "place"),
    [
        (lambda record: record.pop("target"), "$"),
        (lambda record: record["ranking"][0].pop("seconds"), "$.ranking[0]"),
        (lambda record: record["ranking"][0].update(transferred_accuracy="high"), "$.ranking[0].transferred_accuracy"),
        (lambda record: record["ranking"][0]["relatedness"].update(bound=None), "$.ranking[0].relatedness.bound"),
        (lambda record: record["ranking"][1].update(on_front=1), "$.ranking[1].on_front"),
    ],
)
def test_damaged_records_are_found(ranking: Ranking, damage: Callable[[dict[str, Any]], object], place: str) -> None:
    record = copy.deepcopy(ranking.to_dict())
    damage(record)
    assert any(fault.startswith(f"{place}: ") for fault in faults("ranking", record, closed=False))


def test_columns_are_explained_as_everywhere(ranking: Ranking) -> None:
    entry = SCHEMAS["ranking"]()["properties"]["ranking"]["items"]["properties"]
    for field in ranking.to_dict()["fields"]:
        if field["key"] in entry and "title" in entry[field["key"]]:
            assert entry[field["key"]]["title"] == field["title"]
            assert entry[field["key"]]["description"].startswith(field["explanation"])
    assert entry["bound"]["description"].endswith("Unit: nats.")


def test_the_files_in_the_docs_are_current() -> None:
    for path, text in TOOL["files"]().items():
        assert path.read_text("utf-8") == text, "run python docs/tools/json_schema.py"


def test_every_key_of_an_entry_is_explained_in_the_folder(ranking: Ranking, confirmed: Ranking, tmp_path: Path) -> None:
    properties = SCHEMAS["ranking"]()["properties"]["ranking"]["items"]["properties"]
    for number, each in enumerate((ranking, confirmed)):
        folder = tmp_path / str(number)
        each.report(folder)
        record = json.loads((folder / "ranking.json").read_text("utf-8"))
        readme = (folder / "README.md").read_text("utf-8")
        columns = {field["key"] for field in record["fields"]}
        for key in {key for entry in record["ranking"] for key in entry} - columns:
            assert f"- `{key}`: " in readme
            assert properties[key]["description"]
