"""All rows of a file in their order, to be encoded: nothing is split off, shuffled or left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from d3pm.config import DataConfig
from d3pm.corpus import as_stream, encode_examples, pad, read_text, read_tokens, say_cut
from d3pm.data import quantise
from d3pm.dataset import Batch
from d3pm.errors import DataError, NoSuchFileError
from d3pm.pictures import Pictures, load_pictures
from d3pm.spec import DataSpec, check_fits
from d3pm.tables import is_table, read_whole_table

__all__ = ["Whole", "load_whole"]


class Whole(NamedTuple):
    """Examples in the order of the data.

    Attributes
    ----------
    batch : Batch
    ids : list of str
        Names of picture files below the folder, lines of a text ("line 3", from 1), the first token of each piece of a
        stream ("token 512", from 0), else row numbers.
    labels : int64 array of shape (n,) or None
    classes : tuple of str
        Names that the labels have.
    """

    batch: Batch
    ids: list[str]
    labels: np.ndarray | None
    classes: tuple[str, ...]


def load_whole(config: DataConfig, spec: DataSpec) -> Whole:
    """Read all rows at `config.path`, as a model of this spec reads them.

    Raises
    ------
    DataError
        If the file is missing, holds nothing, or does not fit the model.
    """
    path = Path(config.path)
    if not path.exists():
        message = f"`data` must name a file or folder; there is nothing at {path}."
        raise NoSuchFileError(message)
    if config.kind not in ("text", "tokens"):
        return _of_pictures(load_pictures(config, whole=True, say_unlabelled=True), config, spec)
    if path.suffix in (".npy", ".npz"):
        return _of_tokens(read_tokens(path, config), spec)
    if is_table(path):
        rows = read_whole_table(path, config, "text", say_unlabelled=config.lines)
        ids = [str(i) for i in range(len(rows.items))]
        if config.lines:
            return Whole(_examples(rows.items, spec, config), ids, rows.labels, rows.classes)
        return _stream(rows.items, spec, config)
    if path.is_dir():
        message = f"`data` must name a text file or a folder that datasets' save_to_disk wrote; {path} is a folder."
        raise DataError(message)
    text = read_text(path)
    lines = [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        message = f"`data` must hold text; {path} holds none."
        raise DataError(message)
    if config.lines:
        batch = _examples([line for _, line in lines], spec, config)
        return Whole(batch, [f"line {i}" for i, _ in lines], None, ())
    return _stream([line for _, line in lines] if config.kind == "tokens" else [text], spec, config)


def _of_pictures(pictures: Pictures, config: DataConfig, spec: DataSpec) -> Whole:
    n = len(pictures.train) + len(pictures.test)
    order = np.arange(n) if pictures.rows is None else np.argsort(pictures.rows)
    images = np.concatenate([pictures.train, pictures.test])[order]
    check_fits(replace(spec, shape=images.shape[1:], n_tokens=config.levels), spec)
    labels = None
    if pictures.train_labels is not None and pictures.test_labels is not None:
        labels = np.concatenate([pictures.train_labels, pictures.test_labels])[order]
    tokens = torch.from_numpy(quantise(images, config.levels).astype(np.int64))
    ids = list(pictures.names) or [str(i) for i in range(n)]
    return Whole(Batch(tokens, None, None), ids, labels, pictures.classes)


def _of_tokens(parts: list[np.ndarray], spec: DataSpec) -> Whole:
    tokens = np.concatenate(parts)
    n_tokens = max(spec.n_tokens, int(tokens.max()) + 1)
    check_fits(replace(spec, shape=(*tokens.shape[1:],) or spec.shape, n_tokens=n_tokens), spec)
    if tokens.ndim == 1:
        return _pieces(tokens, spec)
    batch = Batch(torch.from_numpy(tokens.astype(np.int64)), None, None)
    return Whole(batch, [str(i) for i in range(len(tokens))], None, ())


def _examples(texts: Sequence[str], spec: DataSpec, config: DataConfig) -> Batch:
    tokens, lengths, _, cut = encode_examples(spec, texts)
    say_cut(cut, len(texts), config.length)
    return Batch(torch.from_numpy(tokens), None, torch.from_numpy(np.arange(tokens.shape[1]) < lengths[:, None]))


def _stream(texts: Sequence[str], spec: DataSpec, config: DataConfig) -> Whole:
    return _pieces(as_stream(spec, config, texts)[0], spec)


def _pieces(tokens: np.ndarray, spec: DataSpec) -> Whole:
    """Cut a stream into pieces that do not overlap; the last one may be shorter."""
    length = spec.shape[0]
    starts = range(0, len(tokens), length)
    rows = [tokens[start : start + length].astype(np.int64) for start in starts]
    lengths = np.array([len(row) for row in rows])
    real = None if (lengths == length).all() else torch.from_numpy(np.arange(length) < lengths[:, None])
    return Whole(Batch(torch.from_numpy(pad(rows, length)), None, real), [f"token {i}" for i in starts], None, ())
