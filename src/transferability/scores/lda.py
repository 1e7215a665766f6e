r"""LDA: mean posterior of the right class under a linear discriminant, the classification term of ETran.

.. math:: S_{\text{cls}} = \frac1n \sum_i p(y_i \mid x_i), \qquad
          p(c \mid x) \propto \pi_c \exp\big(-\tfrac12 (x - m_c)^\top \Sigma^{-1} (x - m_c)\big)

Gholami et al. [1]_: :math:`\Sigma = (1 - \lambda) S_w + \lambda \mu I` with the within-class covariance
:math:`S_w`, :math:`\mu = \operatorname{tr}(S_w) / d`, :math:`\lambda = \max(e^{-5 \sigma_{\max}(S_w)}, 10^{-10})`, as
in the first step of SFDA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from transferability._validate import check_choice
from transferability.scores._discriminant import euclidean_discriminant, own_entries
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.statistics._inputs import row_blocks

__all__ = ["SCORES", "LdaResult", "lda"]


@dataclass(frozen=True)
class LdaResult(ScoreResult):
    """LDA.

    Attributes
    ----------
    shrinkage : float
        Weight λ of the identity in the within-class covariance; 1 where the identity takes its place.
    """

    name: ClassVar[str] = "lda"
    lower_bound: ClassVar[float] = 0.0
    upper_bound: ClassVar[float] = 1.0

    shrinkage: float


def lda(features: Any, labels: Any, *, covariance: str = "within") -> LdaResult:
    r"""Return the mean posterior of the right class under a linear discriminant fitted to the same samples.

    Higher is better; between 0 and 1, a mean probability.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite, of any library that follows the array API standard; the work stays on its device.
    labels : array of shape (n_samples,)
        Classes: integers, whole floats, booleans or strings.
    covariance : {"within", "identity"}, default="within"
        "identity": a softmax of the negative half squared distances to the class means and log priors, which is what
        the authors' code computes. It depends on the scale of the features, and does not saturate for n ≤ d.

    Returns
    -------
    LdaResult

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.
    FeatureError
        If the covariance is wanted and the features are constant within every class.

    Notes
    -----
    Cost O(n d² + d³), memory O(d²). It saturates at 1 once n < d, where classes can always be separated; the result
    then carries a note. Against the authors' code:

    1. That code passes :math:`\Sigma^{-1} S_b`, which is not symmetric, to a routine for symmetric matrices, and keeps
       all the orthonormal vectors that it returns. Their product with their transpose is the identity: the covariance
       has no effect, and the score is that of ``covariance="identity"``. By default the covariance is inverted here, as
       the paper says.
    2. The largest eigenvalue is exact, not three steps of a power iteration.

    References
    ----------
    .. [1] Gholami et al. ETran: energy-based transferability estimation. ICCV 2023.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [0.6, 0.2], [1.0, 1.0], [0.9, 0.0], [0.4, 0.7]])
    >>> round(float(lda(x, np.array([0, 0, 0, 1, 1, 1]))), 4)
    0.7662
    """
    check_choice(covariance, ["within", "identity"], "covariance")
    return _lda(LabelledFeatures(features, labels), covariance)


def _lda(data: LabelledFeatures, covariance: str) -> LdaResult:
    fitted = data.discriminant if covariance == "within" else euclidean_discriminant(data.moments)
    xp = data.xp
    total = 0.0
    for start, block in row_blocks(xp, data.array):
        own = data.labels[start : start + block.shape[0]]
        total += float(xp.sum(own_entries(xp, fitted.posteriors(xp, block), own)))
    value = min(total / data.n_samples, 1.0)
    if data.tall or covariance == "identity":
        return LdaResult(value, shrinkage=fitted.shrinkage)
    note = f"saturated: with {data.n_samples} samples in {data.n_features} dimensions LDA is near 1 for any features."
    return LdaResult(value, shrinkage=fitted.shrinkage, notes=(note,))


def _from_inputs(inputs: ScoreInputs) -> LdaResult:
    return _lda(inputs.labelled, "within")


def _from_inputs_without_covariance(inputs: ScoreInputs) -> LdaResult:
    return _lda(inputs.labelled, "identity")


SCORES = (
    ScoreInfo(
        "lda",
        LdaResult,
        description="mean posterior of the right class under a linear discriminant: ETran's term for classes",
        range="0 … 1",
        cost="O(n d² + d³)",
        limitations="n ≤ d: it saturates at 1; its shrinkage depends on the scale of the features",
        function=_from_inputs,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
    ScoreInfo(
        "lda_identity",
        LdaResult,
        description="the same with the identity as covariance: ETran's term for classes, as in the authors' code",
        range="0 … 1",
        cost="O(n d²), O(n K d) beyond shared moments",
        limitations="between scales of features",
        function=_from_inputs_without_covariance,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
)
