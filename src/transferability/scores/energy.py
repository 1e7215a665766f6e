r"""Energy: how far the target's features lie from where the encoder's features are large, the energy term of ETran.

.. math:: S_{\text{en}} = \frac{1}{|T|} \sum_{i \in T} \log \sum_j e^{x_{ij}}

Gholami et al. [1]_, with T the samples of the smallest values: the negative free energy of the samples that look least
like what the encoder was trained on. No labels are needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import FloatArray, as_numpy
from transferability._validate import check_positive
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import as_features, row_blocks

__all__ = ["SCORES", "EnergyResult", "energy", "etran"]

_SHARE = 0.005
_ENERGY_WEIGHT = 0.15


@dataclass(frozen=True)
class EnergyResult(ScoreResult):
    """Energy.

    Attributes
    ----------
    n_averaged : int
        Samples averaged.
    """

    name: ClassVar[str] = "energy"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})

    n_averaged: int


def energy(features: Any, *, share: float = _SHARE) -> EnergyResult:
    """Return the mean log-sum-exp of the features over the samples where it is smallest.

    Higher is better; any real number, in nats. It grows with the scale and the dimension of the features.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    share : float, default=0.005
        Share of the samples to average, in (0, 1]; at least one is.

    Returns
    -------
    EnergyResult

    Raises
    ------
    FeatureError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Cost O(n d), memory O(n). The authors' code takes the features in place of logits, as here, and 0.5 % of the
    samples; with fewer than 200 samples it averages none and returns nan.

    References
    ----------
    .. [1] Gholami et al. ETran: energy-based transferability estimation. ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(energy(np.array([[0.0, 0.0], [1.0, 1.0]]))), 4)
    0.6931
    """
    share = check_positive(share, "share")
    if share > 1:
        message = f"`share` must be in (0, 1]; got {share!r}."
        raise OptionError(message)
    array, xp = as_features(features)
    values = []
    for _, block in row_blocks(xp, array):
        largest = xp.max(block, axis=1)
        values.append(as_numpy(largest + xp.log(xp.sum(xp.exp(block - largest[:, None]), axis=1))))
    count = max(1, math.floor(share * array.shape[0]))
    smallest = np.sort(np.concatenate(values))[:count]
    return EnergyResult(float(smallest.mean()), n_averaged=count)


def etran(lda: Sequence[float], energy: Sequence[float]) -> FloatArray:
    """Return ETran of several encoders on one target, from the values of `lda` and `energy` of each.

    Both terms are rescaled to 0 … 1 over the encoders and weighed 0.85 to 0.15, as in the authors' code. Higher is
    better. The value of an encoder depends on which others are in the list, and so may the order of two of them.

    Parameters
    ----------
    lda, energy : sequence of float of shape (n_encoders,)

    Returns
    -------
    array of shape (n_encoders,)

    Raises
    ------
    OptionError
        If the terms are not finite numbers, one of each per encoder.

    Examples
    --------
    >>> etran([0.5, 1.0, 0.75], [7.0, 6.0, 6.5]).tolist()
    [0.15, 0.85, 0.5]
    """
    terms = [np.asarray(term, dtype=np.float64) for term in (lda, energy)]
    if terms[0].ndim != 1 or terms[0].shape != terms[1].shape or not np.isfinite(terms).all():
        message = "`lda` and `energy` must be finite numbers, one of each per encoder; "
        message += f"got shapes {terms[0].shape} and {terms[1].shape}."
        raise OptionError(message)
    rescaled = [_over_encoders(term) for term in terms]
    return np.asarray((1 - _ENERGY_WEIGHT) * rescaled[0] + _ENERGY_WEIGHT * rescaled[1])


def _over_encoders(term: FloatArray) -> FloatArray:
    """Rescale a term to 0 … 1; one that is the same for all encoders decides nothing and is 0."""
    spread = np.ptp(term) if len(term) else 0.0
    return (term - term.min()) / spread if spread else np.zeros_like(term)


def _from_inputs(inputs: ScoreInputs) -> EnergyResult:
    return energy(inputs.features)


SCORES = (
    ScoreInfo(
        "energy",
        EnergyResult,
        description="log-sum-exp of the features where it is smallest: ETran's energy term, without labels",
        range="ℝ, nats",
        cost="O(n d)",
        limitations="between encoders of different dimension or scale of features",
        function=_from_inputs,
    ),
)
