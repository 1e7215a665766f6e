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

__all__ = ["best_scale", "doubt", "is_guess", "minimize_over_scales"]

_RANGE = (-7.0, 7.0)  # of log σ, where the search begins; it goes on past an end that wins
_RESOLUTION = 1e-4  # of log σ
_MOST_STEPS = 60
_MOST_RANGES = 6
_WORTH_A_RANGE = 1e-3, 1e-6  # of the value, and in nats, that another range must gain
_NEARLY_NOTHING = 0.1  # nats: logits that differ by less are a guess


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
    Where the loss only rises from zero on, the best use of these logits is not to use them: the σ returned leaves no
    two of them a tenth of a nat apart. Cost O(n K), some ten times.

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
    size = float(np.abs(margins).max())
    if size == 0:
        return 1.0
    if derivatives(0.0)[0] >= 0:
        return min(low, _NEARLY_NOTHING / size)
    scale = 1.0
    for _ in range(_MOST_RANGES):
        if derivatives(low)[0] > 0:
            scale, high, low = low, low, low * float(np.exp(_RANGE[0]))
        elif derivatives(high)[0] < 0:
            scale, low, high = high, high, high * float(np.exp(_RANGE[1]))
        else:
            break
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


def is_guess(logits: FloatArray) -> bool:
    """Whether logits say nearly nothing: a softmax of them guesses."""
    return bool(np.ptp(logits, axis=1).max(initial=0.0) <= 5 * _NEARLY_NOTHING)  # of rows that σ was not chosen on


def doubt(logits: FloatArray, labels: IntArray) -> float:
    """Return what the doubt of labels adds to a mean loss, in nats per unit of σ; ≥ 0.

    Where the label is worse than the other classes on average, doubt would reward a sure classifier without bound.
    """
    if len(labels) == 0:
        return 0.0
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    return max(_doubt(margins, np.full(len(labels), 1.0 / len(labels))), 0.0)


def _doubt(margins: FloatArray, share: FloatArray) -> float:
    n, n_classes = margins.shape
    total = float(share @ margins.sum(axis=1))
    return -total / float(max(n_classes - 1, 1) * (n + 2))


def minimize_over_scales(value: Callable[[float], float]) -> float:
    """Return the σ at which a function with one minimum in log σ is smallest; 1 where nothing is gained.

    Searched within e^±7, and beyond an end that wins for as long as that gains a thousandth.
    """

    def within(low: float, high: float) -> tuple[float, float]:
        found = minimize_scalar(
            lambda log_scale: value(float(np.exp(log_scale))),
            bounds=(low, high),
            method="bounded",
            options={"xatol": _RESOLUTION},
        )
        return float(found.x), float(found.fun)

    low, high = _RANGE
    best, least = within(low, high)
    for _ in range(_MOST_RANGES):
        if low + 100 * _RESOLUTION < best < high - 100 * _RESOLUTION:
            break
        low, high = (high, high + _RANGE[1]) if best > (low + high) / 2 else (low + _RANGE[0], low)
        further, smaller = within(low, high)
        if not smaller < (1 - _WORTH_A_RANGE[0]) * least - _WORTH_A_RANGE[1]:
            break
        best, least = further, smaller
    scale = float(np.exp(best))
    return scale if least < value(1.0) else 1.0
