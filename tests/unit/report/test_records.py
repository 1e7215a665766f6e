"""What is read back from a folder of results is checked field by field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transferability._schema import ShapeError, check_shape
from transferability.errors import FileDamagedError
from transferability.ranking.confirmation import Confirmation, Confirmed
from transferability.ranking.result import Ranking
from transferability.report.files import read_study, write_records
from transferability.report.render import to_html, to_markdown
from transferability.report.summarize import summarize_records

Record = dict[str, Any]


@pytest.fixture(scope="module")
def written(ranking: Ranking, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("records")
    write_records(ranking.to_dict(), ranking, folder)
    return folder


KNOWN = {"target": "a", "encoder": "e", "probe": 0.5, "fine_tuned": 0.6, "probe_rows": 9, "rows": 9}
TUNED = Confirmation("t", 9, (Confirmed("e", 0.5),), (12,)).to_dict()


EXPECTED = {"value": 0.5, "interval": [0.1, 0.9], "low": 0.1, "high": 0.9, "n_pairs": 9, "n_targets": 2}


def tuned(**changed: object) -> Record:
    """Return a confirmation whose only entry has something else."""
    return TUNED | {"entries": [TUNED["entries"][0] | changed]}


def without(name: str) -> Record:
    """Return a confirmation whose only entry lacks something."""
    return TUNED | {"entries": [{key: value for key, value in TUNED["entries"][0].items() if key != name}]}


def of_two(record: Record) -> Record:
    """Return a confirmation of the first encoder of a ranking and of another that is in the same row."""
    row = first(record)["encoder"]
    return Confirmation("t", 9, (Confirmed(row, 0.5), Confirmed("second", 0.4, ranked_as=row)), (12,)).to_dict()


def first(record: Record) -> Record:
    return record["ranking"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema=99), "the layout must be"),
        (lambda r: r.pop("schema"), "`schema` is missing"),
        (lambda r: r.update(ranking=[{}]), r"`ranking\[0\].encoder` is missing"),
        (lambda r: r.update(ranking=[]), "there must be a result"),
        (lambda r: r.update(target=3), "`target` must be a text; got 3"),
        (lambda r: r.update(made={"at": 3}), "`made.at` must be a text"),
        (lambda r: first(r).update(seconds="1"), r"`ranking\[0\].seconds` must be a finite number; got '1'"),
        (lambda r: first(r)["scores"].update(logme=10**400), "got a number of more than sixty digits"),
        (lambda r: first(r)["relatedness"].update(bound=None), "relatedness.bound` must be a finite number; got None"),
        (lambda r: first(r)["relatedness"].update(bound=True), "relatedness.bound` must be a finite number; got True"),
        (lambda r: first(r)["relatedness"].update(transferred_loss=None), "must have both `transferred_accuracy`"),
        (lambda r: first(r)["relatedness"].update(tau=0), "must be positive"),
        (lambda r: first(r)["relatedness"].update(tau_path=[[1.0]]), r"tau_path\[0\]` must be a list of 2"),
        (lambda r: first(r)["relatedness"].update(evaluated_on="moon"), "evaluated_on` must be test or"),
        (lambda r: first(r)["relatedness"].update(per_class=[]), "must have classes"),
        (
            lambda r: first(r).update(probe={"accuracy": 1.5, "loss": 1.0}),
            r"`ranking\[0\].probe.accuracy` must be",
        ),
        (lambda r: first(r).update(probe_rows=-3), r"`ranking\[0\].probe_rows` must be at least 1; got -3"),
        (
            lambda r: r.update(known=[KNOWN | {"fine_tuned": -0.1}]),
            r"`known\[0\].fine_tuned` must be .* got -0.1",
        ),
        (lambda r: r.update(known=[KNOWN, KNOWN | {"rows": 0}]), r"`known\[1\].rows` must be at least 1; got 0"),
        (lambda r: r.update(confirmation=TUNED | {"n_test": 0}), r"`confirmation.n_test` must be at least 1; got 0"),
        (
            lambda r: r.update(confirmation=TUNED | {"entries": [TUNED["entries"][0] | {"accuracy": 2.0}]}),
            r"`confirmation.entries\[0\].accuracy` must be between 0 and 1; got 2.0",
        ),
        (lambda r: r.update(confirmation=tuned(probe_accuracy=7)), r"entries\[0\].probe_accuracy` must be .* got 7"),
        (lambda r: r.update(confirmation=tuned(epochs=-3)), r"entries\[0\].epochs` must be at least 0; got -3"),
        (lambda r: r.update(confirmation=tuned(interval=[0.9, 0.1])), r"entries\[0\].interval` must be two ends .*0.9"),
        (
            lambda r: r.update(confirmation=TUNED | {"n_ranked": -7}),
            r"`confirmation.n_ranked` must be at least 1; got -7",
        ),
        (lambda r: r.update(confirmation=TUNED | {"best": "z"}), r"`confirmation.best` must name one of .* got 'z'"),
        (lambda r: r.update(confirmation=tuned(accuracy=None)), r"entries\[0\].accuracy` must be known of the best"),
        (lambda r: r.update(confirmation=tuned(interval=None)), r"entries\[0\].interval` must be known of the best"),
        (lambda r: r.update(confirmation=tuned(ranked_as="e/layer=9")), r"ranked_as` must name a row .*'e/layer=9'"),
        (lambda r: r.update(confirmation=TUNED), r"`confirmation.entries\[0\].encoder` must name a row of .* got 'e'"),
        (lambda r: first(r).update(expected=EXPECTED | {"value": 8.0}), r"\[0\].expected.value` must be .* got 8.0"),
        (
            lambda r: first(r).update(expected=EXPECTED | {"interval": [-1, 0.5]}),
            r"expected.interval` must be two ends",
        ),
        (
            lambda r: first(r).update(expected=EXPECTED | {"n_pairs": -1}),
            r"expected.n_pairs` must be at least 0; got -1",
        ),
        (
            lambda r: first(r).update(confirmed=TUNED["entries"][0] | {"interval": [0.1, 1.1]}),
            r"`ranking\[0\].confirmed.interval` must be two ends between 0 and 1, the lower first; got \[0.1, 1.1\]",
        ),
        (lambda r: first(r)["relatedness"]["per_class"][0].pop("prior"), r"per_class\[0\].prior` is missing"),
        (lambda r: r.update(confirmation=without("accuracy")), r" `confirmation.entries\[0\].accuracy` is missing"),
        (
            lambda r: r.update(confirmation=tuned(interval=[0.1, 0.5, 0.9])),
            r"`confirmation.entries\[0\].interval` must be a list of 2; got a list of 3",
        ),
        (
            lambda r: r.update(confirmation=TUNED | {"in_words": None}),
            r"`confirmation.in_words` must be a text; got None",
        ),
        (lambda r: r.update(confirmation=["e"]), r"`confirmation` must be null or an object; got a list of 1"),
        (lambda r: r.update(known=[{"target": "a"}]), r"`known\[0\].encoder` is missing"),
        (
            lambda r: r.update(confirmation=of_two(r) | {"best": "second"}),
            r"`confirmation.best` must be the first entry with an accuracy, '.+'; got 'second'",
        ),
        (
            lambda r: r.update(confirmation=of_two(r) | {"best": None}),
            r"`confirmation.best` must be the first entry with an accuracy, '.+'; got None",
        ),
        (lambda r: first(r).update(expected="high"), r"expected` must be null or an object; got 'high'"),
    ],
)
def test_a_record_at_fault_is_one_sentence_with_the_field(
    written: Path, tmp_path: Path, change: Callable[[Record], object], message: str
) -> None:
    record = json.loads((written / "ranking.json").read_text("utf-8"))
    change(record)
    (tmp_path / "ranking.json").write_text(json.dumps(record))
    with pytest.raises(FileDamagedError, match=message) as caught:
        read_study(tmp_path)
    assert str(tmp_path / "ranking.json") in str(caught.value)


@pytest.mark.parametrize("text", ["NaN", "1e999", "[" * 100_000, "9" * 5000, '{"ranking": [NaN]}', "\udcff", ""])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranking.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(FileDamagedError, match=r"ranking.json"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.clear(),
        lambda d: d.update(details=3),
        lambda d: d["details"][0]["points"].update(grid=0),
        lambda d: d["details"][0]["points"].update(target_classes=[0]),
        lambda d: d["details"][0].update(lookalikes=[[["a"]]]),
    ],
)
def test_details_at_fault_leave_the_numbers(
    written: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Record], object]
) -> None:
    (tmp_path / "ranking.json").write_bytes((written / "ranking.json").read_bytes())
    details = json.loads((written / "ranking.details.json").read_text("utf-8"))
    change(details)
    (tmp_path / "ranking.details.json").write_text(json.dumps(details))
    ((record, found),) = read_study(tmp_path)
    assert found == []
    assert "are left out" in caplog.text
    summary = summarize_records([(record, found)])
    assert to_html(summary)
    assert to_markdown(summary)


def test_shapes() -> None:
    check_shape(
        {"a": [1, 2.5], "b": None, "c": {"x": [["k", 1]]}}, {"a": [float], "b": (str, None), "c": {str: [[str, int]]}}
    )
    for value, shape in (
        ([1, float("inf")], [float]),
        ([True], [float]),
        ([2**63], [int]),
        (1.0, int),
        ({"a": 1}, {"b": int}),
        ({"a": {"b": "x"}}, {"a": {str: int}}),
        (["a", "b"], [str, int]),
        ("x", (int, None)),
    ):
        with pytest.raises(ShapeError):
            check_shape(value, shape)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": [1, 2, 3]}}, "`x.a.b` must be a list of 2; got a list of 3"),
        ({"a": {"b": 3}}, "`x.a.b` must be null or a list of 2; got 3"),
        ({"a": [1]}, r"`x.a` must be null or an object; got a list of 1"),
        ({}, "`x.a` is missing"),
        ([1, "2"], r"`x\[1\]` must be a finite number; got '2'"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_several_shapes_the_error_is_that_of_the_kind_of_the_value(
    value: object, message: str, *, turned: bool
) -> None:
    inner = {"a": (None, {"b": (None, [float, float])})}
    shapes = (inner, None, [float], int)
    with pytest.raises(ShapeError, match=f"^{message}$"):
        check_shape(value, shapes[::-1] if turned else shapes, "x")
    with pytest.raises(ShapeError, match=r"^`x` must be an object or null or a list or a whole number; got 'y'$"):
        check_shape("y", shapes, "x")


def test_of_many_folders_those_that_can_be_read_are_shown(written: Path, tmp_path: Path) -> None:
    text = (written / "ranking.json").read_text("utf-8")
    for name, content in (("a", text[:100]), ("b", text)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ranking.json").write_text(content)
    ((record, _),) = read_study(tmp_path)
    assert record == json.loads(text)
    (tmp_path / "b" / "ranking.json").write_text("{}")
    with pytest.raises(FileDamagedError):
        read_study(tmp_path)
