r"""PACTran: PAC-Bayesian bounds on the loss of a linear or topic model on top of an encoder.

Ding et al. [1]_. With a Gaussian prior on a softmax regression over the features, N samples, D dimensions, K classes:

.. math:: \min_{W, b} \Big[ \hat L + \frac{\|W\|^2}{2 \beta \sigma_0^2} \Big]
          + \frac{K D}{2 \beta} \log\Big(1 + \frac{\beta \sigma_0^2}{K D} \operatorname{tr} \nabla^2\Big)

and with Dirichlet or Gamma priors on the table between source and target classes, variational bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability._class_numbers import class_codes
from transferability._validate import check_choice, check_positive
from transferability.errors import OptionError
from transferability.scores._info import ScoreInfo, ScoreInputs
from transferability.scores._probabilities import as_probabilities
from transferability.scores._result import IterativeResult
from transferability.scores._softmax_regression import fit_softmax_regression
from transferability.scores._variational import dirichlet_value, gamma_value
from transferability.statistics._inputs import host_features

__all__ = [
    "SCORES",
    "PactranDirichletResult",
    "PactranGammaResult",
    "PactranGaussianResult",
    "PactranResult",
    "pactran",
]

_ROWS_PER_BLOCK = 256


@dataclass(frozen=True)
class PactranResult(IterativeResult):
    """PACTran, whatever the prior."""

    name: ClassVar[str] = "pactran"
    higher_is_better: ClassVar[bool] = False


@dataclass(frozen=True)
class PactranGaussianResult(PactranResult):
    """PACTran-Gaussian.

    Attributes
    ----------
    loss : float
        Minimum of the regularised loss, in nats: what the authors call pac_opt.
    complexity : float
        The second term; `value` is the sum of both.
    hessian_trace : float
        Trace of the Hessian of the summed loss in W and b, without the prior's part.
    beta, prior_variance : float
        β and σ₀².
    """

    name: ClassVar[str] = "pactran_gaussian"

    loss: float
    complexity: float
    hessian_trace: float
    beta: float
    prior_variance: float


@dataclass(frozen=True)
class PactranDirichletResult(PactranResult):
    """PACTran-Dirichlet."""

    name: ClassVar[str] = "pactran_dirichlet"
    needs: ClassVar[frozenset[str]] = frozenset({"source_probabilities", "labels"})


@dataclass(frozen=True)
class PactranGammaResult(PactranResult):
    """PACTran-Gamma."""

    name: ClassVar[str] = "pactran_gamma"
    needs: ClassVar[frozenset[str]] = frozenset({"source_probabilities", "labels"})


def pactran(
    features: Any,
    labels: Any,
    *,
    prior: str = "gaussian",
    preset: str = "pactran",
    beta: float | None = None,
    prior_variance: float | None = None,
    alpha: float = 1.0,
    max_iterations: int = 1000,
) -> PactranResult:
    """Return PACTran of features, or of source probabilities, for labels.

    Lower is better; a bound on the expected loss, in nats per sample, up to terms that all encoders share.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        For `prior="gaussian"`: features. For "dirichlet" and "gamma": source probabilities, of shape
        (n_samples, n_source_classes), as for `leep`.
    labels : array of shape (n_samples,)
        Target classes: integers, whole floats, booleans or strings.
    prior : {"gaussian", "dirichlet", "gamma"}, default="gaussian"
    preset : {"pactran", "task-relatedness"}, default="pactran"
        Gaussian only: β and σ₀² from N and D. "pactran": σ₀² = 100 / D, β σ₀² = 10 N, the PACTran paper's choice for
        a hundred samples per class and more. "task-relatedness": σ₀² = D / 100, β = 10 N, as the task-relatedness
        paper states in appendix D.3.
    beta, prior_variance : float, optional
        Gaussian only: β and σ₀² themselves, positive; each overrides the preset.
    alpha : float, default=1
        Dirichlet and Gamma only: total prior count, spread over the target classes by their shares.
    max_iterations : int, default=1000
        Where to stop if not converged.

    Returns
    -------
    PactranGaussianResult, PactranDirichletResult or PactranGammaResult
        `converged` says whether `max_iterations` was enough.

    Raises
    ------
    FeatureError, LabelError, OptionError
        If an argument is not as said above.

    Notes
    -----
    Gaussian: O(n d K) per pass, some 30 passes and more where features are uneven, in float32 where the problem is
    large; memory one copy of the features in that precision. Dirichlet and Gamma: O(n Z) per pass over Z source
    classes. Gaussian fits are made on the host, whatever library the features come from; the others stay on the
    device. Against the authors' code:

    1. The regression is convex and solved to convergence: their random start and cap of 100 iterations leave ±0.4 %.
    2. Their code sums the Hessian over samples while its loss is a mean; so does this, to meet published numbers.
       `hessian_trace`, `beta` and `prior_variance` give the other reading.
    3. Dirichlet and Gamma are iterated to convergence; `max_iterations=10` gives the authors' numbers. For these two
       the iteration may meet plateaus, and `converged` refers to the change of one step.
    4. The rate of the Gamma posterior is not updated, as in the authors' code. Arguments are not changed.

    References
    ----------
    .. [1] Ding et al. PACTran: PAC-Bayesian metrics for estimating the transferability of pretrained models to
       classification tasks. ECCV 2022.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [0.1, 0.0], [1.0, 1.0], [0.9, 0.0]])
    >>> round(float(pactran(x, np.array([0, 0, 1, 1]))), 4)
    6.7667
    """
    check_choice(prior, ["gaussian", "dirichlet", "gamma"], "prior")
    if isinstance(max_iterations, bool) or not isinstance(max_iterations, (int, np.integer)) or max_iterations < 1:
        message = f"`max_iterations` must be a positive integer; got {max_iterations!r}."
        raise OptionError(message)
    if prior == "gaussian":
        check_choice(preset, ["pactran", "task-relatedness"], "preset")
        array = host_features(features)
        checked = class_codes(labels, len(array))
        variance, weight = _parameters(preset, beta, prior_variance, *array.shape)
        return _gaussian(array, checked, weight, variance, int(max_iterations))
    if beta is not None or prior_variance is not None:
        message = f"`beta` and `prior_variance` must be left out with prior={prior!r}; they belong to prior='gaussian'."
        raise OptionError(message)
    alpha = check_positive(alpha, "alpha")
    probabilities, xp = as_probabilities(features, "features (source probabilities)")
    checked = class_codes(labels, probabilities.shape[0])
    if prior == "dirichlet":
        found = dirichlet_value(xp, probabilities, checked, alpha, int(max_iterations))
        return PactranDirichletResult(found.value, converged=found.converged, iterations=found.iterations)
    found = gamma_value(xp, probabilities, checked, alpha, int(max_iterations))
    return PactranGammaResult(found.value, converged=found.converged, iterations=found.iterations)


def _parameters(
    preset: str, beta: float | None, prior_variance: float | None, n_samples: int, n_features: int
) -> tuple[float, float]:
    """Return σ₀² and β."""
    variance = 100.0 / n_features if preset == "pactran" else n_features / 100.0
    if prior_variance is not None:
        variance = check_positive(prior_variance, "prior_variance")
    weight = 10.0 * n_samples / variance if preset == "pactran" else 10.0 * n_samples
    if beta is not None:
        weight = check_positive(beta, "beta")
    return variance, weight


def _gaussian(
    features: FloatArray, labels: IntArray, beta: float, variance: float, max_iterations: int
) -> PactranGaussianResult:
    strength = beta * variance
    fit = fit_softmax_regression(features, labels, 1.0 / strength, max_iterations=max_iterations)
    trace = 0.0
    for start in range(0, len(features), _ROWS_PER_BLOCK):
        block = features[start : start + _ROWS_PER_BLOCK] - fit.mean
        squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        trace += float(fit.curvatures[start : start + _ROWS_PER_BLOCK] @ (squares + 1))  # + 1: the intercept
    loss = fit.loss + 0.5 * float(np.vdot(fit.weights, fit.weights)) / strength
    n_weights = fit.weights.size
    complexity = 0.5 * n_weights / beta * math.log1p(strength / n_weights * trace)
    return PactranGaussianResult(
        loss + complexity,
        converged=fit.converged,
        iterations=fit.iterations,
        loss=loss,
        complexity=complexity,
        hessian_trace=trace,
        beta=beta,
        prior_variance=variance,
    )


def _gaussian_from_inputs(inputs: ScoreInputs) -> PactranResult:
    return pactran(inputs.features, inputs.checked_labels)


def _dirichlet_from_inputs(inputs: ScoreInputs) -> PactranResult:
    return pactran(inputs.source_probabilities, inputs.checked_labels, prior="dirichlet")


def _gamma_from_inputs(inputs: ScoreInputs) -> PactranResult:
    return pactran(inputs.source_probabilities, inputs.checked_labels, prior="gamma")


SCORES = (
    ScoreInfo(
        "pactran_gaussian",
        PactranGaussianResult,
        description="PAC-Bayesian bound of a softmax regression on the features",
        range="ℝ, nats",
        cost="O(n d K) per pass",
        limitations="between data sets of different size: the bound depends on n, d and K",
        function=_gaussian_from_inputs,
        on_device=False,
        invariant_to=frozenset({"shift", "rotation"}),
    ),
    ScoreInfo(
        "pactran_dirichlet",
        PactranDirichletResult,
        description="PAC-Bayesian bound of a Dirichlet table between source and target classes",
        range="ℝ, nats",
        cost="O(n Z) per pass",
        limitations="encoders without a classifier of their own",
        function=_dirichlet_from_inputs,
    ),
    ScoreInfo(
        "pactran_gamma",
        PactranGammaResult,
        description="PAC-Bayesian bound of a Gamma table between source and target classes",
        range="ℝ, nats",
        cost="O(n Z) per pass",
        limitations="encoders without a classifier of their own",
        function=_gamma_from_inputs,
    ),
)
