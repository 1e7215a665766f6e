r"""Class matching: the reference class of each target class.

For a fixed feature map the cheapest one-to-one choice is a linear assignment with cost

.. math:: P_T(i) \bigl( L_j + \mathrm{OT}_c(R_j, f_\# T_i) \bigr).

Solving K_T × K_R transport problems to fill that matrix would be wasteful. Both ground costs are convex in
:math:`u' - u`, so the cost between the class means bounds the transport from below (Jensen). Assign on the bounds, make
the chosen entries exact, assign again, and stop when every chosen entry is exact: the result is the optimum, and only a
few transports were solved. With fewer reference than target classes some must be shared (`labels.sharing`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import softmax

from transferability._array import FloatArray, IntArray
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.labels.sharing import cheapest_sharing
from transferability.transport.cost import euclidean_cost, loss_cost
from transferability.transport.coupling import couple

__all__ = [
    "ClassPoints",
    "MatchCertainty",
    "PairCosts",
    "QuantilePairCosts",
    "TransportPairCosts",
    "assign_classes",
    "gradient_matching",
    "random_matching",
]

_POINTS_IN_ALL = 20_000
_POINTS_PER_CLASS = 200
_DENSE_PAIRS = 2_500
_START_SHARPNESS = 3.0
_QUANTILES = 50
_PENALTY = 100.0  # ν; the paper has 1 and never meets the constraint


class ClassPoints:
    """At most 200 points of each class (20,000 in all) and their means, in the space of the ground cost."""

    def __init__(self, points: FloatArray, labels: IntArray, n_classes: int, rng: np.random.Generator) -> None:
        cap = int(np.clip(_POINTS_IN_ALL // n_classes, 20, _POINTS_PER_CLASS))
        rows = [np.flatnonzero(labels == k) for k in range(n_classes)]
        self.samples = [points[rng.choice(r, cap, replace=False) if len(r) > cap else r] for r in rows]
        self.means = np.stack([sample.mean(axis=0) for sample in self.samples])
        self.priors = np.bincount(labels, minlength=n_classes) / len(labels)


class MatchCertainty(NamedTuple):
    """How sure each target class can be of its reference class; in the reference's own numbers."""

    margin: FloatArray  # (K_T,), nats that the best other assignment costs more; inf where there is no other
    standard_error: FloatArray  # (K_T,), of that difference
    alternative: IntArray  # (K_T,), the class that it would take there; -1 where there is no other


class PairCosts(Protocol):
    """What it costs to match a reference class with a target class."""

    @property
    def values(self) -> FloatArray:
        """Costs, (K_T, K_R): lower bounds where not exact."""

    def make_exact(self, targets: IntArray, references: IntArray) -> bool:
        """Make these entries exact; return whether any of them was only a bound before."""


class TransportPairCosts:
    """``L_j + OT(R_j, T_i)`` for all pairs of classes: lower bounds first, exact where asked for.

    Parameters
    ----------
    reference, target : ClassPoints
        Points in logit space for the loss cost (``tau=None``), in reference feature space for the Euclidean one.
    losses : array of shape (K_R,)
        Mean loss of each reference class.
    tau : float or None
        Lipschitz constant of the Euclidean cost; None for the loss cost.

    Notes
    -----
    Cost O(K_T K_R K) for the bounds, one transport of at most 200 × 200 points per entry made exact.
    """

    def __init__(self, reference: ClassPoints, target: ClassPoints, losses: FloatArray, tau: float | None) -> None:
        self.reference, self.target, self.losses, self.tau = reference, target, losses, tau
        classes = np.arange(len(reference.means))
        if tau is None:
            bounds = loss_cost(reference.means, classes, target.means).T
        else:
            bounds = euclidean_cost(target.means, reference.means, tau)
        self.values = bounds + losses  # (K_T, K_R)
        self.exact = np.zeros(self.values.shape, dtype=bool)

    def make_exact(self, targets: IntArray, references: IntArray) -> bool:
        """Solve the transport of these pairs; return whether any of them was only a bound before."""
        todo = [(i, j) for i, j in zip(targets, references, strict=True) if not self.exact[i, j]]
        for i, j in todo:
            u, v = self.reference.samples[j], self.target.samples[i]
            matrix = loss_cost(u, np.full(len(u), j), v) if self.tau is None else euclidean_cost(u, v, self.tau)
            coupling = couple(lambda r, c, matrix=matrix: matrix[np.ix_(r, c)], len(u), len(v))  # type: ignore[misc]
            self.values[i, j] = self.losses[j] + coupling.value
            self.exact[i, j] = True
        return bool(todo)


