"""What people have in memory, each kind through `rank`: the right classes, or one sentence with the repair."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from transferability import Settings, Task, load_dataset, rank, relate
from transferability.errors import LabelError, TransferabilityError

N = 48
NAMES = ["calm", "glad", "sad"] * (N // 3)
NUMBERS = np.arange(N) % 3
rng = np.random.default_rng(0)
TEXTS = [f"{'a' * (1 + 4 * (row % 3))} {row}" for row in range(N)]
PIXELS = (rng.integers(0, 60, (N, 8, 8, 3)) + 90 * NUMBERS[:, None, None, None]).astype(np.uint8)
PICTURES = [Image.fromarray(each) for each in PIXELS]


class Rows(torch.utils.data.Dataset):
    """A torch data set of whatever it is given."""

    def __init__(self, *rows: Any) -> None:
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


class Row(NamedTuple):
    text: str
    label: str


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self) -> Any:
        return iter(zip(PICTURES, NUMBERS, strict=True))


def encode(items: list[Any]) -> np.ndarray:
    """Return how long texts are, and how bright pictures."""
    if isinstance(items[0], str):
        return np.array([[len(item), item.count("a")] for item in items], dtype=float)
    return np.stack([np.asarray(item, dtype=float).mean(axis=(0, 1)) for item in items])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "photos"
    for row, (picture, name) in enumerate(zip(PICTURES, NAMES, strict=True)):
        (root / name).mkdir(parents=True, exist_ok=True)
        picture.save(root / name / f"{row:02d}.png")
    return root


def paths(photos: Path) -> list[Path]:
    return [photos / name / f"{row:02d}.png" for row, name in enumerate(NAMES)]


KINDS = {
    "a path": lambda photos: photos,
    "datasets.Dataset": lambda _: datasets.Dataset.from_dict({"text": TEXTS, "labels": NAMES}),
    "torch Dataset of pairs": lambda _: Rows(*zip(PICTURES, NAMES, strict=True)),
    "torch Dataset of dicts": lambda _: Rows(*({"image": p, "label": n} for p, n in zip(PICTURES, NAMES, strict=True))),
    "torch Dataset of texts": lambda _: Rows(*zip(TEXTS, NAMES, strict=True)),
    "ImageFolder": lambda photos: ImageFolder(str(photos)),
    "Subset of ImageFolder": lambda photos: torch.utils.data.Subset(ImageFolder(str(photos)), list(range(N))),
    "pandas": lambda _: pd.DataFrame({"text": TEXTS, "label": pd.Categorical(NAMES)}),
    "pandas with PIL pictures": lambda _: pd.DataFrame({"image": PICTURES, "label": NAMES}),
    "pandas with paths": lambda photos: pd.DataFrame({"image": list(map(str, paths(photos))), "label": NAMES}),
    "Arrow": lambda _: pa.table({"text": TEXTS, "label": NAMES}),
    "dict of columns": lambda _: {"text": TEXTS, "label": NAMES},
    "list of records": lambda _: [{"text": t, "label": n} for t, n in zip(TEXTS, NAMES, strict=True)],
    "PIL pictures and labels": lambda _: (PICTURES, NAMES),
    "paths and labels": lambda photos: (paths(photos), NAMES),
    "strings of paths and labels": lambda photos: (list(map(str, paths(photos))), np.array(NAMES)),
    "texts and labels": lambda _: (TEXTS, NAMES),
    "Series of texts and labels": lambda _: (pd.Series(TEXTS), pd.Series(NAMES)),
    "array of texts and labels": lambda _: (np.array(TEXTS), np.array(NAMES)),
    "iterators": lambda _: (iter(TEXTS), NAMES),
    "array of pictures and labels": lambda _: (PIXELS, NAMES),
    "list of pairs": lambda _: list(zip(PICTURES, NAMES, strict=True)),
    "tensors with channels first": lambda _: (torch.tensor(PIXELS).permute(0, 3, 1, 2), NAMES),
    "floats of whole pixels": lambda _: (PIXELS.astype(np.float32), NAMES),
    "list of arrays": lambda _: (list(PIXELS), NAMES),
    "list of tensors": lambda _: (list(torch.tensor(PIXELS).permute(0, 3, 1, 2) / 255), NAMES),
    "pictures of several sizes as arrays": lambda _: ([each[: 4 + k % 4] for k, each in enumerate(PIXELS)], NAMES),
    "contents of picture files": lambda photos: ([path.read_bytes() for path in paths(photos)], NAMES),
    "named tuples": lambda _: [Row(text, name) for text, name in zip(TEXTS, NAMES, strict=True)],
    "table of one column and labels": lambda _: (pd.DataFrame({"sentence": TEXTS}), pd.Series(NAMES)),
    "ConcatDataset": lambda photos: torch.utils.data.ConcatDataset([ImageFolder(str(photos))]),
    "TensorDataset with channels first": lambda _: torch.utils.data.TensorDataset(
        torch.tensor(PIXELS).permute(0, 3, 1, 2), torch.tensor(NUMBERS)
    ),
    "dictionary-encoded Arrow": lambda _: pa.table({"text": TEXTS, "label": pa.array(NAMES).dictionary_encode()}),
    "labels as bytes": lambda _: (TEXTS, [name.encode() for name in NAMES]),
    "structured array": lambda _: np.array(
        list(zip(TEXTS, NAMES, strict=True)), dtype=[("text", "U20"), ("label", "U9")]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_ranked(kind: str, photos: Path) -> None:
    data = KINDS[kind](photos)
    found = rank(data, encoders=encode, settings=Settings(folds=1, cache=False))
    assert found.best.relatedness.transferred_accuracy == pytest.approx(1, abs=0.1)
    classes = load_dataset(KINDS[kind](photos))
    names = ("0", "1", "2") if kind.startswith("TensorDataset") else ("calm", "glad", "sad")
    assert (classes.class_names, len(classes)) == (names, N)


def test_polars_tables(photos: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"text": TEXTS, "label": NAMES})
    for data in (frame, frame.lazy()):
        assert load_dataset(data).class_names == ("calm", "glad", "sad")


def test_relate_takes_them_too() -> None:
    (result,) = relate((TEXTS, NAMES), pd.DataFrame({"text": TEXTS, "label": NAMES}), encode)
    assert result.transferred_accuracy > 0.9
    (own,) = relate(None, (TEXTS, NAMES), encode)
    assert own.transferred_accuracy > 0.9


LABELS = {
    "strings": (NAMES, ("calm", "glad", "sad")),
    "booleans": ([True, False] * (N // 2), ("False", "True")),
    "whole floats": ([1.0, 2.0] * (N // 2), ("1", "2")),
    "negative": ([-1, 1] * (N // 2), ("-1", "1")),
    "from 1": (NUMBERS + 1, ("1", "2", "3")),
    "far apart": (np.array([3, 10**12])[NUMBERS % 2], ("3", "1000000000000")),
    "torch": (torch.tensor([3, 7] * (N // 2)), ("3", "7")),
    "nullable": (pd.array([1, 2] * (N // 2), dtype="Int64"), ("1", "2")),
    "Arrow": (pa.array(NAMES), ("calm", "glad", "sad")),
    "categories": (pd.Categorical(NAMES), ("calm", "glad", "sad")),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind_keep_their_names(kind: str) -> None:
    labels, names = LABELS[kind]
    data = load_dataset((TEXTS, labels))
    task = Task(np.eye(N), labels)
    assert data.class_names == task.class_names == names
    assert data.labels.tolist() == task.labels.tolist()
    assert [names[number] for number in data.labels[:2]] == [_name(each) for each in list(labels)[:2]]


def _name(label: Any) -> str:
    value = label.as_py() if hasattr(label, "as_py") else label.item() if hasattr(label, "item") else label
    return str(int(value)) if isinstance(value, float) else str(value)


def test_a_part_of_a_task_is_not_numbered_anew() -> None:
    task = Task(np.eye(6), [0, 1, 2, 0, 1, 2])
    assert task.subset(np.array([0, 1, 2])).labels.tolist() == [0, 1, 2]
    with pytest.raises(LabelError, match="class 0 has no sample"):
        task.subset(np.array([1, 2, 4, 5]))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (
            torch.utils.data.DataLoader(Rows(*PICTURES)),
            r"got DataLoader\. Give the data set of the loader: loader\.dataset",
        ),
        (Stream(), r"got Stream\. Give a list: list\(data\)"),
        (set(TEXTS), "got set. Give a list, whose order is fixed"),
        ({"data": PIXELS, "target": NUMBERS}, r"Give a pair: \(bunch\.data, bunch\.target\)"),
        (Rows({"picture_of": 1}), "must have one of the keys image, .* got picture_of"),
        (
            pd.DataFrame({"review": [f"quite a long text {row}" for row in range(N)], "emotion": NAMES}),
            "Column 'review' holds texts and column 'emotion' has 3 values: write columns='text=review,label=emotion'",
        ),
        (pd.DataFrame({"photo": ["a.jpg", "b.jpg"] * 3, "kind": ["x", "y"] * 3}), "image=photo,label=kind"),
        (pd.DataFrame({"x": [0.5] * 4, "y": [1.5] * 4, "label": [0, 1] * 2}), "Columns of numbers are features"),
        ((TEXTS, NUMBERS + 0.5), "must be integers or strings; row 0 is 0.5"),
        ((TEXTS, [None, *NAMES[1:]]), "row 0 is None. Fill it or drop the row"),
        ((TEXTS, np.eye(3)[NUMBERS]), r"pass labels\.argmax\(axis=1\)"),
        ((TEXTS, NAMES[:5]), "one entry per row; got 5 for 48 rows"),
        (TEXTS, "has no labels, and without a reference they are needed"),
        (
            pd.DataFrame({"text": TEXTS, "emotion": NAMES}),
            "column 'emotion' has 3 values and is not used; write label=",
        ),
        ((TEXTS, ["a"] * 45 + ["b"] * 3), "class 'b' of 'data' has 3 rows; without a reference"),
        (None, "`data` must be a table .*; got NoneType"),
        (zip(TEXTS, NAMES, strict=True), r"Pairs of two texts .* are two lists: \(texts, labels\)"),
        (dict(zip(TEXTS, NAMES, strict=True)), r"Give a pair: \(list\(data\), list\(data\.values\(\)\)\)"),
        ({"glad": TEXTS[:30], "sad": TEXTS[30:]}, r"If its keys are classes, give a pair: \(\[item for items in data"),
        ((scipy.sparse.eye(N).tocsr(), NAMES), r"Write x\.toarray\(\)"),
        ((pd.DataFrame({"a": TEXTS, "b": TEXTS}), NAMES), r"has 2\. Give one table .* table\.assign\(label=labels\)"),
        (([b"no picture"] * N, NAMES), "picture of row 0 cannot be read: it is of no known picture format"),
        ((list(PIXELS), NAMES[:5]), "one entry per row; got 5 for 48 rows"),
        ((np.eye(N, 5), NUMBERS), "features already|array"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value[:30],
)
def test_what_cannot_be_used_ends_in_one_sentence(data: Any, match: str) -> None:
    with pytest.raises(TransferabilityError, match=match) as caught:
        rank(data, encoders=None if isinstance(data, tuple) and isinstance(data[0], np.ndarray) else encode)
    assert "\n" not in str(caught.value)


def test_longer_texts_that_are_not_read_are_named() -> None:
    frame = pd.DataFrame({"text": ["short"] * 6, "body": [f"a much longer text {row}" for row in range(6)]})
    assert load_dataset(frame).notes[-1] == (
        "column 'body' holds longer texts than 'text' and is not used; write text=body."
    )
