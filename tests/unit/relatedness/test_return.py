"""Whether reference points keep their loss when they are taken to the target and back."""

import numpy as np
import pytest

from transferability.relatedness.certification import _returns
from transferability.relatedness.maps.affine_map import AffineMap


@pytest.mark.parametrize(
    ("matrix", "weights", "wanted"),
    [
        (np.diag([2.0, -3.0]), [[1.0, 1.0], [1.0, -1.0]], True),
        (np.diag([2.0, 0.0]), [[1.0, 1.0], [1.0, -1.0]], False),  # the second direction is lost
        (np.diag([2.0, 0.0]), [[1.0, 0.0], [-1.0, 0.0]], True),  # and nothing depends on it
        (np.diag([2.0, 0.0]), [[1.0, 0.0], [-1.0, 1e-6]], False),
        (np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]), [[1.0, 1.0], [1.0, -1.0]], True),  # into more dimensions
        (np.array([[1.0], [1.0]]), [[1.0, 1.0], [1.0, -1.0]], False),  # into fewer
    ],
)
def test_points_return_where_no_used_direction_is_lost(
    matrix: np.ndarray, weights: list[list[float]], wanted: bool
) -> None:
    there = AffineMap(matrix, np.zeros(len(matrix)))
    assert _returns(there, np.array(weights)) is wanted
