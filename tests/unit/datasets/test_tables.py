import io

import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, FileDamagedError, LabelError, MissingExtraError


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_the_usual_names(tmp_path):
    path = write(
        tmp_path / "mein reviews ü.csv", 'text,label\n"good, ""very"" good",pos\nschlecht ☹,neg\n12,pos\nNA,neg\n'
    )
    data = load_dataset(f"csv:{path}")
    assert (data.name, data.modality) == ("mein reviews ü", "text")
    assert data.items(range(4)) == ['good, "very" good', "schlecht ☹", "12", "NA"]
    assert (data.labels.tolist(), data.class_names) == ([1, 0, 1, 0], ("neg", "pos"))


def test_csv_columns_by_name_and_labels_with_gaps(tmp_path):
    path = write(tmp_path / "r.csv", 'id,body,stars\n7,"two\nlines",5\n8,fine,1\n9, bad ,3\n')
    data = load_dataset(f"csv:{path}#text=body,label=stars")
    assert data.items(range(3)) == ["two\nlines", "fine", " bad "]
    assert (data.labels.tolist(), data.class_names) == ([2, 0, 1], ("1", "3", "5"))
    assert load_dataset(f"csv:{path}#text=body").labels is None


def test_tsv(tmp_path):
    path = write(tmp_path / "r.tsv", "text\tlabel\na, b\t1\nc\t0\n")
    data = load_dataset(f"csv:{path}")
    assert data.items([0]) == ["a, b"]


@pytest.mark.parametrize(
    ("fragment", "match"),
    [
        ("", "must have a column 'text' or 'image'; it has 'body', 'stars'"),
        ("#text=bodi", "no column 'bodi'. Did you mean 'body'"),
        ("#text=body,label=star", "no column 'star'. Did you mean 'stars'"),
        ("#txt=body", "Did you mean 'text'"),
        ("#text=body,train", "no column 'split'"),
    ],
)
def test_columns_that_are_not_there(tmp_path, fragment, match):
    path = write(tmp_path / "r.csv", "body,stars\na,1\nb,2\n")
    with pytest.raises(DatasetError, match=match):
        load_dataset(f"csv:{path}{fragment}")


@pytest.mark.parametrize("header", ["text,text,label", "text,label,label"])
def test_columns_of_one_name(tmp_path, header):
    path = write(tmp_path / "r.csv", f"{header}\na,b,c\n")
    with pytest.raises(DatasetError, match="has 2 columns"):
        load_dataset(f"csv:{path}")


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ("a,1\nb,\n", LabelError, "line 3 .* no label"),
        ("a,x\nb,\n", LabelError, "line 3 .* no label"),
        ("a,1.5\nb,2\n", LabelError, "line 2 has 1.5"),
        ("a,1\nb\n", FileDamagedError, "not a CSV file"),
        ("", DatasetError, "no rows"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, rows, error, match):
    path = write(tmp_path / "r.csv", f"text,label\n{rows}")
    with pytest.raises(error, match=match):
        load_dataset(f"csv:{path}")


def test_damaged_files(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes("text\nfür\n".encode("latin-1"))
    with pytest.raises(FileDamagedError, match="UTF-8"):
        load_dataset(f"csv:{path}")
    path = tmp_path / "r.parquet"
    parquet.write_table(pa.table({"text": ["a"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileDamagedError, match="Parquet"):
        load_dataset(f"parquet:{path}")
    with pytest.raises(DatasetError, match="there is no file"):
        load_dataset(f"parquet:{tmp_path / 'nowhere.parquet'}")


def test_parquet_and_its_split_column(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(
        pa.table({"text": ["a", "b", "c"], "label": [1, 0, 1], "split": ["train", "test", "train"]}), path
    )
    data = load_dataset(f"parquet:{path}#train")
    assert (data.name, data.items(range(2)), data.ids.tolist()) == ("t_train", ["a", "c"], ["0", "2"])
    assert data.labels.tolist() == [0, 0]
    with pytest.raises(DatasetError, match="Did you mean 'test'"):
        load_dataset(f"parquet:{path}#tset")


def test_parquet_without_a_text(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(DatasetError, match=r"row 1 \(from 0\) of .* has no text"):
        load_dataset(f"parquet:{path}")


def test_pictures_by_path_by_bytes_and_as_hubs_store_them(tmp_path):
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(stream, "PNG")
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "sub dir" / "a.png").write_bytes(stream.getvalue())
    columns = {
        "path": ["sub dir/a.png"],
        "raw": [stream.getvalue()],
        "hub": [{"bytes": stream.getvalue(), "path": "gone.png"}],
        "wrong": [3],
    }
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(columns), path)
    prints = set()
    for column in ("path", "raw", "hub"):
        data = load_dataset(f"parquet:{path}#image={column}")
        assert data.modality == "image"
        assert data.items([0])[0].getpixel((0, 0)) == (1, 2, 3)
        prints.add(data.fingerprint())
    assert len(prints) == 1  # the same picture, wherever it lies
    with pytest.raises(
        DatasetError, match=r"column 'wrong' of .* must hold texts, bytes or records .*it holds integers"
    ):
        load_dataset(f"parquet:{path}#image=wrong")


def test_csv_of_pictures_names_the_one_that_is_missing(tmp_path):
    path = write(tmp_path / "t.csv", "image,label\nnowhere.png,1\n")
    data = load_dataset(f"csv:{path}")
    with pytest.raises(DatasetError, match=r"nowhere\.png"):
        data.items([0])
    with pytest.raises(DatasetError, match=r"row '0' of data 't' .*nowhere\.png"):
        data.fingerprint()


def test_a_number_sign_in_a_file_name(tmp_path):
    path = write(tmp_path / "c#1.csv", "text\na\n")
    assert load_dataset(f"csv:{path}").items([0]) == ["a"]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "t.csv", "text\na\n")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'transferability\[tables\]'"):
        load_dataset(f"csv:{path}")


def test_a_table_of_numbers_is_features_in_every_format(tmp_path):
    columns = {"a": [0.5, 1.5, 2.5], "b": [1, 2, 3], "label": ["p", "n", "p"]}
    parquet.write_table(pa.table(columns), tmp_path / "n.parquet")
    write(tmp_path / "n.csv", "a,b,label\n0.5,1,p\n1.5,2,n\n,3,p\n")
    write(tmp_path / "w.csv", "a,b,label\n0.5,1,p\nx,y,n\n2.5,3,p\n")
    for name in ("n.parquet", "n.csv"):
        with pytest.raises(DatasetError, match="Columns of numbers are features"):
            load_dataset(tmp_path / name)
    with pytest.raises(DatasetError, match=r"Name one: csv:.*#text=COLUMN"):
        load_dataset(tmp_path / "w.csv")


@pytest.mark.parametrize("name", ["label", "labels"])
@pytest.mark.parametrize(
    ("cells", "kind"), [([["a"], ["a", "b"]], "lists of texts"), ([[0, 1], [1, 1]], "lists of integers")]
)
def test_labels_in_lists_are_named_as_such(tmp_path, name, cells, kind):
    path = tmp_path / "l.parquet"
    parquet.write_table(pa.table({"text": ["a b", "c d"], name: cells}), path)
    (note,) = load_dataset(path).notes
    assert f"column '{name}' holds {kind}, and a class is one number or name in each row" in note
    assert (f"are read with target={name}" in note) is (kind != "lists of texts")
    if kind != "lists of texts":
        assert load_dataset(f"parquet:{path}#target={name}").targets.tolist() == cells
