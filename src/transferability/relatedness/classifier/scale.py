r"""How sure a classifier should be: the factor σ of its logits that makes a mean loss plus a linear cost smallest.

.. math::
    \min_{\sigma > 0} \; \sum_n \omega_n \bigl[\operatorname{lse}(\sigma s_n) - \sigma s_{n y_n}\bigr] + \sigma m

is convex in σ. With :math:`m = 0` it is temperature scaling (Guo et al., 2017). With the mismatch :math:`m` of a
ground cost that is homogeneous in the logits it is the bound itself: the same map, classes and coupling certify every
σ, so σ may be chosen freely, and is chosen on rows that the bound is not reported for. A one-to-one plan predicts the
same class at every σ.

Where every row is classified rightly the loss falls for ever, and a classifier that is sure without bound loses without
bound on the first error. So labels are believed but for one in n + 2 (Platt, 1999): the share :math:`1 / (n + 2)` of
each row is spread over the other classes. It adds a linear term, `doubt`, and vanishes with the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from transferability._array import FloatArray, IntArray

__all__ = ["best_scale", "doubt", "is_smallest", "minimize_over_scales"]

_RANGE = (-7.0, 7.0)  # of log σ
_RESOLUTION = 1e-4  # of log σ
_MOST_STEPS = 60


def best_scale(logits: FloatArray, labels: IntArray, weight: FloatArray | None = None, mismatch: float = 0.0) -> float:
    """Return the σ that minimises the loss of the scaled logits, with doubt, plus ``σ · mismatch``.

    Parameters
    ----------
    logits : array of shape (n, K)
    labels : array of int of shape (n,)
    weight : array of shape (n,), optional
        Sums to 1; uniform by default.
    mismatch : float, default=0.0
        In nats, at σ = 1; ≥ 0.

    Notes
    -----
    Within e^±7. Cost O(n K), some ten times.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.tile([3.0, 0.0], (4, 1))
    >>> scale = best_scale(logits, np.array([0, 0, 0, 0]))  # right in four of four
    >>> round(float(1 / (1 + np.exp(-3 * scale))), 3)  # but for one in six
    0.833
    """
    if len(labels) == 0:
        return 1.0
    share = np.full(len(labels), 1.0 / len(labels)) if weight is None else weight
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    linear = mismatch + _doubt(margins, share)

    def derivatives(scale: float) -> tuple[float, float]:
        scores = scale * margins
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores, out=scores)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        mean = np.einsum("nk,nk->n", probabilities, margins)
        squares = np.einsum("nk,nk,nk->n", probabilities, margins, margins)
        return float(share @ mean) + linear, float(share @ (squares - mean**2))

    low, high = (float(np.exp(end)) for end in _RANGE)
    scale = 1.0
    for _ in range(_MOST_STEPS):  # Newton's method, and bisection where it leaves the interval
        slope, curvature = derivatives(scale)
        low, high = (low, scale) if slope > 0 else (scale, high)
        following = scale - slope / curvature if curvature > 0 else np.inf
        if not low < following < high:
            following = float(np.sqrt(low * high))
        if abs(np.log(following / scale)) < _RESOLUTION:
            return float(following)
        scale = float(following)
    return scale


def is_smallest(scale: float) -> bool:
    """Whether a scale is the smallest that is tried: the best use of these logits is not to use them."""
    return bool(np.log(scale) < _RANGE[0] + 100 * _RESOLUTION)


def doubt(logits: FloatArray, labels: IntArray) -> float:
    """Return what the doubt of labels adds to a mean loss, in nats per unit of σ."""
    if len(labels) == 0:
        return 0.0
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    return _doubt(margins, np.full(len(labels), 1.0 / len(labels)))


def _doubt(margins: FloatArray, share: FloatArray) -> float:
    n, n_classes = margins.shape
    total = float(share @ margins.sum(axis=1))
    return -total / float(max(n_classes - 1, 1) * (n + 2))


def minimize_over_scales(value: Callable[[float], float]) -> float:
    """Return the σ in e^±7 at which a function with one minimum in log σ is smallest; 1 where nothing is gained."""
    found = minimize_scalar(
        lambda log_scale: value(float(np.exp(log_scale))),
        bounds=_RANGE,
        method="bounded",
        options={"xatol": _RESOLUTION},
    )
    scale = float(np.exp(found.x))
    return scale if found.fun < value(1.0) else 1.0