class QuantilePairCosts:
    r"""``∫ max(Q_R, Q_T)`` for all pairs of classes, in logit space: what a pair costs under the exact ground cost.

    The integral is a mean over the midpoints of fifty equal parts, the same for every pair.
    """

    def __init__(self, reference: ClassPoints, target: ClassPoints) -> None:
        levels = np.stack([_quantiles(_losses(points)[j]) for j, points in enumerate(reference.samples)])
        self.values = np.stack(
            [np.maximum(levels, _quantiles(_losses(points))).mean(axis=1) for points in target.samples]
        )

    def make_exact(self, targets: IntArray, references: IntArray) -> bool:
        """Do nothing: all are."""
        return False


def _losses(logits: FloatArray) -> FloatArray:
    """Return the loss of each point for each class, (n, K) -> (K, n)."""
    largest = logits.max(axis=1, keepdims=True)
    losses: FloatArray = (np.log(np.exp(logits - largest).sum(axis=1, keepdims=True)) + largest - logits).T.copy()
    return losses


def _quantiles(values: FloatArray) -> FloatArray:
    """Return the quantiles along the last axis, at the midpoints of equal parts."""
    ranks = ((np.arange(_QUANTILES) + 0.5) / _QUANTILES * values.shape[-1]).astype(np.int64)
    chosen: FloatArray = np.sort(values, axis=-1)[..., ranks]
    return chosen


def assign_classes(costs: PairCosts, priors: FloatArray) -> IntArray:
    """Return the reference class for each target class that makes ``Σ_i P_T(i) cost(i, j_i)`` plus entropy smallest."""
    rows = np.arange(len(priors))
    injective = costs.values.shape[0] <= costs.values.shape[1]
    start: IntArray | None = None
    chosen: IntArray
    for _ in range(costs.values.size + 1):
        if injective:
            chosen = linear_sum_assignment(priors[:, None] * costs.values)[1]
        else:
            chosen = start = cheapest_sharing(costs.values, priors, start)
        if not costs.make_exact(rows, chosen):
            return chosen
    return chosen


def random_matching(n_targets: int, n_references: int, rng: np.random.Generator) -> IntArray:
    """Return a random one-to-one choice, the paper's default; reference classes are re-used when there are too few."""
    repeats = -(-n_targets // n_references)
    return np.concatenate([rng.permutation(n_references) for _ in range(repeats)])[:n_targets]


def gradient_matching(
    costs: PairCosts, reference_priors: FloatArray, priors: FloatArray, rng: np.random.Generator
) -> LabelTransform:
    r"""Learn `B` and `D` by descent, both through a softmax as in the paper (App. D.3): the setting LearnedAll.

    .. math::
        \min_{B, D} \sum_{ij} B_{ij} D_j \bigl(L_j + \mathrm{OT}_c(R_j, f_\# T_i)\bigr) + H(B; D)
        + \nu \lVert P_T - B D \rVert^2

    The first sum bounds the first and last term of the bound from above (couple each part of a mixture by itself). What
    is left of the constraint after descent is removed by rescaling the rows of the coupling, so ``B D = P_T`` exactly.
    """
    if costs.values.size <= _DENSE_PAIRS:  # beyond that the bounds have to do
        grid = np.indices(costs.values.shape).reshape(2, -1)
        costs.make_exact(grid[0], grid[1])
    values = costs.values

    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        raw_b, raw_d = theta[: values.size].reshape(values.shape), theta[values.size :]
        B, D = softmax(raw_b, axis=0), softmax(raw_d)
        excess = B @ D - priors
        log_b = np.log(np.maximum(B, 1e-300))
        per_entry = values - log_b  # the entropy of B is part of the cost
        value = float(((B * per_entry) @ D).sum()) + _PENALTY * float(excess @ excess)
        slope_b = D * (per_entry - 1.0) + 2 * _PENALTY * np.outer(excess, D)
        slope_d = (B * per_entry).sum(axis=0) + 2 * _PENALTY * (B.T @ excess)
        raw_slope_b = B * (slope_b - (B * slope_b).sum(axis=0))
        raw_slope_d = D * (slope_d - D @ slope_d)
        return value, np.concatenate([raw_slope_b.ravel(), raw_slope_d])

    # The entropy makes the problem non-convex; a random start, as in the paper, ends with several targets on one class.
    informed = -_START_SHARPNESS * values / (np.std(values) or 1.0) + np.log(np.maximum(priors, 1e-12))[:, None]
    noise = rng.normal(scale=0.01, size=values.shape)
    start = np.concatenate([(informed + noise).ravel(), np.log(np.maximum(reference_priors, 1e-12))])
    theta = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return LabelTransform.from_matrices(
        softmax(theta[: values.size].reshape(values.shape), axis=0), softmax(theta[values.size :])
    )
