"""Reads the folder of image files that the experiments take by `--data`.

An archive `NAME.npz` holds `x_train`, `y_train`, `x_test`, `y_test`, `class_names`, or the same pictures as one stream
of JPEG bytes: `jpg`, `off` (offsets), `split` (0 train, 1 test), `y`, `class_names`.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from transferability.datasets import Dataset, stratified_sample

__all__ = ["pictures"]


def pictures(folder: Path, name: str, part: str, limit: int) -> Dataset:
    """Return at most `limit` pictures of one part, drawn with its class shares."""
    archive = np.load(folder / f"{name}.npz", allow_pickle=False)
    names = tuple(str(each) for each in archive["class_names"])
    if f"x_{part}" in archive:
        pixels, labels = archive[f"x_{part}"], archive[f"y_{part}"]
        rows = np.arange(len(labels))

        def read(row: int) -> object:
            from PIL import Image

            return Image.fromarray(pixels[row]).convert("RGB")

        def content(row: int) -> bytes:
            return pixels[row].tobytes()
    else:
        stream, offsets = archive["jpg"], archive["off"]
        rows = np.flatnonzero(archive["split"] == ("train", "test").index(part))
        labels = archive["y"][rows]

        def content(row: int) -> bytes:
            return stream[offsets[rows[row]] : offsets[rows[row] + 1]].tobytes()

        def read(row: int) -> object:
            from PIL import Image

            return Image.open(io.BytesIO(content(row))).convert("RGB")

    ids = np.array([f"{part}/{row}" for row in rows])
    dataset = Dataset(name, "image", ids, read, content, labels.astype(np.int64), names)
    return dataset.subset(stratified_sample(dataset.labels, len(dataset), limit))
