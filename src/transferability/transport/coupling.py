r"""Exact optimal transport between two weighted samples, in blocks where the samples are large.

A coupling is any way to split the mass of the reference sample over the target sample. Every coupling, optimal or not,
certifies the bound; the optimal one makes it smallest:

.. math:: \mathrm{OT}_c(a, b) = \min_{\pi \ge 0,\; \pi 1 = a,\; \pi^\top 1 = b} \sum_{u, u'} \pi_{u u'} c(u, u').

Small samples of one size with uniform weights are a linear assignment (SciPy); everything else goes to the network
simplex (POT), started near the answer by a few rounds of Sinkhorn's iteration.
Past `max_points` on a side, both samples are cut at random into blocks of equal mass and matched block by block:
feasible, so still certified, and reported as not exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from transferability._array import FloatArray, IntArray
from transferability.transport._simplex import network_simplex

__all__ = ["MAX_POINTS", "Coupling", "couple", "optimal_coupling"]

MAX_POINTS = 1000
"""Points on a side that are matched at once. 1,000 × 1,000 takes a tenth of a second; time grows with the cube."""

_ASSIGNMENT_UP_TO = 500
"""Beyond, the simplex is twice as fast as SciPy's assignment: 0.07 s to 0.14 s for 1,000 points in 50 dimensions."""
_MAX_ITERATIONS = 10_000_000  # of the simplex
_BLUR = 0.005  # of the mean cost: Sinkhorn's regularisation; half and twice as much are little worse
_SINKHORN_ROUNDS = 30
_TINY = np.float32(1e-30)
_NOTHING = -50  # exponents below are zero: products of what is left stay clear of denormal numbers, which take long

CostFunction = Callable[[IntArray, IntArray], FloatArray]


class Coupling(NamedTuple):
    """A sparse coupling: `mass[p]` flows from reference point `source[p]` to target point `target[p]`."""

    source: IntArray  # (n_pairs,)
    target: IntArray  # (n_pairs,)
    mass: FloatArray  # (n_pairs,), sums to 1
    costs: FloatArray  # (n_pairs,), of moving along each pair
    exact: bool  # optimal, or only feasible

    @property
    def value(self) -> float:
        """The cost of the whole coupling, Σ mass · cost."""
        return float(self.mass @ self.costs)


def optimal_coupling(cost: FloatArray, a: FloatArray | None = None, b: FloatArray | None = None) -> Coupling:
    """Solve one transport problem exactly.

    Parameters
    ----------
    cost : array of shape (m, n)
        Finite ground cost.
    a, b : array of shape (m,) and (n,), optional
        Masses with the same sum; uniform if left out. The coupling is returned for masses that sum to 1.
    """
    m, n = cost.shape
    if a is None and b is None and m == n <= _ASSIGNMENT_UP_TO:
        source, target = linear_sum_assignment(cost)
        return Coupling(source, target, np.full(n, 1.0 / n), cost[source, target], exact=True)
    one_to_one = a is None and b is None and m == n
    a = np.full(m, 1.0 / m) if a is None else a / a.sum()
    b = np.full(n, 1.0 / n) if b is None else b / b.sum()
    if m == 1 or n == 1:  # the product is the only coupling
        source, target = (grid.ravel() for grid in np.indices((m, n)))
        return Coupling(source, target, np.outer(a, b).ravel(), cost.ravel(), exact=True)
    scale = float(np.abs(cost).max()) or 1.0  # the simplex compares with absolute tolerances
    scaled = np.divide(cost, scale, dtype=np.float64, order="C")
    del cost  # of large problems the simplex needs all the memory there is; callers that can do not hold it either
    start = _dual_start(scaled, a, b)
    # Whole masses flow whole, so that points are matched one to one; 1/n would leave crumbs where costs tie.
    left, right = (np.ones(n), np.ones(n)) if one_to_one else (a, b)
    plan, exact = network_simplex(left, right, scaled, start, max_iterations=_MAX_ITERATIONS)
    if one_to_one:
        plan /= n
    # Where the simplex stops early the marginals of its plan may be off: the product is always feasible.
    if not exact and max(np.abs(plan.sum(1) - a).max(), np.abs(plan.sum(0) - b).max()) > 1e-9:
        plan = np.outer(a, b)
    source, target = np.nonzero(plan)
    return Coupling(source, target, plan[source, target], scale * scaled[source, target], exact=exact)


