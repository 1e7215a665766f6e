"""Pairs, targets and words of tables: what a row is, and one sentence for each way in which it can be wrong."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, FileDamagedError, LabelError


def csv(tmp_path, text, name="r.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def table(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


def test_pairs_of_texts(tmp_path):
    path = csv(tmp_path, "a,b,label\nare you,yes,1\nis it,no,0\n")
    data = load_dataset(f"csv:{path}#text=a+b")
    assert data.modality == "text"
    assert data.items([1, 0]) == [("is it", "no"), ("are you", "yes")]
    assert data.labels.tolist() == [1, 0]
    other = csv(tmp_path, "a,b\nare ,youyes\nis it,no\n", "s.csv")
    shifted = load_dataset(f"csv:{other}#text=a+b")
    assert shifted.fingerprint() != data.fingerprint()
    assert load_dataset(f"csv:{path}#text=b+a").fingerprint() != data.fingerprint()


def test_a_plus_in_the_name_of_a_column(tmp_path):
    data = load_dataset(f"parquet:{table(tmp_path, **{'a+b': ['x']})}#text=a+b")
    assert data.items([0]) == ["x"]


@pytest.mark.parametrize("second", [None, ""])
def test_a_pair_with_one_side_missing(tmp_path, second):
    path = table(tmp_path, a=["x", "y"], b=["z", second])
    with pytest.raises(DatasetError, match=r"row 1 \(from 0\) of .* has no text in column 'b'"):
        load_dataset(f"parquet:{path}#text=a+b")


def test_one_target_or_several(tmp_path):
    path = csv(tmp_path, "text,stars,length\na,4.5,1\nb,2,3\n")
    one = load_dataset(f"csv:{path}#target=stars")
    assert (one.targets.tolist(), one.labels, one.class_names) == ([4.5, 2.0], None, None)
    assert repr(one) == "Dataset('r': 2 text rows, 1 target)"
    two = load_dataset(f"csv:{path}#target=stars+length").subset([1])
    assert two.targets.tolist() == [[2.0, 3.0]]
    assert one.fingerprint() == load_dataset(f"csv:{path}").fingerprint()  # targets are no part of it
    assert len(load_dataset(f"csv:{path}#target=stars", limit=1)) == 1


def test_several_labels_in_a_list(tmp_path):
    path = table(tmp_path, text=["a", "b"], topics=[[1, 0, 1], [0, 0, 0]])
    assert load_dataset(f"parquet:{path}#target=topics").targets.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    "values",
    [[1.0, None], [1.0, float("nan")], [1.0, float("inf")], ["1", "many"], [[1.0, 2.0], [1.0]]],
    ids=["null", "nan", "infinity", "text", "ragged"],
)
def test_targets_that_are_no_numbers(tmp_path, values):
    path = table(tmp_path, text=["a", "b"], score=values)
    with pytest.raises(LabelError, match=r"row 1 \(from 0\) of .* must have a finite number.* in column 'score'"):
        load_dataset(f"parquet:{path}#target=score")


def test_fractions_as_labels_name_the_way_out(tmp_path):
    path = csv(tmp_path, "text,label\na,1.5\nb,2\n")
    with pytest.raises(LabelError, match=r"line 2 has 1\.5.* write target=label"):
        load_dataset(f"csv:{path}")


@pytest.mark.parametrize(
    ("fragment", "match"),
    [
        ("text=text,image=text", "one of text, image and words"),
        ("text=text,label=n,target=n", "at most one of label, target and tags"),
        ("text=text,tags=n", "tags .of words"),
        ("text=text+n+n", "at most 2 columns"),
        ("label=text+n", "at most 1 column "),
        ("words=text,label=n", "must have tags"),
        ("target=m", "no column 'm'"),
    ],
)
def test_roles_that_exclude_each_other(tmp_path, fragment, match):
    with pytest.raises(DatasetError, match=match):
        load_dataset(f"parquet:{table(tmp_path, text=['a'], n=[1])}#{fragment}")


def test_every_labelled_word_is_a_row(tmp_path):
    path = table(
        tmp_path,
        words=[["the", "cat"], ["Rome"], ["a", "b"]],
        tags=[["O", "ANIMAL"], ["PLACE"], [None, "O"]],
    )
    data = load_dataset(f"parquet:{path}#words=words,tags=tags")
    assert (data.modality, data.class_names) == ("tokens", ("ANIMAL", "O", "PLACE"))
    assert data.ids.tolist() == ["0:0", "0:1", "1:0", "2:1"]
    assert data.labels.tolist() == [1, 0, 2, 1]
    assert data.items([1, 3]) == [(("the", "cat"), 1), (("a", "b"), 1)]
    assert len({data.fingerprint([row]) for row in range(4)}) == 4
    assert len(load_dataset(f"parquet:{path}#words=words")) == 5
    assert len(load_dataset(f"parquet:{path}#words=words,tags=tags", limit=3)) == 3


def test_words_and_tags_of_a_csv_are_divided_by_spaces(tmp_path):
    path = csv(tmp_path, "w,t\nthe cat,0 1\n")
    data = load_dataset(f"csv:{path}#words=w,tags=t")
    assert data.items([1]) == [(("the", "cat"), 1)]
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("words", "tags", "error", "match"),
    [
        ([["a"], []], [[1], []], DatasetError, r"row 1 \(from 0\) of .* has no words"),
        ([["a"], None], [[1], []], DatasetError, r"row 1 \(from 0\) of .* has no words"),
        ([["a"], ["b", " "]], [[1], [0, 1]], DatasetError, r"row 1 \(from 0\) of .* has an empty word"),
        ([["a"], ["b", "c"]], [[1], [0]], LabelError, r"row 1 \(from 0\) of .* one tag per word; got 1 .* for 2 words"),
        ([["a"], ["b"]], [[1.5], [0.0]], LabelError, r"row 0 \(from 0\) has 1\.5"),
    ],
)
def test_sentences_that_cannot_be_used(tmp_path, words, tags, error, match):
    path = table(tmp_path, words=words, tags=tags)
    with pytest.raises(error, match=match):
        load_dataset(f"parquet:{path}#words=words,tags=tags")


CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n\n"


def test_conll(tmp_path):
    path = csv(tmp_path, CONLL, "ner.conll")
    data = load_dataset(f"conll:{path}")
    assert (data.name, data.class_names) == ("ner", ("B-ORG", "B-PER", "O"))
    assert data.items(range(3)) == [(("EU", "rejects"), 0), (("EU", "rejects"), 1), (("Peter",), 0)]
    assert data.ids.tolist() == ["0:0", "0:1", "1:0"]
    assert load_dataset(f"conll:{path}#1").class_names == ("NNP", "VBZ")
    with pytest.raises(DatasetError, match="must be a number from 0"):
        load_dataset(f"conll:{path}#pos")
    with pytest.raises(FileDamagedError, match=r"line 3 of .* in column 4; got 'EU NNP B-ORG'"):
        load_dataset(f"conll:{path}#4")
    with pytest.raises(DatasetError, match="no rows"):
        load_dataset(f"conll:{csv(tmp_path, '', 'empty.conll')}")


def test_data_can_be_pickled(tmp_path):
    path = table(tmp_path, a=["x", "y"], b=["z", "w"], words=[["a"], ["b", "c"]])
    npz = tmp_path / "p.npz"
    np.savez(npz, x=np.zeros((2, 4, 4), dtype=np.uint8), y=[0, 1])
    for identifier in (f"parquet:{path}#text=a+b", f"parquet:{path}#words=words", f"npz:{npz}"):
        data = load_dataset(identifier)
        copy = pickle.loads(pickle.dumps(data.subset([1])))
        assert copy.fingerprint() == data.fingerprint([1])
        assert copy.ids.tolist() == data.ids[[1]].tolist()
        first, second = copy.items([0])[0], data.items([1])[0]
        assert first == second
