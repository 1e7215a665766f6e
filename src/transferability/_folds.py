"""Folds as the data make them and the mathematics takes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["RowFolds"]


class RowFolds(list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]):
    """Folds that single rows were dealt to: rows of one fold belong together no more than rows of different ones."""
