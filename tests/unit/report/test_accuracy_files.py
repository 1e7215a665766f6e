"""What `validate --json` printed is read as known pairs: each once, in the layout that is known, none contradicted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from transferability.errors import DatasetError, FileDamagedError
from transferability.report.accuracy_files import SCHEMA_VERSION, read_known, read_measured, without_match
from transferability.validation import result as validation


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"accuracy": 0.7, "accuracies": [0.7]},
            "`observations[2]` must say of encoder 'e' on target 'a' what `observ",
        ),
        ({"values": {"linear_probe": 0.1}}, "what `observations[0]` says of it: linear probe, accuracy and rows are"),
        ({"n_fit": 100}, "are 0.8, 0.9, 140, 60 there, and 0.8, 0.9, 100, 60 here. Write it again, or correct it."),
        (
            {"accuracies": [0.1, 0.2]},
            "`observations[2].accuracy` must be the mean of its `accuracies`; got 0.9 and 0.1,",
        ),
        ({"accuracies": []}, "`observations[2].accuracy` must be the mean of its `accuracies`; got 0.9 and none"),
        ({"accuracies": [1.6, 0.2]}, "`observations[2].accuracies[0]` must be between 0 and 1; got 1.6"),
    ],
)
def test_a_known_pair_counts_once_and_copies_that_differ_are_refused(tmp_path, changed, message) -> None:
    path = tmp_path / "own.json"
    seen = {"target": "a", "encoder": "e", "accuracies": [0.85, 0.95], "accuracy": 0.9, "n_fit": 140, "n_test": 60}
    seen |= {"values": {"linear_probe": 0.8}}
    other = seen | {"target": "b"}
    content = {"schema": 1, "method": "finetune", "observations": [seen, other, seen, other, seen]}
    path.write_text(json.dumps(content))
    assert read_known(path) == [("a", "e", 0.8, 0.9, 140, 60), ("b", "e", 0.8, 0.9, 140, 60)]
    path.write_text(json.dumps(content | {"observations": [seen, other, seen | changed]}))
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_known(path)


@pytest.mark.parametrize(("layout", "message"), [({}, "`schema` is missing"), ({"schema": 99}, "the layout must be 1")])
def test_known_pairs_of_another_layout_are_refused(tmp_path, layout, message) -> None:
    path = tmp_path / "own.json"
    pair = {"target": "a", "encoder": "e", "accuracy": 0.9, "values": {"linear_probe": 0.8}}
    path.write_text(json.dumps({"method": "finetune", "observations": [pair]} | layout))
    with pytest.raises(FileDamagedError, match=rf"own\.json` {message}"):
        read_known(path)
    assert SCHEMA_VERSION == validation.SCHEMA_VERSION


def test_measured_accuracies_of_another_layout_are_refused(tmp_path) -> None:
    path = tmp_path / "measured.json"
    path.write_text(json.dumps({"schema": 99, "observations": [{"encoder": "e", "accuracy": 0.5}]}))
    with pytest.raises(FileDamagedError, match=r"measured\.json` the layout must be 1"):
        read_measured(path)


RANKINGS = [
    {"target": "a", "ranking": [{"encoder": "timm:resnet18"}, {"encoder": "px"}]},
    {"target": "b", "ranking": [{"encoder": "timm:resnet50"}]},
]


@pytest.mark.parametrize(
    ("measured", "strangers"),
    [
        ({"": {"px": 0.5, "timm:resnet50": 0.5}}, []),
        ({"a": {"px": 0.5}, "c": {"none": 0.1}}, []),  # of another folder
        ({"": {"px": 0.5, "timm:resnet19": 0.5}}, ["timm:resnet19"]),
        ({"a": {"px": 0.5, "timm:resnet50": 0.5}, "": {"timm:resnet50": 0.4}}, ["timm:resnet50"]),
    ],
)
def test_accuracies_of_encoders_that_were_not_ranked_are_named(measured, strangers) -> None:
    found = without_match(measured, RANKINGS, Path("m.csv"))
    assert len(found) == len(strangers)
    for text, name in zip(found, strangers, strict=True):
        assert text.startswith(f"encoder '{name}' was not ranked. Did you mean 'timm:resnet18'")


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        ({"": {"timm:resnet19": 0.5}}, "encoder 'timm:resnet19' was not ranked. Did you mean 'timm:resnet18'"),
        ({"c": {"px": 0.5}}, "it names 'c' as targets."),
        ({}, "it names none as targets."),
    ],
)
def test_accuracies_that_fit_nothing_are_refused(measured, said) -> None:
    with pytest.raises(
        DatasetError, match=re.escape(f"`m.csv` must hold accuracies of encoders and targets in this folder; {said}")
    ):
        without_match(measured, RANKINGS, Path("m.csv"))
