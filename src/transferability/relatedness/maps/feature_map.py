r"""Feature maps from target to reference space, and the three ways to fit one.

``cross-entropy`` (exact cost) needs no matching. The exact cost depends on the losses of the target alone, so what
lowers these lowers the bound: softmax regression on the target, in :math:`V = W \bar A`, with a ridge that pulls
towards the reference's own classifier. Strictly convex: one answer, which moves as little as the data do.

The other two alternate: match target points with reference points under the current map, then improve the map for that
matching.

``least squares`` (Euclidean cost) is closed form. ``margins`` (loss cost) minimises the cost itself, which for a fixed
matching is convex in :math:`V = W \bar A`, the only thing of the map that the loss cost can see:

.. math::
    \min_{V, v} \sum_n \omega_n \bigl[\max_k \Delta_{nk} - \Delta_{n j_n}\bigr]
    + \tfrac{\lambda}{2} \lVert V - V_0 \rVert_F^2, \qquad \Delta_n = V z_n + v - s(u_n),

with the maximum smoothed to a soft maximum for L-BFGS. It is a multi-class hinge loss whose margins are those of the
matched reference points. The ridge pulls towards the map that the features started with (the identity, or the
semi-orthogonal truncation where dimensions differ), so that a small target sample does not over-fit.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import helmert

from transferability._array import FloatArray, IntArray
from transferability.linear.descent import Descent, Quadratic, cross_entropy, mixture_entropy
from transferability.linear.rows import Rows
from transferability.relatedness.maps.affine_map import AffineMap

__all__ = ["AffineMap", "RidgeRegression", "fit_cross_entropy", "fit_margins", "lift_logit_map"]

_SINGLE_IF_QUICK = 2_000_000  # multiplications of half a pass, from which on quick fits are made in float32
_SMALL = 300_000  # multiplications of half a pass
_QUICK, _SINGLE, _DOUBLE, _FINE = 1e-4, 1e-5, 1e-8, 1e-12  # of the value, what one more step may be expected to gain
_LEAST_VALUE = 1e-2  # nats: below, gains are compared with this
_MOST_STEPS = 200
_SHARPNESS = 10.0  # of the soft maximum, in units of the spread of the reference logits


class RidgeRegression:
    r"""Weighted ridge regression towards a prior map, for many outputs and many strengths on the same inputs.

    Minimises :math:`\sum_n \omega_n \lVert M x_n + m - y_n \rVert^2 + \lambda \bar\sigma^2 \lVert M - M_0 \rVert_F^2`
    with :math:`\bar\sigma^2` the mean variance of the inputs, so that the ridge means the same for every task. One
    eigendecomposition, of the smaller Gram matrix, serves every call: O(min(n, d)³) once, O(n d d_out) per call.
    """

    def __init__(self, inputs: FloatArray, weight: FloatArray) -> None:
        self.weight, self.mean = weight, weight @ inputs
        self.x = np.sqrt(weight)[:, None] * (inputs - self.mean)
        n, d = self.x.shape
        self.wide = n < d
        gram = self.x @ self.x.T if self.wide else self.x.T @ self.x
        values, self.basis = np.linalg.eigh(gram)
        self.values = np.maximum(values, 0.0)
        self.variance = max(float(self.values.sum()) / d, 1e-12)

    def solve(self, outputs: FloatArray, prior: AffineMap, ridge: float) -> AffineMap:
        """Return the best map from the inputs to `outputs`, shape (n, d_out)."""
        y_mean = self.weight @ outputs
        residual = np.sqrt(self.weight)[:, None] * (outputs - y_mean) - self.x @ prior.matrix.T
        damped = 1.0 / (self.values + ridge * self.variance)
        if self.wide:
            correction = ((residual.T @ self.basis) * damped) @ (self.basis.T @ self.x)
        else:
            correction = (((residual.T @ self.x) @ self.basis) * damped) @ self.basis.T
        matrix = prior.matrix + correction
        return AffineMap(matrix, y_mean - matrix @ self.mean)


def fit_margins(
    inputs: FloatArray,
    matched_logits: FloatArray,
    matched_labels: IntArray,
    weight: FloatArray,
    start: AffineMap,
    prior: AffineMap,
    ridge: float,
    steps: int,
) -> AffineMap:
    """Return the map from target features to reference logits that minimises the matched loss cost plus the ridge.

    Parameters
    ----------
    inputs : array of shape (n, d)
        Target features.
    matched_logits, matched_labels : arrays of shape (n, K) and (n,)
        Logits and class of the reference point that each target point is matched with.
    weight : array of shape (n,)
        Sums to 1.
    start, prior : AffineMap
        From features to logits: where to begin, and where the ridge pulls to.
    ridge : float
        Relative to the spread of the logits and of the inputs, so that it means the same for every task.
    steps : int
        L-BFGS steps.
    """
    spread = float(np.sqrt(np.mean(np.square(matched_logits - matched_logits.mean(axis=1, keepdims=True))))) or 1.0
    size = float(np.sqrt(np.mean(np.square(inputs)))) or 1.0
    # In float32 the line search ends on rounding, and the map then moves by far more than the features do.
    x = np.asarray(inputs, dtype=np.float64) / size
    goal = matched_logits / spread
    rows = np.arange(len(x))
    n_classes, d = start.matrix.shape
    center = prior.matrix * (size / spread)

    def objective(theta: FloatArray) -> tuple[float, FloatArray]:
        matrix, offset = theta[: n_classes * d].reshape(n_classes, d), theta[n_classes * d :]
        delta = x @ matrix.T + offset - goal  # (n, K)
        own = delta[rows, matched_labels]
        delta *= _SHARPNESS
        largest = delta.max(axis=1, keepdims=True)
        delta -= largest
        np.exp(delta, out=delta)
        total = delta.sum(axis=1)
        soft_maximum = (largest[:, 0] + np.log(total)) / _SHARPNESS
        pull = matrix - center
        value = float(weight @ (soft_maximum - own)) + 0.5 * ridge * float((pull * pull).sum())
        delta *= (weight / total)[:, None]
        delta[rows, matched_labels] -= weight
        slope = delta.T @ x + ridge * pull
        return value, np.concatenate([slope.ravel(), delta.sum(axis=0)])

    from scipy.optimize import minimize

    theta = np.concatenate([(start.matrix * (size / spread)).ravel(), start.offset / spread])
    solution = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": 1e-6}).x
    matrix = solution[: n_classes * d].reshape(n_classes, d) * (spread / size)
    return AffineMap(matrix, solution[n_classes * d :] * spread)


def fit_cross_entropy(
    rows: Rows, log_shares: FloatArray, start: AffineMap, prior: AffineMap, ridge: float, *, careful: bool
) -> AffineMap:
    r"""Return the map from target features to reference logits with the least loss of ``h'`` plus the ridge.

    .. math::
        \min_{V, v} -\frac1n \sum_n \log \sum_j B_{y_n j} \, \mathrm{softmax}(V z_n + v)_j
        + \tfrac{\lambda}{2} \lVert V - V_0 \rVert_F^2

    Parameters
    ----------
    rows : Rows
        Of the target, standardised. All maps are maps of their coordinates.
    log_shares : array of shape (n, K)
        ``log B`` of each point's class, −∞ where zero.
    start, prior : AffineMap
        From coordinates to logits: where to begin, and where the ridge pulls to.
    ridge : float
        λ, for standardised features.
    careful : bool
        To the last digits, or quickly, to compare strengths of the ridge.

    Notes
    -----
    Convex where each class is made of one reference class. Cost O(n d K) per step, ten to twenty quickly.
    """
    n, n_classes = log_shares.shape
    rows = rows.working(n_classes, single_from=None if careful else _SINGLE_IF_QUICK)
    dtype = rows.coordinates.dtype
    weight = np.full(n, 1.0 / n)
    loss = mixture_entropy(log_shares, weight, dtype)
    if np.isfinite(log_shares).sum(axis=1).max() == 1:
        loss = cross_entropy(log_shares.argmax(axis=1), weight, dtype)
    quadratic = Quadratic(np.full(n_classes, ridge, dtype=dtype), prior.matrix.astype(dtype))
    descent = Descent(rows.coordinates, loss, rows.spectrum, start.matrix, start.offset)
    careful_to = _SINGLE if dtype == np.float32 else _DOUBLE if rows.coordinates.size * n_classes > _SMALL else _FINE
    tolerance = careful_to if careful else _QUICK
    for _ in range(_MOST_STEPS):
        gained = descent.move(descent.direction(quadratic, descent.remembered(quadratic)), quadratic)
        enough = tolerance * max(descent.look.loss + quadratic.value(descent.weights), _LEAST_VALUE)
        if gained <= enough and (gained or not descent.forget()):
            break
    return AffineMap(descent.weights.astype(np.float64), descent.point[:, -1].astype(np.float64))


def lift_logit_map(logit_map: AffineMap, weights: FloatArray, intercept: FloatArray, prior: AffineMap) -> AffineMap:
    r"""Return the map into reference space whose logits are those of `logit_map`, nearest to `prior`.

    Solves :math:`W \bar A = V` and :math:`W \bar b + c = v` up to a constant per sample, which a softmax does not see;
    directions that :math:`W` ignores are left as `prior` has them. Where :math:`V` is out of reach (more classes than
    dimensions) the nearest reachable one is taken.
    """
    between = helmert(len(weights))  # (K − 1, K): an orthonormal basis of what differs between classes
    centred = between @ weights
    inverse = np.linalg.pinv(centred)  # (d, K − 1)
    now = prior.then(centred, np.zeros(len(centred)))
    missing = between @ logit_map.matrix - now.matrix
    offset = between @ (logit_map.offset - intercept) - now.offset
    return prior.corrected(inverse, missing, inverse @ offset)
