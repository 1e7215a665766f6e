"""A row without a text is refused in every format, also where it holds spaces only: a CSV file knows no other."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from transferability.datasets import load_dataset
from transferability.errors import DatasetError


def stored(folder, form, blank):
    """Return three texts, of which the second is blank, in some form of data."""
    columns = {"text": ["good", blank, "fine"], "label": ["p", "n", "p"]}
    frame = pd.DataFrame(columns)
    match form:
        case "csv" | "tsv":
            frame.to_csv(folder / f"t.{form}", index=False, sep="," if form == "csv" else "\t")
        case "parquet":
            frame.to_parquet(folder / "t.parquet")
        case "dictionary":
            table = pa.Table.from_pandas(frame)
            table = table.set_column(0, "text", table["text"].dictionary_encode())
            parquet.write_table(table, folder / "t.parquet")
            return folder / "t.parquet"
        case "jsonl":
            rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
            (folder / "t.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        case "frame":
            return frame
        case "views":
            return pa.table({**columns, "text": pa.array(columns["text"], pa.string_view())})
        case "library":
            return pytest.importorskip("datasets").Dataset.from_dict(columns)
    return folder / f"t.{form}"


@pytest.mark.parametrize("blank", [None, "", "  ", "\u00a0\t"])
@pytest.mark.parametrize("form", ["csv", "tsv", "parquet", "dictionary", "jsonl", "frame", "views", "library"])
def test_a_blank_text(tmp_path, form, blank):
    with pytest.raises(DatasetError, match=r"has no text in column 'text'\. Fill it or drop the row"):
        load_dataset(stored(tmp_path, form, blank))
    data = load_dataset(stored(tmp_path, form, " a "))
    assert data.items([1]) == [" a "]


@pytest.mark.parametrize("blank", ["", " \n"])
@pytest.mark.parametrize("labels", [None, [0, 1, 0]])
def test_a_blank_text_in_a_list(blank, labels):
    for texts in (["good", blank, "fine"], [("good", "so"), ("fine", blank), ("bad", "so")]):
        with pytest.raises(DatasetError, match=r"item 1 of data 'films' has no text: it is .* Fill it or leave it out"):
            load_dataset(texts if labels is None else (texts, labels), name="films")


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("blank", [None, "", " "])
def test_a_pair_with_one_side_blank(tmp_path, side, blank):
    path = tmp_path / "p.csv"
    frame = pd.DataFrame({"a": ["x", "y"], "b": ["z", "u"]})
    frame.loc[1, side] = blank
    frame.to_csv(path, index=False)
    with pytest.raises(DatasetError, match=f"has no text in column '{side}'"):
        load_dataset(f"csv:{path}#text=a+b")


def test_a_number_that_is_none_and_a_blank_path(tmp_path):
    table = pa.table({"text": pa.array(np.array([1.5, np.nan])), "image": ["a.png", " "]})
    parquet.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="has no text in column 'text'"):
        load_dataset(f"parquet:{tmp_path}/t.parquet#text=text")
    with pytest.raises(DatasetError, match="has no image in column 'image'"):
        load_dataset(f"parquet:{tmp_path}/t.parquet#image=image")


def test_a_blank_text_far_down(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("text\n" + "good\n" * 40_000 + '" "\n' + "fine\n" * 9)
    with pytest.raises(DatasetError, match="has no text in column 'text'") as caught:
        load_dataset(path)
    assert "4000" in str(caught.value)
