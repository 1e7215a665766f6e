"""The datasets library on files made here: columns by their types, splits, streams."""

import pickle

import datasets
import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset
from transferability.errors import DatasetError, LabelError, MissingExtraError, OptionError

NER = datasets.List(datasets.ClassLabel(names=["O", "PER", "LOC"]))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def save(folder, features, **columns):
    datasets.Dataset.from_dict(columns, features=datasets.Features(features)).save_to_disk(folder)
    return folder


TEXT, NUMBER = datasets.Value("string"), datasets.Value("float32")


def test_pictures_and_classes_by_their_types(tmp_path):
    pictures = [Image.new("RGB", (3, 2), (level, 0, 0)) for level in (10, 20, 30)]
    features = {"photo": datasets.Image(), "animal": datasets.ClassLabel(names=["ant", "bee", "cat"]), "note": TEXT}
    folder = save(tmp_path / "zoo", features, photo=pictures, animal=[2, 0, 2], note=["", "", ""])
    data = load_dataset(f"hf:{folder}")
    assert (data.name, data.modality, data.class_names) == ("zoo", "image", ("ant", "cat"))
    assert data.labels.tolist() == [1, 0, 1]
    assert data.items([1])[0].getpixel((0, 0)) == (20, 0, 0)
    copy = pickle.loads(pickle.dumps(data))
    assert len(pickle.dumps(data)) < 20_000  # the rows stay in their file
    assert copy.fingerprint() == data.fingerprint()
    assert len(load_dataset(f"hf:{folder}", limit=2)) == 2


def test_splits_and_names(tmp_path):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    folder = tmp_path / "reviews"
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk(folder)
    data = load_dataset(f"hf:{folder}:test")
    assert (data.name, data.items([0]), data.class_names) == ("reviews_test", ["a"], ("x",))
    with pytest.raises(DatasetError, match=r"several splits. Choose one: hf:.*reviews:train, hf:.*reviews:test"):
        load_dataset(f"hf:{folder}")
    with pytest.raises(DatasetError, match=r"has no split 'tst'. Did you mean 'test'"):
        load_dataset(f"hf:{folder}:tst")


def test_a_float_label_is_a_target_and_pairs_are_named(tmp_path):
    features = {"sentence1": TEXT, "sentence2": TEXT, "label": NUMBER}
    folder = save(tmp_path / "sts", features, sentence1=["a", "b"], sentence2=["c", "d"], label=[0.5, 4.0])
    data = load_dataset(f"hf:{folder}#text=sentence1+sentence2")
    assert (data.items([0]), data.targets.tolist(), data.labels) == ([("a", "c")], [0.5, 4.0], None)
    with pytest.raises(DatasetError, match=r"cannot be told from 'sentence1', .* text=COLUMN\+COLUMN"):
        load_dataset(f"hf:{folder}")
    with pytest.raises(DatasetError, match=r"no column 'sentence3'. Did you mean"):
        load_dataset(f"hf:{folder}#text=sentence3")


def test_lists_of_classes_are_zeros_and_ones(tmp_path):
    topics = datasets.List(datasets.ClassLabel(names=["joy", "fear", "hope"]))
    folder = save(tmp_path / "emotions", {"text": TEXT, "topics": topics}, text=["a", "b"], topics=[[2, 0], []])
    assert load_dataset(f"hf:{folder}#text=text,target=topics").targets.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_words_and_tags_by_their_types(tmp_path):
    features = {"id": NUMBER, "tokens": datasets.List(TEXT), "ner_tags": NER}
    words, tags = [["Ann", "sleeps"], ["Rome"]], [[1, 0], [2]]
    data = load_dataset(f"hf:{save(tmp_path / 'ner', features, id=[0, 1], tokens=words, ner_tags=tags)}")
    assert (data.modality, data.class_names) == ("tokens", ("O", "PER", "LOC"))
    assert data.items([0, 2]) == [(("Ann", "sleeps"), 0), (("Rome",), 0)]
    assert data.labels.tolist() == [1, 0, 2]


