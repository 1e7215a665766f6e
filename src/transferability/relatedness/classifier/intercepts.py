"""The best intercepts for given weights: K unknowns, smooth and convex, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from transferability._array import BoolArray, FloatArray, IntArray
from transferability.linear.descent import cross_entropy
from transferability.linear.rows import Array

__all__ = ["Refitted", "refit_intercept"]

_ROUNDS = 20
_SHRINK = (1.0, 0.3, 0.1, 0.01)  # of a step that would lead uphill


class Refitted(NamedTuple):
    """The intercepts, and the classifier with them."""

    intercept: FloatArray  # (K,)
    loss: float
    right: BoolArray  # (n,), which rows are classified rightly
    slopes: Array  # (K, n), of the loss in each logit


def refit_intercept(plain: Array, labels: IntArray, weight: FloatArray, intercept: FloatArray) -> Refitted:
    """Return the best intercepts for logits without them.

    Parameters
    ----------
    plain : array of shape (K, n)
    labels, weight : arrays of shape (n,)
    intercept : array of shape (K,)
        Where to begin.

    Notes
    -----
    O(n K) per step, and O(n K² + K³) for the Hessian: once, since the intercepts that a descent ends with are nearly
    the best, and again where a step with it gains nothing.
    """
    loss, tiny = cross_entropy(labels, weight, plain.dtype), float(np.finfo(plain.dtype).eps)
    intercept = intercept - intercept.mean()

    def logits(intercept: FloatArray) -> Array:
        shifted: Array = plain + intercept[:, None].astype(plain.dtype)
        return shifted

    look = loss(logits(intercept))
    solve: Callable[[FloatArray], FloatArray] | None = None
    for _ in range(_ROUNDS):
        excess = look.slopes.sum(axis=1, dtype=np.float64)
        if np.abs(excess).max() < tiny:
            break
        fresh = solve is None
        solve = solve or _newton(look.slopes, labels, weight)
        step = solve(excess)
        step -= step.mean()
        for shrink in _SHRINK if fresh else _SHRINK[:1]:
            trial = loss(logits(intercept - shrink * step))
            if trial.loss <= look.loss:
                break
        else:
            if fresh:
                break
            solve = None
            continue
        gained = look.loss - trial.loss
        intercept, look = intercept - shrink * step, trial
        if gained <= tiny * look.loss:
            break
    return Refitted(intercept, look.loss, logits(intercept).argmax(axis=0) == labels, look.slopes)


def _newton(slopes: Array, labels: IntArray, weight: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return what solves for a Newton step, given slopes of the loss in each logit."""
    share = weight.astype(slopes.dtype)
    weighted = slopes.copy()
    weighted[labels, np.arange(len(labels))] += share  # ω p
    sums = weighted.sum(axis=1, dtype=np.float64)
    np.divide(weighted, np.sqrt(share), out=weighted, where=share > 0)
    hessian = -(weighted @ weighted.T)  # of one array: BLAS computes half of it
    hessian = hessian.astype(np.float64) + 1.0 / len(sums)  # a shift of all is the one thing it does not see
    hessian[np.diag_indices(len(sums))] += sums + 1e-12
    factors = lu_factor(hessian, check_finite=False)
    return lambda excess: lu_solve(factors, excess, check_finite=False)
