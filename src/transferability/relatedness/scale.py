r"""How sure a classifier should be: the factor σ of its logits that makes a mean loss plus a linear cost smallest.

.. math::
    \min_{\sigma > 0} \; \sum_n \omega_n \bigl[\operatorname{lse}(\sigma s_n) - \sigma s_{n y_n}\bigr]
    + \sigma (m + \varepsilon)

is convex in σ. With :math:`m = 0` it is temperature scaling (Guo et al., 2017). With the mismatch :math:`m` of a
ground cost that is homogeneous in the logits it is the bound itself: the same map, classes and coupling certify every
σ, so σ may be chosen freely, and is chosen on rows that the bound is not reported for. A one-to-one plan predicts the
same class at every σ.

Where a classifier is right on all of these rows, :math:`\sigma \to \infty` would be best, and the first new row that it
gets wrong would cost hundreds of nats. Hence the `doubt` :math:`\varepsilon`: of n rows that are all right the next one
is wrong with probability :math:`1 / (2n + 2)` (Jeffreys' prior), so that share of each row has a label drawn from all
classes. That is label smoothing, linear in σ, and gone as n grows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray

__all__ = ["best_scale", "doubt", "minimize_over_scales"]

_RANGE = (-7.0, 7.0)  # of log σ
_RESOLUTION = 1e-3  # of log σ


def best_scale(logits: FloatArray, labels: IntArray, weight: FloatArray | None = None, mismatch: float = 0.0) -> float:
    """Return the σ that minimises the loss of the scaled logits plus ``σ · (mismatch + doubt)``.

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
    Within e^±7. Cost O(n K), some twenty times.

    Examples
    --------
    >>> import numpy as np
    >>> logits, labels = np.tile([3.0, 0.0], (4000, 1)), np.arange(4000) % 4 // 3
    >>> scale = best_scale(logits, labels)  # right in three of four
    >>> round(float(1 / (1 + np.exp(-3 * scale))), 3)
    0.75
    """
    if len(labels) == 0:
        return 1.0
    share = np.full(len(labels), 1.0 / len(labels)) if weight is None else weight
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    slope = mismatch + doubt(logits, labels, share)

    def loss(scale: float) -> float:
        return float(share @ logsumexp(scale * margins, axis=1)) + scale * slope

    return minimize_over_scales(loss)


def doubt(logits: FloatArray, labels: IntArray, weight: FloatArray | None = None) -> float:
    """Return what certainty costs per unit of σ, for the rows that are not among these; in nats, ≥ 0.

    Parameters
    ----------
    logits, labels, weight
        As in `best_scale`.
    """
    if len(labels) == 0:
        return 0.0
    share = np.full(len(labels), 1.0 / len(labels)) if weight is None else weight
    lead = logits[np.arange(len(labels)), labels] - logits.mean(axis=1)  # over the mean class
    n = 1.0 / float(share @ share)  # so many rows of equal weight say as much
    return max(float(share @ lead), 0.0) / (2 * n + 2)


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
