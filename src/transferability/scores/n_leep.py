"""N-LEEP: LEEP with the components of a Gaussian mixture over the features in place of source classes.

Li et al. [1]_: principal components that hold 80 % of the variance, a mixture fitted to them, LEEP of its
responsibilities. No source classifier is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat.numpy as xp
import numpy as np
import scipy.linalg

from transferability._array import FloatArray
from transferability._validate import check_labels
from transferability.errors import FeatureError, OptionError
from transferability.scores._mixture import fit_mixture
from transferability.scores._result import IterativeResult
from transferability.scores.leep import expected_empirical_log
from transferability.statistics._inputs import SumOfSquares, host_features, row_blocks

__all__ = ["NLeepResult", "n_leep"]

_ENERGY = 0.8


@dataclass(frozen=True)
class NLeepResult(IterativeResult):
    """N-LEEP.

    Attributes
    ----------
    n_components : int
        Components of the mixture.
    n_dimensions : int
        Principal components kept.
    """

    name: ClassVar[str] = "n_leep"
    upper_bound: ClassVar[float] = 0.0

    n_components: int
    n_dimensions: int


def n_leep(features: Any, labels: Any, *, n_components: int | None = None, seed: int = 0) -> NLeepResult:
    """Return N-LEEP of features for labels.

    Higher is better; ≤ 0, in nats per sample.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1, each with a sample.
    n_components : int, optional
        Components of the mixture. Default: five per class, but at least ten samples for each where that leaves one per
        class.
    seed : int, default=0
        Of the start of the mixture. Expect the value to vary with it by some hundredths.

    Returns
    -------
    NLeepResult
        `value`, `converged`, `iterations`, `n_components`, `n_dimensions`.

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above, or the features do not vary.

    Notes
    -----
    Cost O(n d² + d³) for the principal components and O(n C p²) per step of the mixture with C components in p
    dimensions; memory O(d² + n C). Computed on the host. Public implementations differ in the number of components
    (5 K in SFDA's code; max(min(K, n/5), n/10) in PACTran's), and SFDA's leaves out the logarithm.

    References
    ----------
    .. [1] Li et al. Ranking neural checkpoints. CVPR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = np.concatenate([rng.normal(size=(50, 3)), rng.normal(size=(50, 3)) + 5])
    >>> abs(float(n_leep(x, np.repeat([0, 1], 50)))) < 0.1
    True
    """
    array = host_features(features)
    checked = check_labels(labels, len(array))
    n, n_classes = len(array), int(checked.max()) + 1
    if n_components is None:
        n_components = min(5 * n_classes, max(n_classes, n // 10))
    elif (
        isinstance(n_components, bool) or not isinstance(n_components, (int, np.integer)) or not 1 <= n_components <= n
    ):
        message = f"`n_components` must be an integer from 1 to {n}, the number of samples; got {n_components!r}."
        raise OptionError(message)
    points = _principal_components(array)
    mixture = fit_mixture(points, int(n_components), np.random.default_rng(seed))
    value = expected_empirical_log(xp, mixture.responsibilities, checked)
    return NLeepResult(
        value,
        converged=mixture.converged,
        iterations=mixture.iterations,
        n_components=int(n_components),
        n_dimensions=points.shape[1],
    )


def _principal_components(features: FloatArray) -> FloatArray:
    """Return the samples in the fewest principal components that hold the stated share of the variance, (n, p)."""
    n, d = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    if n <= d:
        centred = features - mean
        values, vectors = np.linalg.eigh(centred @ centred.T)
    else:
        total = SumOfSquares(xp, mean)
        for _, block in row_blocks(xp, features):
            total.add(block - mean)
        # This driver works in the matrix and one more; NumPy's takes five times its memory.
        values, vectors = scipy.linalg.eigh(total.total().T, driver="evr", overwrite_a=True, check_finite=False)
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] <= 0:
        message = "`features` must vary; all samples are equal. N-LEEP has nothing to cluster."
        raise FeatureError(message)
    kept = int(np.searchsorted(np.cumsum(values) / values.sum(), _ENERGY)) + 1
    if n <= d:
        scores: FloatArray = vectors[:, :kept] * np.sqrt(values[:kept])
        return scores
    return np.concatenate([(block - mean) @ vectors[:, :kept] for _, block in row_blocks(xp, features)])
