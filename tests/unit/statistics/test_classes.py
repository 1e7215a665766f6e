"""Statistics of classes: exact against samples, and the same whatever the order and the split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from transferability.errors import FeatureError, LabelError, OptionError, TaskError
from transferability.statistics import classes
from transferability.statistics.classes import ClassStatistics, class_statistics, merge_statistics, sketch_matrix

FORMS = ("full", "shared", "low-rank")
ARRAYS = ("means", "diagonals", "pooled", "scatters", "sketches")


def assert_same(a: ClassStatistics, b: ClassStatistics, tolerance: float = 1e-10) -> None:
    """To 1e-10 of the largest entry of each array."""
    assert a.counts.tolist() == b.counts.tolist()
    for name in ARRAYS:
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None)
        if one is not None:
            assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_samples(form: str, dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(90, 6)) * 3 + 50).astype(dtype)
    y = rng.permutation(np.arange(90) % 4)
    found = class_statistics(x, y, covariance=form, rank=3)
    pooled = np.zeros((6, 6))
    for c in range(4):
        own = x[y == c].astype(np.float64)
        scatter = np.cov(own.T, bias=True) * len(own)
        pooled += scatter
        assert_allclose(found.means[c], own.mean(axis=0), rtol=1e-13)
        assert_allclose(found.diagonals[c], np.diag(scatter), rtol=1e-11)
        if found.scatters is not None:
            assert_allclose(found.scatters[c], scatter, rtol=1e-10, atol=1e-10)
        if found.sketches is not None:
            assert_allclose(found.sketches[c], scatter @ sketch_matrix(6, 3), rtol=1e-10, atol=1e-9)
    assert_allclose(found.pooled, pooled, rtol=1e-10, atol=1e-10)
    assert_allclose(found.mean(), x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    assert_allclose(found.deviation(), x.std(axis=0, dtype=np.float64), rtol=1e-10)
    assert (found.form, found.n_samples, found.n_classes, found.n_features) == (form, 90, 4, 6)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from(FORMS),
    n_parts=st.integers(1, 8),
    offset=st.sampled_from([0.0, 1.0, 1e3, -1e5]),
    by_class=st.booleans(),
)
def test_any_order_and_split_gives_the_same(seed: int, form: str, n_parts: int, offset: float, by_class: bool) -> None:
    rng = np.random.default_rng(seed)
    n, d, n_classes = int(rng.integers(1, 60)), int(rng.integers(1, 7)), int(rng.integers(2, 5))
    x = offset + rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-1, 1, size=d)
    y = rng.integers(0, n_classes, size=n)
    order = np.argsort(y, kind="stable") if by_class else rng.permutation(n)  # sorted: parts that lack classes
    cuts = np.sort(rng.integers(0, n + 1, size=n_parts - 1))
    parts = [rows for rows in np.split(order, cuts) if len(rows)]
    made = [class_statistics(x[rows], y[rows], n_classes, covariance=form, rank=2) for rows in parts]
    whole = class_statistics(x, y, n_classes, covariance=form, rank=2)
    # Rounding of numbers of size `offset` is in the samples themselves: relative to the spread it is 1e-16 × offset.
    tolerance = 1e-10 * max(1.0, abs(offset) / 100)
    assert_same(merge_statistics(made[i] for i in rng.permutation(len(made))), whole, tolerance)
    while len(made) > 1:  # as a tree, in any shape
        i, j = rng.choice(len(made), 2, replace=False)
        merged = made[i].merge(made[j])
        made = [each for k, each in enumerate(made) if k not in (i, j)] + [merged]
    assert_same(made[0], whole, tolerance)


def test_blocks_are_no_different(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(300, 5)) + 7, rng.integers(0, 3, size=300)
    whole = class_statistics(x, y, covariance="low-rank", rank=2)
    monkeypatch.setattr(classes, "_BLOCK_ELEMENTS", 320)
    assert_same(class_statistics(x, y, covariance="low-rank", rank=2), whole, 1e-13)


def test_the_sketch_matrix_never_changes() -> None:
    """Packs made years apart must still merge."""
    found = sketch_matrix(6, 4)
    assert set(np.unique(found)) == {-1.0, 1.0}
    signs = "".join("+" if each > 0 else "-" for each in found.ravel())
    assert signs == "++-++-++++---++----+---+"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_classes": 4}, "number of classes"),
        ({"covariance": "shared"}, "one form"),
        ({"rank": 3}, "rank"),
    ],
)
def test_parts_must_agree(change: dict[str, object], message: str) -> None:
    x, y = np.arange(12.0).reshape(6, 2) ** 2, np.array([0, 1, 2, 0, 1, 2])
    settings = {"n_classes": 3, "covariance": "low-rank", "rank": 2}
    one = class_statistics(x, y, **settings)
    with pytest.raises(TaskError, match=message):
        one.merge(class_statistics(x, y, **(settings | change)))
    with pytest.raises(TaskError, match="at least one"):
        merge_statistics([])


def test_bad_input() -> None:
    x, y = np.ones((4, 2)), np.array([0, 1, 0, 1])
    with pytest.raises(FeatureError, match="finite"):
        class_statistics(np.full((4, 2), np.nan), y)
    with pytest.raises(LabelError, match="class 1"):
        class_statistics(x, np.array([0, 2, 0, 2]))
    with pytest.raises(LabelError, match=r"0\.\.1"):
        class_statistics(x, np.array([0, 2, 0, 2]), n_classes=2)
    with pytest.raises(OptionError, match="covariance"):
        class_statistics(x, y, covariance="diagonal")
    with pytest.raises(OptionError, match="rank"):
        class_statistics(x, y, covariance="low-rank", rank=0)
    with pytest.raises(LabelError, match="class 2 has none"):
        class_statistics(x, y, n_classes=3).require_every_class("half")
