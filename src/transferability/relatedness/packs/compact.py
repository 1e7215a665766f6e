r"""Packs in half precision, a hundredth of the size: what is kept of each array, and how it comes back.

Features are counted in the pack's own standardisation, :math:`x = (z - \text{mean}) / \text{scale}`, so that 11 bits of
mantissa suffice. Of the pooled within-class covariance C the diagonal is kept and a factor of rank 16,

.. math:: C \approx F F^\top + \operatorname{diag}(C - F F^\top),

and of each class its mean and one number, how much wider or narrower than the pooled it is: 2 d (16 + 2 K + 6) bytes
for K classes and d features with one classifier, beside two bytes for each logit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import FloatArray
from transferability._tensors import Arrays
from transferability.errors import OptionError
from transferability.relatedness.tasks.standardize import Scaler
from transferability.statistics.classes import ClassStatistics
from transferability.statistics.low_rank import leading_factor

__all__ = ["compact_statistics", "compact_weights", "half", "lipschitz", "restored_statistics"]

_RANK = 16
_TINY = 1e-12


def half(values: FloatArray, name: str) -> npt.NDArray[np.float16]:
    """Return values in half precision, or say that they have no place there."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16)
    if not np.isfinite(rounded).all():
        message = f"`compact` must be left out: `{name}` of the pack holds {np.abs(values).max():.3g}, and half "
        message += "precision ends at 65,504. Standardise the pack, or save it as it is."
        raise OptionError(message)
    return rounded


def compact_statistics(statistics: ClassStatistics, scaler: Scaler) -> Arrays:
    """Return the arrays that stand for the statistics."""
    mean, scale = (each.astype(np.float32).astype(np.float64) for each in (scaler.mean, scaler.scale))
    counts = np.maximum(statistics.counts, 1)
    unit = statistics.pooled / (statistics.n_samples * np.outer(scale, scale))
    variances = np.maximum(np.diagonal(unit), 0.0)
    own = statistics.diagonals / (counts[:, None] * scale**2)  # (K, d), variances of each class
    widths = own.sum(axis=1) / max(float(variances.sum()), _TINY)
    return {
        "means": half((statistics.means - mean) / scale, "means"),
        "widths": half(np.sqrt(widths), "widths"),
        "deviations": half(np.sqrt(variances), "deviations"),
        "factor": half(leading_factor(unit, _RANK), "factor"),
    }


def restored_statistics(
    arrays: Mapping[str, FloatArray], counts: npt.NDArray[np.int64], scaler: Scaler
) -> ClassStatistics:
    """Return the statistics that the arrays stand for, in the form "shared"."""
    shares = counts / counts.sum()
    widths, variances, factor = arrays["widths"] ** 2, arrays["deviations"] ** 2, arrays["factor"]
    widths = widths / max(float(shares @ widths), _TINY)  # the classes together are as wide as the pooled
    explained = np.einsum("dr,dr->d", factor, factor)
    factor = factor * np.sqrt(np.minimum(1.0, variances / np.maximum(explained, _TINY)))[:, None]  # rounding
    pooled = factor @ factor.T
    diagonals = (counts * widths)[:, None] * (variances * scaler.scale**2)  # (K, d)
    pooled *= counts.sum() * np.outer(scaler.scale, scaler.scale)
    np.fill_diagonal(pooled, diagonals.sum(axis=0))
    return ClassStatistics(counts, arrays["means"] * scaler.scale + scaler.mean, diagonals, pooled)


def compact_weights(weights: FloatArray, tau: float) -> tuple[npt.NDArray[Any], float]:
    """Return weights in half precision whose Lipschitz constant is at most `tau`, and that constant."""
    rounded = half(weights, "weights")
    measured = lipschitz(rounded.astype(np.float64))
    if measured > tau:
        rounded = half(weights * (0.999 * tau / measured), "weights")
        measured = lipschitz(rounded.astype(np.float64))
    return rounded, measured


def lipschitz(weights: FloatArray) -> float:
    """Return the largest distance between two rows."""
    gram = weights @ weights.T
    squares = np.diagonal(gram)[:, None] + np.diagonal(gram) - 2 * gram
    return float(np.sqrt(max(float(squares.max()), 0.0)))
