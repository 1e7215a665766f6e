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


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_rounding_is_no_loss_in_any_unit(unit: float) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    weights = unit * np.random.default_rng(1).normal(size=(3, 5)) * (np.arange(5) > 0)  # one that is zero
    assert _returns(AffineMap(turn, np.zeros(5)), weights)
    assert not _returns(AffineMap(turn @ np.diag([1.0, 1.0, 1.0, 1.0, 0.0]) @ turn.T, np.zeros(5)), weights)
