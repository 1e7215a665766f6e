"""Labels in tables: never cast, never ignored without a word; and the kinds of cells that a role takes."""

import datetime as dt
import decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, LabelError


def csv(tmp_path, labels, header="text,label", name="r.csv"):
    path = tmp_path / name
    path.write_text(f"{header}\n" + "".join(f"a,{label}\n" for label in labels), encoding="utf-8")
    return path


def table(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["01", "1", "10"], ("01", "1", "10")),
        (["10", "9", "100"], ("9", "10", "100")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["2020-01-01", "2020-02-01"], ("2020-01-01", "2020-02-01")),
        (["true", "false", "True"], ("True", "false", "true")),
        (["1.0", "2.0"], ("1.0", "2.0")),
        (["1.0", "1"], ("1", "1.0")),
        (["1e3", "1000"], ("1000", "1e3")),
        (["12:30", "12:31"], ("12:30", "12:31")),
        (["1.2.3", "1.2"], ("1.2", "1.2.3")),
        (["9" * 400, "1"], ("1", "9" * 400)),
        (["9" * 5000, "b"], ("9" * 5000, "b")),
        (["²", "1"], ("1", "²")),
    ],
)
def test_labels_of_a_csv_are_never_cast(tmp_path, labels, names):
    data = load_dataset(f"csv:{csv(tmp_path, labels)}")
    assert data.class_names == names
    assert [names[label] for label in data.labels] == labels
    hub = load_dataset(f"hf:{tmp_path / 'r.csv'}")
    assert (hub.class_names, hub.labels.tolist()) == (names, data.labels.tolist())


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([True, False], ("False", "True")),
        ([2.0, 1.0], ("1", "2")),
        ([decimal.Decimal("2.00"), decimal.Decimal("1.00")], ("1", "2")),
        ([dt.date(2020, 2, 1), dt.date(2020, 1, 1)], ("2020-01-01", "2020-02-01")),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array(["b", "a"], pa.large_string()), ("a", "b")),
        (pa.array([200, 100], pa.uint8()), ("100", "200")),
    ],
    ids=["bool", "float", "decimal", "date", "categories", "large strings", "uint8"],
)
def test_labels_of_every_type_have_names(tmp_path, values, names):
    data = load_dataset(f"parquet:{table(tmp_path, text=['a', 'b'], label=values)}")
    assert (data.class_names, data.labels.tolist()) == (names, [1, 0])


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (["1", "NA"], r"line 3 has no label in column 'label'.*'NA' where the others are numbers"),
        (["1", "2", "null", "1"], r"line 4 has no label.*'null'"),
        (["a", "  "], "line 3 has no label"),
        (["0.5", "2"], r"line 2 has 0\.5.* write target=label"),
        (['"a\nb"', "c"], "must not hold line breaks; line 2"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, match):
    with pytest.raises(LabelError, match=match):
        load_dataset(f"csv:{csv(tmp_path, labels)}")


@pytest.mark.parametrize("value", [float("inf"), decimal.Decimal("0.5")])
def test_numbers_that_are_no_class(tmp_path, value):
    other = type(value)("1")
    with pytest.raises(LabelError, match=r"must be integers or strings; row 1 \(from 0\) has"):
        load_dataset(f"parquet:{table(tmp_path, text=['a', 'b'], label=[other, value])}")


def test_names_that_look_alike_are_said(tmp_path):
    data = load_dataset(f"csv:{csv(tmp_path, ['cat', 'Cat', 'cat ', 'NA'])}")
    assert data.class_names == ("Cat", "NA", "cat", "cat ")
    assert data.notes[0].endswith("differ only in case or spaces are kept apart: 'Cat' and 'cat' and 'cat '.")
    assert data.notes[1].startswith("'NA' is read as the name of a class")


@pytest.mark.parametrize("header", ["text,emotion", "text,Label", "text,class"])
def test_a_column_that_looks_like_labels_is_named(tmp_path, header):
    path = csv(tmp_path, ["joy", "fear", "joy", "fear", "hope", "hope"], header)
    column = header.split(",")[1]
    note = f"no labels are read: column {column!r} has 3 values and is not used; write label={column}."
    for data in (load_dataset(f"csv:{path}"), load_dataset(f"hf:{path}")):
        assert (data.labels, data.notes) == (None, (note,))
    assert load_dataset(f"csv:{path}#label={column}").notes == ()
    assert load_dataset(f"csv:{path}#label={column}").class_names == ("fear", "hope", "joy")


