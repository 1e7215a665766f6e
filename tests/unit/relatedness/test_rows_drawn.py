"""How many rows of each class are held out, and how many are drawn."""

import numpy as np
import pytest

from transferability.relatedness.tasks.sample import at_most, hold_out

COUNTS = np.array([1, 2, 3, 4, 5, 6, 10, 40])
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))


@pytest.mark.parametrize("seed", range(3))
def test_a_quarter_of_each_class_is_held_out(seed: int) -> None:
    seen, unseen = hold_out(LABELS, np.random.default_rng(seed))
    assert np.array_equal(np.sort(np.concatenate([seen, unseen])), np.arange(len(LABELS)))
    assert np.bincount(LABELS[unseen]).tolist() == [0, 1, 1, 1, 1, 2, 3, 10]  # halves are rounded up


@pytest.mark.parametrize(
    ("n", "drawn"), [(71, COUNTS.tolist()), (72, COUNTS.tolist()), (36, [1, 1, 1, 2, 2, 3, 5, 20])]
)
def test_of_each_class_its_share_is_drawn(n: int, drawn: list[int]) -> None:
    chosen = at_most(LABELS, n, np.random.default_rng(0))
    assert np.array_equal(chosen, np.unique(chosen))
    assert np.bincount(LABELS[chosen]).tolist() == drawn
