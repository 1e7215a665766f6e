r"""How sure a classifier should be: the factor σ of its logits that makes a mean loss plus a linear cost smallest.

.. math::
    \min_{\sigma > 0} \; \sum_n \omega_n \bigl[\operatorname{lse}(\sigma s_n) - \sigma s_{n y_n}\bigr] + \sigma m

is convex in σ. With :math:`m = 0` it is temperature scaling (Guo et al., 2017). With the mismatch :math:`m` of a
ground cost that is homogeneous in the logits it is the bound itself: the same map, classes and coupling certify every
σ, so σ may be chosen freely, and is chosen on rows that the bound is not reported for. A one-to-one plan predicts the
same class at every σ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray

__all__ = ["best_scale", "minimize_over_scales"]

_RANGE = (-7.0, 7.0)  # of log σ
_RESOLUTION = 1e-3  # of log σ


def best_scale(logits: FloatArray, labels: IntArray, weight: FloatArray | None = None, mismatch: float = 0.0) -> float:
    """Return the σ that minimises the loss of the scaled logits plus ``σ · mismatch``.

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
    >>> logits = np.array([[3.0, 0.0], [3.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    >>> scale = best_scale(logits, np.array([0, 0, 0, 1]))  # right in three of four
    >>> round(float(1 / (1 + np.exp(-3 * scale))), 3)
    0.75
    """
    if len(labels) == 0:
        return 1.0
    share = np.full(len(labels), 1.0 / len(labels)) if weight is None else weight
    margins = logits - logits[np.arange(len(labels)), labels][:, None]

    def loss(scale: float) -> float:
        return float(share @ logsumexp(scale * margins, axis=1)) + scale * mismatch

    return minimize_over_scales(loss)


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