def test_columns_that_do_not_look_like_labels(tmp_path):
    n = 40
    path = table(
        tmp_path,
        text=["a"] * n,
        id=list(range(n)),
        score=np.linspace(0, 1, n).repeat(1),
        constant=[1] * n,
        vector=[[1, 2]] * n,
        name=[f"n{row}" for row in range(n)],
    )
    assert load_dataset(f"parquet:{path}").notes == ()


def test_rows_of_all_splits_are_said(tmp_path):
    path = table(tmp_path, text=["a", "b"], label=[0, 1], split=["test", "train"])
    assert load_dataset(f"parquet:{path}").notes == (
        "rows of all splits are read ('test', 'train'); write #train for one.",
    )
    assert load_dataset(f"parquet:{path}#test").notes == ()


@pytest.mark.filterwarnings("ignore")
def test_labels_in_folders_of_save_to_disk(tmp_path):
    import datasets

    for name, values, names, targets in (
        ("whole", [1.0, 2.0] * 5, ("1", "2"), None),
        ("fractions", [0.5, 2.0] * 5, None, [0.5, 2.0] * 5),
    ):
        datasets.Dataset.from_dict({"text": ["good", "bad"] * 5, "label": values}).save_to_disk(tmp_path / name)
        data = load_dataset(f"hf:{tmp_path / name}")
        assert data.class_names == names
        assert (None if data.targets is None else data.targets.tolist()) == targets
    assert data.notes == ("column 'label' holds fractions: they are numbers to predict (target), not classes.",)
    datasets.Dataset.from_dict({"text": ["good", "bad"] * 5, "labels": ["p", "n"] * 5}).save_to_disk(tmp_path / "l")
    assert load_dataset(f"hf:{tmp_path / 'l'}").class_names == ("n", "p")
    assert load_dataset(f"hf:{tmp_path / 'l'}").items([0]) == ["good"]


# ── kinds of cells ───────────────────────────────────────────────────────────────────────────────────────────────────

CELLS = {
    "bytes": [b"abc", b"d"],
    "records": [{"a": 1}, {"a": 2}],
    "lists of texts": [["a"], ["b", "c"]],
    "lists of integers": [[1], [2, 3]],
    "booleans": [True, False],
    "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "durations": pa.array([1, 2], pa.duration("s")),
}


@pytest.mark.parametrize(
    ("role", "kinds"),
    [
        ("text", ["bytes", "records", "lists of texts", "booleans", "maps", "durations"]),
        ("image", ["lists of integers", "booleans", "durations"]),
        ("words", ["bytes", "records", "lists of integers", "booleans"]),
        ("label", ["bytes", "records", "lists of integers", "maps", "durations"]),
        ("target", ["bytes", "records", "maps", "durations"]),
    ],
)
def test_cells_never_become_their_repr(tmp_path, role, kinds):
    for kind in kinds:
        other = "" if role in ("text", "image", "words") else "text=text,"
        path = table(tmp_path, text=["a", "b"], x=CELLS[kind])
        with pytest.raises(DatasetError, match=rf"column 'x' of .* to be read as {role}; it holds \w+"):
            load_dataset(f"parquet:{path}#{other}{role}=x")


def test_tags_are_lists(tmp_path):
    path = table(tmp_path, w=[["a"], ["b"]], t=[b"x", b"y"])
    with pytest.raises(DatasetError, match=r"column 't' of .* to be read as tags; it holds bytes"):
        load_dataset(f"parquet:{path}#words=w,tags=t")


def test_numbers_and_dates_are_texts(tmp_path):
    path = table(tmp_path, n=[12, 7], d=[dt.date(2020, 1, 2), dt.date(2021, 1, 2)])
    assert load_dataset(f"parquet:{path}#text=n").items([0]) == ["12"]
    assert load_dataset(f"parquet:{path}#text=d").items([0]) == ["2020-01-02"]


def test_a_word_that_is_missing_is_no_word_none(tmp_path):
    path = table(tmp_path, w=[["a", None], ["b"]])
    with pytest.raises(DatasetError, match=r"row 0 \(from 0\) of .* has an empty word"):
        load_dataset(f"parquet:{path}#words=w")


@pytest.mark.parametrize("value", ["1_000", "9" * 400, "nan", "inf", "0,5", "", "1 2"])
def test_texts_that_are_no_finite_number(tmp_path, value):
    path = csv(tmp_path, ["1", f'"{value}"'])
    with pytest.raises(LabelError, match=r"line 3 of .* must have a finite number"):
        load_dataset(f"csv:{path}#target=label")
