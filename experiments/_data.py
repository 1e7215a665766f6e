"""Reads the folder of files that the experiments take by `--data`.

Pictures: `NAME.npz` holds `x_train`, `y_train`, `x_test`, `y_test`, `class_names`, or the same pictures as one stream
of JPEG bytes: `jpg`, `off` (offsets), `split` (0 train, 1 test), `y`, `class_names`. Texts: `NAME.parquet` with columns
`text`, `label`, `split`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferability.datasets import Dataset, stratified_sample
from transferability.pipeline import Split

__all__ = ["FOR_TARGETS", "all_pictures", "pictures", "target", "train_pictures"]

FOR_TARGETS = 1000
"""Rows of the train part that targets and references may use; pre-training leaves them out."""


@dataclass(frozen=True)
class _Pixels:
    pixels: np.ndarray

    def read(self, row: int) -> Any:
        from PIL import Image

        return Image.fromarray(self.pixels[row]).convert("RGB")

    def content(self, row: int) -> bytes:
        return self.pixels[row].tobytes()


@dataclass(frozen=True)
class _Jpeg:
    stream: np.ndarray
    offsets: np.ndarray

    def read(self, row: int) -> Any:
        from PIL import Image

        return Image.open(io.BytesIO(self.content(row))).convert("RGB")

    def content(self, row: int) -> bytes:
        return self.stream[self.offsets[row] : self.offsets[row + 1]].tobytes()


@dataclass(frozen=True)
class _Strings:
    strings: tuple[str, ...]

    def read(self, row: int) -> str:
        return self.strings[row]

    def content(self, row: int) -> bytes:
        return self.strings[row].encode()


def all_pictures(folder: Path, name: str) -> tuple[Dataset, np.ndarray, np.ndarray]:
    """Return the whole data set, and the rows of its train and test part."""
    archive = np.load(folder / f"{name}.npz", allow_pickle=False)
    names = tuple(str(each) for each in archive["class_names"])
    if "x_train" in archive:
        reader: Any = _Pixels(np.concatenate([archive["x_train"], archive["x_test"]]))
        labels = np.concatenate([archive["y_train"], archive["y_test"]])
        in_test = np.arange(len(labels)) >= len(archive["y_train"])
    else:
        reader = _Jpeg(archive["jpg"], archive["off"])
        labels, in_test = archive["y"], archive["split"] == 1
    return _whole(name, "image", reader, labels, in_test, names)


def _whole(name: str, modality: Any, reader: Any, labels: np.ndarray, in_test: np.ndarray, names: tuple[str, ...]):
    ids = np.array([f"{'test' if test else 'train'}/{row}" for row, test in enumerate(in_test)])
    whole = Dataset(name, modality, ids, reader.read, reader.content, labels.astype(np.int64), names)
    return whole, np.flatnonzero(~in_test), np.flatnonzero(in_test)


def _sample(whole: Dataset, rows: np.ndarray, limit: int) -> np.ndarray:
    return rows[stratified_sample(whole.all_labels[rows], len(rows), limit)]


def train_pictures(folder: Path, name: str) -> Dataset:
    """Return all pictures of the train part, in the order of the file."""
    whole, train, _ = all_pictures(folder, name)
    return whole.subset(train)


def pictures(folder: Path, name: str, part: str, limit: int, *, leave: int = 0) -> Dataset:
    """Return at most `limit` pictures of one part with its class shares, without the `leave` first of the draw."""
    whole, train, test = all_pictures(folder, name)
    rows = train if part == "train" else test
    if leave:
        rows = np.setdiff1d(rows, _sample(whole, rows, leave))
    return whole.subset(_sample(whole, rows, limit))


def target(folder: Path, name: str, n_fit: int, n_test: int, classes: list[int] | None = None) -> Split:
    """Return a task: rows of the train part to fit on, of the test part to measure on; perhaps of some classes only."""
    read = _all_texts if (folder / f"{name}.parquet").exists() else all_pictures
    whole, train, test = read(folder, name)
    if classes is not None:
        train, test = (rows[np.isin(whole.all_labels[rows], classes)] for rows in (train, test))
    fit, measured = _sample(whole, train, n_fit), _sample(whole, test, n_test)
    part = whole.subset(np.concatenate([fit, measured]))
    if classes is not None:
        numbers = np.full(len(whole.class_names), -1)
        numbers[classes] = np.arange(len(classes))
        part = Dataset(
            f"{name}-{len(classes)}", part.modality, part.all_ids, part.read, part.content, numbers[part.all_labels],
            tuple(whole.class_names[k] for k in classes), part.chosen,
        )  # fmt: skip
    return Split(part, np.arange(len(fit)), len(fit) + np.arange(len(measured)))


def _all_texts(folder: Path, name: str) -> tuple[Dataset, np.ndarray, np.ndarray]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(folder / f"{name}.parquet").to_pydict()
    names, labels = np.unique(np.asarray(table["label"]), return_inverse=True)
    in_test = np.asarray(table["split"]) == "test"
    reader = _Strings(tuple(table["text"]))
    return _whole(name, "text", reader, labels, in_test, tuple(str(each) for each in names))
