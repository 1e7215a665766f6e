"""What people have in memory: each kind is a data set, or one sentence says what it must be."""

import io
import pickle
from pathlib import Path

import datasets as library
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import torchvision
from PIL import Image
from pyarrow import parquet

from transferability.datasets import load_dataset, split_rows
from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, LabelError, OptionError, TransferabilityError
from transferability.pipeline import Settings, rank

TEXTS = [f"film {row}" for row in range(6)]
NAMES = ["good", "bad"] * 3
NUMBERS = [1, 0] * 3
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(pixels) for pixels in PIXELS]


def png(picture):
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


class Rows(torch.utils.data.Dataset):
    def __init__(self, items, labels=None):
        self.items, self.own = items, labels

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row] if self.own is None else (self.items[row], self.own[row])


class Table:
    """Whatever speaks Arrow, as polars and DuckDB do."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


COLUMNS = {"text": TEXTS, "label": NAMES}
KINDS = {
    "pandas": pd.DataFrame(COLUMNS),
    "pandas with an index": pd.DataFrame(COLUMNS, index=list("uvwxyz")),
    "pandas categories": pd.DataFrame({"text": TEXTS, "label": pd.Categorical(NAMES)}),
    "arrow": pa.table(COLUMNS),
    "speaks arrow": Table(pa.table(COLUMNS)),
    "dict": COLUMNS,
    "datasets": library.Dataset.from_dict(COLUMNS),
    "pair of lists": (TEXTS, NAMES),
    "pair of tuples": (tuple(TEXTS), tuple(NAMES)),
    "list and array": (TEXTS, np.array(NAMES)),
    "list and series": (TEXTS, pd.Series(NAMES)),
    "array of texts": (np.array(TEXTS), NAMES),
    "series of texts": (pd.Series(TEXTS), NAMES),
}


@pytest.mark.parametrize("kind", KINDS)
def test_texts_with_named_classes(kind):
    data = load_dataset(KINDS[kind], name="films")
    assert (data.name, data.modality, len(data)) == ("films", "text", 6)
    assert data.items(range(6)) == TEXTS
    assert (data.class_names, data.labels.tolist()) == (("bad", "good"), NUMBERS)
    assert data.fingerprint() == load_dataset((TEXTS, NAMES)).fingerprint()
    assert pickle.loads(pickle.dumps(data)).items([2]) == [TEXTS[2]]


PICTURE_KINDS = {
    "pictures": (PICTURES, NUMBERS),
    "array": (PIXELS, np.array(NUMBERS)),
    "one column of labels": (PIXELS, np.array(NUMBERS)[:, None]),
    "tensor": (torch.from_numpy(PIXELS), torch.tensor(NUMBERS)),
    "whole floats": (PICTURES, [float(number) for number in NUMBERS]),
    "torch data set": Rows(PICTURES, NUMBERS),
    "torch data set of tensors": Rows(list(torch.from_numpy(PIXELS).permute(0, 3, 1, 2)), torch.tensor(NUMBERS)),
    "torch data set of float tensors": Rows([torch.from_numpy(p).permute(2, 0, 1) / 255 for p in PIXELS], NUMBERS),
    "tensors": torch.utils.data.TensorDataset(torch.from_numpy(PIXELS), torch.tensor(NUMBERS)),
    "subset": torch.utils.data.Subset(Rows(PICTURES, NUMBERS), range(6)),
    "datasets": library.Dataset.from_dict(
        {"image": PICTURES, "label": NUMBERS},
        features=library.Features({"image": library.Image(), "label": library.ClassLabel(names=["0", "1"])}),
    ),
    "bytes in pandas": pd.DataFrame({"image": [png(picture) for picture in PICTURES], "label": NUMBERS}),
}


@pytest.mark.parametrize("kind", PICTURE_KINDS)
def test_pictures_with_classes(kind):
    data = load_dataset(PICTURE_KINDS[kind])
    assert (data.modality, data.labels.tolist(), data.class_names) == ("image", NUMBERS, ("0", "1"))
    for picture, pixels in zip(data.items(range(6)), PIXELS, strict=True):
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), pixels)
    assert len({data.fingerprint([row]) for row in range(6)}) == 6


@pytest.fixture
def folder(tmp_path):
    for row, picture in enumerate(PICTURES):
        path = tmp_path / "photos" / NAMES[row] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return tmp_path / "photos"


def test_image_folders_and_lists_of_paths(folder):
    expected = load_dataset(f"folder:{folder}")
    paths = sorted(folder.glob("*/*.png"))
    names = [path.parent.name for path in paths]
    for data in (
        load_dataset(torchvision.datasets.ImageFolder(folder)),
        load_dataset((paths, names)),
        load_dataset((list(map(str, paths)), names)),
        load_dataset(pd.DataFrame({"image": list(map(str, paths)), "label": names})),
    ):
        assert (data.labels.tolist(), data.class_names) == (expected.labels.tolist(), expected.class_names)
        assert [item.tobytes() for item in data.items(range(6))] == [
            item.tobytes() for item in expected.items(range(6))
        ]
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"picture .*png cannot be read"):
        split_rows(load_dataset((paths, names)))


def test_without_labels_pairs_and_features():
    assert load_dataset(TEXTS).labels is None
    assert load_dataset(PICTURES).labels is None
    assert load_dataset(Rows(PICTURES)).labels is None
    assert load_dataset([("a", "b"), ("c", "d")]).items([1]) == [("c", "d")]
    data = load_dataset((np.eye(4), ["a", "b", "a", "b"]))
    assert (data.modality, data.class_names) == ("array", ("a", "b"))
    np.testing.assert_array_equal(data.items([2])[0], np.eye(4)[2])


def test_limits_and_data_sets_that_are_ones_already():
    data = load_dataset((TEXTS, NAMES))
    assert load_dataset(data) is data
    assert np.bincount(load_dataset((TEXTS, NAMES), limit=4).labels).tolist() == [2, 2]


def test_paths_by_what_lies_there(tmp_path, folder):
    table = pa.table(COLUMNS)
    parquet.write_table(table, tmp_path / "t.parquet")
    pd.DataFrame(COLUMNS).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame(COLUMNS).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    np.savez(tmp_path / "p.npz", images=PIXELS, labels=NUMBERS)
    np.savez(tmp_path / "f.npz", features=np.eye(6), labels=NUMBERS)
    library.Dataset.from_dict(COLUMNS).save_to_disk(tmp_path / "saved")
    for name, modality in (
        ("t.parquet", "text"), ("t.csv", "text"), ("t.jsonl", "text"), ("saved", "text"),
        ("p.npz", "image"), ("photos", "image"), ("f.npz", "array"),
    ):  # fmt: skip
        for path in (tmp_path / name, str(tmp_path / name)):
            data = load_dataset(path)
            assert (data.modality, len(data), len(data.class_names)) == (modality, 6, 2)
    (tmp_path / "t.docx").write_text("x")
    for path, match in (
        (tmp_path / "nowhere.csv", "there is no file"),
        (tmp_path / "t.docx", "must end in one of .arrow"),
    ):
        with pytest.raises(DatasetError, match=match):
            load_dataset(path)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (3, "`data` must be a table .*; got int. Or write an identifier"),
        (None, "got NoneType"),
        ((TEXTS,), r"got a tuple of 1\. Write \(items, labels\)"),
        ([], "at least one item"),
        ([1, 2], "item 0 is int"),
        (["a", PICTURES[0]], "item 1 is picture, the first is text"),
        ((TEXTS, NAMES[:5]), "one entry per row; got 5 for 6 rows"),
        ((TEXTS, ["a", 1] * 3), "must be all of one kind"),
        ((TEXTS, [None, "a"] * 3), "row 0 is None"),
        ((TEXTS, [0.5, 1.0] * 3), "row 0 is 0.5"),
        ((PIXELS + 0.5, NUMBERS), r"must hold integers 0\.\.255 or floats 0\.\.1"),
        (
            pd.DataFrame({"review": TEXTS}),
            r"must have a column 'text' or 'image'; it has 'review'\. (Name one|Column 'review' holds texts: write)",
        ),
        (pd.DataFrame({"text": TEXTS, "label": ["a", 1] * 3}), "values of one type"),
        (
            pd.DataFrame({"text": TEXTS, "label": ["a", None] * 3}),
            r"row 1 \(from 0\) has no label",
        ),
        (library.DatasetDict(train=library.Dataset.from_dict(COLUMNS)), r"Give data\['train'\]"),
        (library.Dataset.from_dict(COLUMNS).to_iterable_dataset(), "got IterableDataset. Take some"),
        (Rows([torch.randn(3, 5, 4)] * 6, NUMBERS), "Leave out the transforms"),
        (Rows([object()] * 6, NUMBERS), "must be a picture|cannot be read"),
        (object(), "got object"),
        (np.array([0, 1, 0, 1]), r"looks like labels. Write one pair: \(items, labels\)"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(data, match):
    with pytest.raises(TransferabilityError, match=match) as caught:
        load_dataset(data)
    assert "\n" not in str(caught.value)


def test_rank_takes_what_is_in_memory():
    texts = [f"{'good' if row % 2 else 'bad'} film number {row}" for row in range(40)]
    frame = pd.DataFrame({"text": texts, "label": [row % 2 for row in range(40)]})

    def lengths(items):
        return np.array([[len(text), text.count("good"), text.count("bad")] for text in items], dtype=float)

    settings = Settings(cache=False)
    encoders = [FunctionEncoder("lengths", lengths)]
    for target in (frame, (texts, frame["label"])):
        ranking = rank(target, (texts, frame["label"].tolist()), encoders, settings=settings)
        assert ranking.best.relatedness.transferred_accuracy == 1
    assert len(rank(frame, [frame, (texts, frame["label"])], encoders, settings=settings).references) == 2


def test_labels_of_frames_are_named_when_they_are_not_used():
    data = load_dataset(pd.DataFrame({"text": TEXTS, "emotion": NAMES}))
    assert (data.labels, "write label=emotion" in data.notes[0]) == (None, True)
    with pytest.raises(LabelError, match="one entry per row"):
        load_dataset((TEXTS, []))


def test_columns_of_tables_are_named_as_in_identifiers():
    columns = {"a": TEXTS, "b": TEXTS, "mood": NAMES}
    for data in (pd.DataFrame(columns), columns, library.Dataset.from_dict(columns)):
        found = load_dataset(data, columns="text=a+b,label=mood")
        assert (found.items([1]), found.class_names) == ([(TEXTS[1], TEXTS[1])], ("bad", "good"))
        with pytest.raises(DatasetError, match=r"no column 'moood'. Did you mean 'mood'"):
            load_dataset(data, columns="text=a,label=moood")
    for data in ((TEXTS, NAMES), "csv:t.csv"):
        with pytest.raises(OptionError, match="`columns` must be left out for"):
            load_dataset(data, columns="label=mood")
    with pytest.raises(OptionError, match="must be written as text=COLUMN"):
        load_dataset(pd.DataFrame(columns), columns="mood")


def test_a_function_in_place_of_data_is_told_where_encoders_go() -> None:
    with pytest.raises(DatasetError, match=r"got by_mean, which can be called.*encoders=\[…\] in rank"):
        load_dataset(by_mean)


def by_mean(items: list[object]) -> list[object]:
    return items


def test_rows_of_features_in_place_of_pictures_are_told_their_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", x=np.zeros((4, 3)), y=[0, 1, 0, 1])
    with pytest.raises(DatasetError, match="an array named `features`"):
        load_dataset(f"npz:{tmp_path / 'c.npz'}")


def test_one_encoder_is_counted_as_one() -> None:
    rows = np.random.default_rng(0).integers(0, 255, (40, 4, 4), dtype=np.uint8)
    names = ["a", "b"] * 20
    encoder = FunctionEncoder("flat", lambda items: np.stack([np.asarray(item, dtype=float).ravel() for item in items]))
    ranking = rank((rows, names), encoders=[encoder], settings=Settings(cache=False))
    assert repr(ranking).startswith("Ranking('data', 1 encoder by ")
