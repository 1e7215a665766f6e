"""N-LEEP: LEEP with the components of a Gaussian mixture over the features in place of source classes.

Li et al. [1]_: principal components that hold 80 % of the variance, a mixture fitted to them, LEEP of its
responsibilities. No source classifier is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import array_api_compat.numpy as xp
import numpy as np

from transferability._array import as_numpy
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._mixture import fit_mixture
from transferability.scores._result import IterativeResult
from transferability.scores.leep import expected_empirical_log

__all__ = ["SCORES", "NLeepResult", "n_leep"]

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
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
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
    dimensions; memory O(d² + n C). The mixture is computed on the host, in units in which the components that are kept
    have a mean variance of one: the 1e-6 that scikit-learn's mixture adds to covariances then means the same whatever
    the unit of the features. Public implementations differ in the number of components (5 K in SFDA's code;
    max(min(K, n/5), n/10) in PACTran's), and SFDA's leaves out the logarithm.

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
    return _n_leep(LabelledFeatures(features, labels), n_components, seed)


def _n_leep(data: LabelledFeatures, n_components: int | None, seed: int) -> NLeepResult:
    n, n_classes = data.n_samples, data.n_classes
    if n_components is None:
        n_components = min(5 * n_classes, max(n_classes, n // 10))
    elif (
        isinstance(n_components, bool) or not isinstance(n_components, (int, np.integer)) or not 1 <= n_components <= n
    ):
        message = f"`n_components` must be an integer from 1 to {n}, the number of samples; got {n_components!r}."
        raise OptionError(message)
    data.principal.require_variation()
    values = data.principal.values
    kept = int(np.searchsorted(np.cumsum(values) / values.sum(), _ENERGY)) + 1
    points = as_numpy(data.principal.coordinates(kept))
    # Of mean variance one: what the mixture adds to its covariances must not depend on the unit of the features.
    points /= np.sqrt(values[:kept].sum() / (data.n_samples * kept))
    mixture = fit_mixture(points, int(n_components), np.random.default_rng(seed))
    value = expected_empirical_log(xp, mixture.responsibilities, data.labels)
    return NLeepResult(
        value,
        converged=mixture.converged,
        iterations=mixture.iterations,
        n_components=int(n_components),
        n_dimensions=points.shape[1],
    )


def _from_inputs(inputs: ScoreInputs) -> NLeepResult:
    return _n_leep(inputs.labelled, None, inputs.seed)


SCORES = (
    ScoreInfo(
        "n_leep",
        NLeepResult,
        description="LEEP with the components of a Gaussian mixture in place of source classes",
        range="≤ 0, nats",
        cost="O(n d² + d³) and a mixture",
        limitations="differences of some hundredths: they come from the start of the mixture",
        function=_from_inputs,
        on_device=False,
        invariant_to=frozenset({"shift", "scale", "rotation"}),
        drawn=True,
    ),
)