def test_labels_that_are_kept_secret_and_labels_out_of_range(tmp_path):
    label = datasets.ClassLabel(names=["no", "yes"])
    secret = save(tmp_path / "test", {"text": TEXT, "label": label}, text=["a", "b"], label=[-1, -1])
    assert load_dataset(f"hf:{secret}").labels is None
    partly = save(tmp_path / "partly", {"text": TEXT, "label": label}, text=["a", "b"], label=[0, -1])
    with pytest.raises(LabelError, match=r"row 1 \(from 0\) has -1"):
        load_dataset(f"hf:{partly}")


@pytest.mark.filterwarnings("ignore")
def test_files_and_streams(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("".join(f'{{"text": "t{row}", "label": {row % 2}}}\n' for row in range(40)))
    data = load_dataset(f"hf:{path}")
    assert (len(data), data.name, data.items([39])) == (40, "lines", ["t39"])
    stream = load_dataset(f"hf:{path}:train?streaming", limit=10, seed=1)
    assert (len(stream), stream.ids.tolist()) == (10, [str(row) for row in range(10)])
    assert stream.items(range(10)) != data.items(range(10))  # shuffled
    assert set(stream.items(range(10))) <= set(data.items(range(40)))
    assert stream.fingerprint() == load_dataset(f"hf:{path}:train?streaming", limit=10, seed=1).fingerprint()
    with pytest.raises(OptionError, match="`limit` must be given for a stream"):
        load_dataset(f"hf:{path}?streaming")
    with pytest.raises(DatasetError, match="Did you mean 'streaming'"):
        load_dataset(f"hf:{path}?stream")
    with pytest.raises(DatasetError, match="the split is chosen as hf:"):
        load_dataset(f"hf:{path}#train")


def test_reading_says_nothing(tmp_path, capfd):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b"}\n')
    assert load_dataset(f"hf:{path}").items([1]) == ["b"]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_missing_text_is_named(tmp_path):
    folder = save(tmp_path / "gap", {"text": TEXT}, text=["a", None])
    with pytest.raises(DatasetError, match=r"row 1 \(from 0\) of hf:.*gap has no text"):
        load_dataset(f"hf:{folder}")


def test_data_that_are_not_there(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("x")
    for spec, match in (
        (tmp_path / "nowhere" / "at" / "all", "there is no file or folder"),
        (tmp_path / "x.txt", r"must be one of .*\.parquet"),
        ("nobody/nothing:train", "'hf:nobody/nothing:train' cannot be loaded: it is not in the cache of the hub"),
    ):
        with pytest.raises(DatasetError, match=match):
            load_dataset(f"hf:{spec}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'transferability\[datasets\]'"):
        load_dataset("hf:mnist")


def test_column_types_do_not_enter_the_fingerprint(tmp_path):
    plain = save(tmp_path / "plain", {"text": TEXT, "label": TEXT}, text=["a", "b"], label=["x", "y"])
    classes = datasets.ClassLabel(names=["x", "y"])
    numbered = save(tmp_path / "numbered", {"text": TEXT, "label": classes}, text=["a", "b"], label=[0, 0])
    first, second = load_dataset(f"hf:{plain}"), load_dataset(f"hf:{numbered}")
    assert first.fingerprint() == second.fingerprint()
    assert not np.array_equal(first.labels, second.labels)


def test_paths_of_pictures(tmp_path):
    Image.new("RGB", (3, 2), (7, 8, 9)).save(tmp_path / "a.png")
    path = tmp_path / "list.jsonl"
    path.write_text('{"image": "a.png", "label": 1}\n{"image": "nowhere.png", "label": 0}\n')
    data = load_dataset(f"hf:{path}")
    assert data.items([0])[0].getpixel((0, 0)) == (7, 8, 9)
    with pytest.raises(DatasetError, match=r"nowhere\.png cannot be read"):
        data.items([1])
