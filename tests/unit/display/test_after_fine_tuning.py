"""What is said and proposed after some encoders of a ranking were fine-tuned, and others could not be."""

from __future__ import annotations

from typing import Any

import pytest

from transferability.display.frozen import better_frozen
from transferability.display.next_steps import next_steps
from transferability.ranking.confirmation import Confirmation, Confirmed


def confirmed_record(probe: float | None = None) -> dict[str, Any]:
    """A ranking of a function, and two encoders of which the third is the best after fine-tuning."""
    names = {"python:mine:pixels": False, "timm:a": True, "short/layer=2": True}
    entries = (
        Confirmed("short", 0.793, ranked_as="short/layer=2"),
        Confirmed("timm:a", 0.7),
        Confirmed("python:mine:pixels", None, note="passed over: it cannot"),
    )
    confirmation = Confirmation("photos", 50, entries, (12,))
    ranking: list[dict[str, Any]] = [
        {
            "encoder": name,
            "fine_tunable": tunable,
            "probe": None if probe is None else {"accuracy": probe, "loss": 0.1},
            "confirmed": None if (tuned := confirmation.of(name)) is None else {"accuracy": tuned.accuracy},
            "relatedness": {"per_class": [{}] * 3, "evaluated_on": "test", "chance": 0.3},
        }
        for name, tunable in names.items()
    ]
    ranking[2] |= {"identifier": "timm:b", "base_encoder": "short", "layer": "2"}
    made = {"data": [{"kind": "image"}], "command": "transferability rank photos", "target": "photos"}
    return {"ranking": ranking, "made": made, "confirmation": confirmation.to_dict()}


def test_the_next_step_is_of_the_encoder_that_fine_tuning_found_best() -> None:
    for probe in (None, 0.7):
        (step,) = next_steps(confirmed_record(probe))
        assert step.title == "Fine-tune timm:b"
        assert 'timm.create_model("b"' in step.code


def test_the_next_step_of_an_encoder_to_take_as_it_is_writes_its_features() -> None:
    record = confirmed_record(0.96)
    first, second = next_steps(record)
    assert first.title == "Write the features of python:mine:pixels, and train a linear classifier on them"
    assert first.code == "transferability extract photos --encoder python:mine:pixels"
    assert second.title == "Fine-tune timm:b, the most accurate of those that can be"
    record["ranking"][0] |= {"layer": "3", "identifier": "python:mine:pixels"}
    assert next_steps(record)[0].code.endswith("python:mine:pixels --layer 3")
    record["ranking"][0]["identifier"] = "features:x.npz"
    assert [step.title for step in next_steps(record)] == [second.title]


def test_what_fine_tuning_did_not_improve_is_used_as_it_is() -> None:
    record = confirmed_record()
    record["ranking"][2]["confirmed"]["best_epoch"] = 0
    (step,) = next_steps(record)
    assert step.title == "Write the features of timm:b, and train a linear classifier on them"
    assert step.code == "transferability extract photos --encoder timm:b --layer 2"
    record["ranking"][2]["confirmed"]["best_epoch"] = 3
    assert [each.title for each in next_steps(record)] == ["Fine-tune timm:b"]
    functions_first = confirmed_record(0.96)
    functions_first["ranking"][2]["confirmed"]["best_epoch"] = 0
    (step,) = next_steps(functions_first)
    assert step.code == "transferability extract photos --encoder python:mine:pixels"


def test_what_could_not_be_fine_tuned_is_not_proposed() -> None:
    record = confirmed_record()
    for each in (*record["ranking"], *record["confirmation"]["entries"]):
        each["confirmed" if "confirmed" in each else "accuracy"] = {"accuracy": None} if "confirmed" in each else None
    record["confirmation"]["best"] = None
    record["ranking"].reverse()
    assert next_steps(record) == []


def test_an_encoder_is_taken_as_it_is_where_its_probe_beats_what_was_fine_tuned() -> None:
    found = better_frozen(confirmed_record(0.96))
    assert found is not None
    assert found.encoder == "python:mine:pixels"
    assert found.in_words == (
        "python:mine:pixels cannot be fine-tuned; a linear classifier on its features is right in 96.0 %, more than "
        "that: take it as it is."
    )
    record = confirmed_record(0.96)
    record["ranking"][0]["relatedness"]["evaluated_on"] = "folds"
    record["ranking"][0]["fine_tunable"] = None  # as of ONNX graphs: trying tells
    found = better_frozen(record)
    assert found is not None
    assert "could not be fine-tuned; a linear" in found.in_words
    assert "right in 96.0 % of all rows, in folds, more" in found.in_words


def test_functions_behind_the_first_few_count_too() -> None:
    record = confirmed_record(0.96)
    record["confirmation"]["entries"].pop()
    found = better_frozen(record)
    assert found is not None
    assert found.encoder == "python:mine:pixels"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["ranking"][0].update(probe={"accuracy": 0.793, "loss": 0.1}),
        lambda record: record["ranking"][0].update(probe=None),
        lambda record: record["ranking"][2]["relatedness"].update(chance=0.97),
        lambda record: record["confirmation"].update(best=None),
        lambda record: record.update(confirmation=None),
        lambda record: [each.update(model_hash="0", fine_tunable=True) for each in record["ranking"][::2]],
        lambda record: (record["ranking"][0].update(fine_tunable=None), record["confirmation"]["entries"].pop()),
    ],
    ids=["equal", "no probe", "chance", "none tuned", "no confirmation", "another name", "not tried"],
)
def test_otherwise_the_most_accurate_after_fine_tuning_is_taken(change) -> None:
    record = confirmed_record(0.96)
    change(record)
    assert better_frozen(record) is None