def _dual_start(cost: FloatArray, a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return potentials near the optimal ones, from a few of Sinkhorn's iterations; the simplex corrects the rest.

    Costs a tenth of the simplex' time and halves it (2,000 points: 0.76 s to 0.36 s; 1,500 against 1,000 in 20
    dimensions: 0.26 s to 0.11 s). The result stays exact: potentials decide where the search starts, not where it ends.
    """
    columns = cost.min(axis=0)
    kernel = np.subtract(cost, columns, dtype=np.float32)  # (m, n), ≥ 0
    rows = kernel.min(axis=1)
    kernel -= rows[:, None]  # with a zero in every row, so that no row underflows
    blur = _BLUR * float(cost.mean() - cost.min()) or 1.0
    kernel *= np.float32(-1 / blur)
    kernel[kernel < _NOTHING] = -np.inf
    np.exp(kernel, out=kernel)
    a, b = a.astype(np.float32), b.astype(np.float32)
    right = np.ones(len(b), dtype=np.float32)
    with np.errstate(invalid="ignore"):  # some BLAS look past the ends of small arrays, and report what they see there
        for _ in range(_SINKHORN_ROUNDS):
            left = a / np.maximum(kernel @ right, _TINY)
            right = b / np.maximum(left @ kernel, _TINY)
    left, right = (np.log(np.maximum(each, _TINY).astype(np.float64)) for each in (left, right))
    return rows + blur * left, columns + blur * right


def couple(
    cost: CostFunction,
    a: FloatArray | int,
    b: FloatArray | int,
    *,
    max_points: int = MAX_POINTS,
    rng: np.random.Generator | None = None,
) -> Coupling:
    """Couple two samples, exactly up to `max_points` on a side and in blocks of equal mass beyond.

    Parameters
    ----------
    cost : callable (rows, columns) -> array of shape (len(rows), len(columns))
        Computes one block of the ground cost, so that the whole matrix never has to exist.
    a, b : array of masses, or an int for that many uniform points
    max_points : int
        Largest block on a side.
    rng : numpy Generator, optional
        Draws the blocks; needed only past `max_points`.
    """
    m, n = (each if isinstance(each, int) else len(each) for each in (a, b))
    n_blocks = math.ceil(max(m, n) / max_points)
    if n_blocks == 1:
        masses = (None if isinstance(each, int) else each for each in (a, b))
        return optimal_coupling(cost(np.arange(m), np.arange(n)), *masses)
    generator = np.random.default_rng(0) if rng is None else rng
    if isinstance(a, int) and isinstance(b, int) and a == b:
        return _couple_equal_sizes(cost, a, n_blocks, generator)
    left, right = (_blocks_of_equal_mass(each, n_blocks, generator) for each in (a, b))
    parts = []
    for (rows, row_mass), (columns, column_mass) in zip(left, right, strict=True):
        part = optimal_coupling(cost(rows, columns), row_mass, column_mass)
        parts.append(Coupling(rows[part.source], columns[part.target], part.mass / n_blocks, part.costs, exact=False))
    return Coupling(
        source=np.concatenate([part.source for part in parts]),
        target=np.concatenate([part.target for part in parts]),
        mass=np.concatenate([part.mass for part in parts]),
        costs=np.concatenate([part.costs for part in parts]),
        exact=False,
    )


def _couple_equal_sizes(cost: CostFunction, n: int, n_blocks: int, rng: np.random.Generator) -> Coupling:
    """Match two uniform samples of one size one to one, in blocks of equal length."""
    left, right = (np.array_split(rng.permutation(n), n_blocks) for _ in range(2))
    parts = [optimal_coupling(cost(rows, columns)) for rows, columns in zip(left, right, strict=True)]
    source = np.concatenate([rows[part.source] for rows, part in zip(left, parts, strict=True)])
    target = np.concatenate([columns[part.target] for columns, part in zip(right, parts, strict=True)])
    mass = np.concatenate([part.mass * (len(rows) / n) for rows, part in zip(left, parts, strict=True)])
    costs = np.concatenate([part.costs for part in parts])
    return Coupling(source, target, mass, costs, exact=False)


def _blocks_of_equal_mass(
    masses: FloatArray | int, n_blocks: int, rng: np.random.Generator
) -> list[tuple[IntArray, FloatArray]]:
    """Cut points in random order into blocks of mass 1 / n_blocks; a point on a cut is in both blocks."""
    n = masses if isinstance(masses, int) else len(masses)
    order = rng.permutation(n)
    share = np.full(n, 1.0 / n) if isinstance(masses, int) else masses[order] / masses.sum()
    ends = np.cumsum(share)
    ends[-1] = 1.0
    starts = np.concatenate([[0.0], ends[:-1]])
    blocks = []
    for block in range(n_blocks):
        low, high = block / n_blocks, (block + 1) / n_blocks
        inside = np.minimum(ends, high) - np.maximum(starts, low)
        keep = inside > 1e-15
        blocks.append((order[keep], inside[keep]))
    return blocks
