"""Rows in messages: lines of text files as an editor counts them, else numbers from 0, which the message says."""

import gzip
import json
import pickle

import pandas as pd
import pytest

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, FileDamagedError, LabelError

BAD = "BAD"


def lines_of(text):
    """Return in which line of an editor the bad row begins."""
    return next(number for number, line in enumerate(text.splitlines(), start=1) if BAD in line)


CSV = {
    "plain": "text,label\na,p\nb,n\nBAD,\nd,p\n",
    "at the top": "text,label\nBAD,\nb,n\nd,p\n",
    "line breaks in texts": 'text,label\n"a\nb",p\n"b\n\n\nc",n\n"BAD\nx",\nd,p\n',
    "empty lines": "text,label\n\na,p\n\n\nb,n\nBAD,\nd,p\n",
    "Windows": "text,label\r\na,p\r\nb,n\r\nBAD,\r\nd,p\r\n",
    "semicolons": 'text;label\na;p\n"b;b";n\nBAD;\nd;p\n',
    "doubled quotes": 'text,label\n"a ""b"" c",p\nb,n\nBAD,\nd,p\n',
}


@pytest.mark.parametrize("case", list(CSV))
@pytest.mark.parametrize("form", ["csv", "mark", "gz", "hf"])
def test_the_line_of_a_csv_file(tmp_path, case, form):
    text = CSV[case]
    path = tmp_path / ("r.csv.gz" if form == "gz" else "r.csv")
    content = text.encode("utf-8-sig" if form == "mark" else "utf-8")
    path.write_bytes(gzip.compress(content) if form == "gz" else content)
    with pytest.raises(LabelError, match=rf"^line {lines_of(text)} has no label in column 'label' of .*r\.csv"):
        load_dataset(f"hf:{path}" if form == "hf" else f"csv:{path}")


def test_rows_of_a_split_keep_their_lines(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("text,label,split\na,p,train\n,n,train\nc,n,test\n,p,test\n")
    with pytest.raises(DatasetError, match=r"^line 5 of .*r\.csv has no text in column 'text'"):
        load_dataset(f"csv:{path}#test")
    with pytest.raises(DatasetError, match=r"^line 3 of .*r\.csv has no text in column 'text'"):
        load_dataset(f"csv:{path}#train")


def test_a_number_and_a_picture(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('image,score\na.png,1\n"../b.png",x\n')
    with pytest.raises(LabelError, match=r"^line 3 of .*r\.csv must have a finite number"):
        load_dataset(f"csv:{path}#target=score")
    data = pickle.loads(pickle.dumps(load_dataset(path)))
    with pytest.raises(DatasetError, match=r"^line 3 of .*r\.csv must name a picture below"):
        data.items([1])


@pytest.mark.parametrize("form", ["lines", "empty lines", "list", "spread"])
def test_the_line_of_a_record(tmp_path, form):
    rows = [{"text": "a"}, {"text": "b"}, {"text": " "}]
    path = tmp_path / "r.jsonl"
    text = {
        "lines": "\n".join(map(json.dumps, rows)),
        "empty lines": "\n\n" + "\n\n".join(map(json.dumps, rows)) + "\n",
        "list": json.dumps(rows, indent=1),
        "spread": json.dumps({"data": rows}, indent=1),
    }[form]
    path.write_text(text)
    place = {"lines": "line 3", "empty lines": "line 7"}.get(form, r"row 2 \(from 0\)")
    with pytest.raises(DatasetError, match=rf"^{place} of hf:.*r\.jsonl has no text"):
        load_dataset(path)
    path.write_text(text.replace('{"text": " "}', "7"))
    if form in ("lines", "empty lines"):
        with pytest.raises(FileDamagedError, match=rf"^{place} of .* must be an object"):
            load_dataset(path)


def test_rows_that_have_no_lines(tmp_path):
    frame = pd.DataFrame({"text": ["a", " "]})
    frame.to_parquet(tmp_path / "r.parquet")
    for data in (frame, tmp_path / "r.parquet"):
        with pytest.raises(DatasetError, match=r"^row 1 \(from 0\) of .* has no text"):
            load_dataset(data)
