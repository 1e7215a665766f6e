"""All scores by name: what each is, what it needs, when it says nothing; and several at once on one set of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from transferability._array import Array, IntArray
from transferability._validate import check_labels
from transferability.errors import LabelError, TaskError, TransferabilityError, UnknownNameError, nearest_names
from transferability.scores._result import ScoreResult
from transferability.scores.hscore import HScoreResult, h_score, h_score_from_moments
from transferability.scores.knn import KnnResult, knn
from transferability.scores.leep import LeepResult, leep
from transferability.scores.linear_probe import LinearProbeResult, linear_probe
from transferability.scores.logme import LogMEResult, logme, logme_from_moments
from transferability.scores.n_leep import NLeepResult, n_leep
from transferability.scores.nce import NceResult, nce
from transferability.scores.otce import OtceResult, OtNceResult, ot_nce, otce
from transferability.scores.pactran import PactranDirichletResult, PactranGammaResult, PactranGaussianResult, pactran
from transferability.scores.ridge_all_layers import RidgeAllLayersResult, ridge_all_layers
from transferability.scores.sfda import SfdaResult, sfda
from transferability.scores.size import SizeResult, size
from transferability.scores.transrate import TransRateResult, transrate
from transferability.statistics._inputs import as_features
from transferability.statistics.moments import ClassMoments, class_moments
from transferability.task import Task

__all__ = ["ScoreInfo", "ScoreInputs", "available", "compute", "compute_many"]

_NEEDS_IN_WORDS = {
    "features": "features",
    "labels": "labels or pseudo-labels",
    "source_probabilities": "the class probabilities of a source classifier",
    "reference": "a labelled reference task under the same encoder",
    "layers": "the hidden layers of an encoder that shows them",
    "n_parameters": "the number of parameters of the encoder",
}


@dataclass(frozen=True, eq=False)
class ScoreInputs:
    """What there is to score.

    Parameters
    ----------
    features : array of shape (n_samples, n_features), optional
        Of the target.
    labels : array of int of shape (n_samples,), optional
        Of the target; or pseudo-labels.
    source_probabilities : array of shape (n_samples, n_source_classes), optional
        What the encoder's own classifier says of the target samples.
    reference : Task, optional
        A labelled task under the same encoder.
    n_parameters : int, optional
        Of the encoder.
    pseudo_labels : bool, default=False
        Whether `labels` were guessed. Classes that no sample got are then left out, and every result says so.
    seed : int, default=0
        For the scores that draw.
    layers : sequence of arrays (n_samples, width), optional
        What the encoder's layers give for the target samples, from input to output, the features last.
    """

    features: Any = None
    labels: Any = None
    source_probabilities: Any = None
    reference: Task | None = None
    n_parameters: int | None = None
    pseudo_labels: bool = False
    seed: int = 0
    layers: Sequence[Any] | None = None

    @property
    def given(self) -> frozenset[str]:
        """Names of what is there."""
        return frozenset(each for each in _NEEDS_IN_WORDS if getattr(self, each) is not None)

    @cached_property
    def checked_labels(self) -> IntArray:
        """Labels 0..K−1, each with a sample."""
        if not self.pseudo_labels:
            return check_labels(self.labels)
        present, renumbered = np.unique(np.asarray(self.labels), return_inverse=True)
        if len(present) < 2:
            message = "pseudo-labels put all samples into one class; no score says anything then."
            raise LabelError(message)
        return renumbered

    @cached_property
    def moments(self) -> ClassMoments | None:
        """Class moments, made once for all scores that need no more; None for n ≤ d, where other ways are shorter."""
        features: Array = as_features(self.features)[0]
        return None if features.shape[0] <= features.shape[1] else class_moments(features, self.checked_labels)

    @property
    def note(self) -> str | None:
        """What a reader of any score that used the labels must know of them."""
        if not self.pseudo_labels:
            return None
        return f"computed on pseudo-labels, of {int(self.checked_labels.max()) + 1} classes; true labels were not seen."


@dataclass(frozen=True)
class ScoreInfo:
    """One score.

    Attributes
    ----------
    name : str
    result : subclass of ScoreResult
        Holds direction, bounds and needs.
    description : str
    cost : str
        For n samples, d features, K classes, Z source classes.
    silent : str
        When it says nothing.
    """

    name: str
    result: type[ScoreResult]
    description: str
    cost: str
    silent: str
    function: Callable[[ScoreInputs], ScoreResult] = field(repr=False)

    @property
    def higher_is_better(self) -> bool:
        """Direction."""
        return self.result.higher_is_better

    @property
    def lower_bound(self) -> float:
        """Smallest possible value."""
        return self.result.lower_bound

    @property
    def upper_bound(self) -> float:
        """Largest possible value."""
        return self.result.upper_bound

    @property
    def needs(self) -> frozenset[str]:
        """Names of the inputs it needs, as in `ScoreInputs`."""
        return self.result.needs

    def missing(self, inputs: ScoreInputs) -> str | None:
        """Return what is missing to compute the score, in words, or None."""
        absent = sorted(self.needs - inputs.given)
        return f"needs {' and '.join(_NEEDS_IN_WORDS[each] for each in absent)}" if absent else None


def available() -> dict[str, ScoreInfo]:
    """Return all scores by name, in the order in which they are shown.

    Examples
    --------
    >>> info = available()["h_score"]
    >>> info.higher_is_better, sorted(info.needs)
    (True, ['features', 'labels'])
    """
    return dict(_SCORES)


def compute(name: str, inputs: ScoreInputs) -> ScoreResult:
    """Compute one score by name.

    Raises
    ------
    UnknownNameError
        If there is no such score.
    TaskError
        If an input that it needs is missing.
    TransferabilityError
        Whatever the score says of its inputs.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.1], [0.2], [1.0], [1.1], [1.2]])
    >>> float(compute("knn", ScoreInputs(features=x, labels=np.array([0, 0, 0, 1, 1, 1]))))
    1.0
    """
    if name not in _SCORES:
        message = f"no score is called {name!r}. {nearest_names(name, _SCORES)}"
        raise UnknownNameError(message)
    info = _SCORES[name]
    missing = info.missing(inputs)
    if missing:
        message = f"score {name!r} {missing}; got {', '.join(sorted(inputs.given)) or 'nothing'}."
        raise TaskError(message)
    result = info.function(inputs)
    return result.with_note(inputs.note) if inputs.note and "labels" in info.needs else result


def compute_many(names: Iterable[str], inputs: ScoreInputs) -> tuple[dict[str, ScoreResult], dict[str, str]]:
    """Compute several scores; one that cannot be computed is skipped with its reason, and the others go on.

    Scores that need only moments share one pass over the features.

    Parameters
    ----------
    names : iterable of str
        Or just "all" among them.
    inputs : ScoreInputs

    Returns
    -------
    results : dict of str to ScoreResult
    skipped : dict of str to str
        Reasons, by name.

    Raises
    ------
    UnknownNameError
        If there is no such score.
    """
    wanted = list(dict.fromkeys(names))
    if "all" in wanted:
        wanted = list(_SCORES)
    results, skipped = {}, {}
    for name in wanted:
        try:
            results[name] = compute(name, inputs)
        except UnknownNameError:
            raise
        except TransferabilityError as error:
            skipped[name] = str(error)
    return results, skipped


def _h_score(inputs: ScoreInputs) -> ScoreResult:
    moments = inputs.moments
    return h_score(inputs.features, inputs.checked_labels) if moments is None else h_score_from_moments(moments)


def _shrunk_h_score(inputs: ScoreInputs) -> ScoreResult:
    moments = inputs.moments
    if moments is None:
        return h_score(inputs.features, inputs.checked_labels, shrinkage="ledoit-wolf")
    return h_score_from_moments(moments, shrinkage="ledoit-wolf")


def _logme(inputs: ScoreInputs) -> ScoreResult:
    moments = inputs.moments
    return logme(inputs.features, inputs.checked_labels) if moments is None else logme_from_moments(moments)


def _nce(inputs: ScoreInputs) -> ScoreResult:
    probabilities = inputs.source_probabilities
    xp = as_features(probabilities, "source_probabilities")[1]
    return nce(xp.argmax(probabilities, axis=1), inputs.checked_labels)


def _on_probabilities(prior: str) -> Callable[[ScoreInputs], ScoreResult]:
    return lambda inputs: pactran(inputs.source_probabilities, inputs.checked_labels, prior=prior)


def _with_reference(function: Callable[..., ScoreResult]) -> Callable[[ScoreInputs], ScoreResult]:
    def computed(inputs: ScoreInputs) -> ScoreResult:
        target = Task(inputs.features, inputs.checked_labels, name="target")
        return function(inputs.reference, target, seed=inputs.seed)

    return computed


_SCORES = {
    each.name: each
    for each in (
        ScoreInfo(
            "logme",
            LogMEResult,
            "evidence of a Bayesian linear model of the labels, at its maximum",
            "O(n d² + d³)",
            "never; raises where features copy the labels",
            _logme,
        ),
        ScoreInfo(
            "h_score",
            HScoreResult,
            "share of the class structure that a linear function of the features expresses, times K",
            "O(n d² + d³)",
            "n ≤ d: it is K − 1 whatever the features",
            _h_score,
        ),
        ScoreInfo(
            "h_score_shrunk",
            HScoreResult,
            "H-score with Ledoit–Wolf shrinkage of the covariance",
            "O(n d² + d³)",
            "never",
            _shrunk_h_score,
        ),
        ScoreInfo(
            "sfda",
            SfdaResult,
            "mean posterior of the right class in a self-challenging Fisher space",
            "O(n d² + d³)",
            "n ≤ d: it saturates at 1",
            lambda inputs: sfda(inputs.features, inputs.checked_labels),
        ),
        ScoreInfo(
            "transrate",
            TransRateResult,
            "coding rate of the features, less its mean within classes",
            "O(n d² + d³)",
            "between encoders of different dimension or scale of features",
            lambda inputs: transrate(inputs.features, inputs.checked_labels),
        ),
        ScoreInfo(
            "n_leep",
            NLeepResult,
            "LEEP with the components of a Gaussian mixture in place of source classes",
            "O(n d² + d³) and a mixture",
            "differences of some hundredths: they come from the start of the mixture",
            lambda inputs: n_leep(inputs.features, inputs.checked_labels, seed=inputs.seed),
        ),
        ScoreInfo(
            "pactran_gaussian",
            PactranGaussianResult,
            "PAC-Bayesian bound of a softmax regression on the features",
            "O(n d K) per pass",
            "between data sets of different size: the bound depends on n, d and K",
            lambda inputs: pactran(inputs.features, inputs.checked_labels),
        ),
        ScoreInfo(
            "knn",
            KnnResult,
            "leave-one-out accuracy of the three nearest neighbours' vote",
            "O(n² d)",
            "never",
            lambda inputs: knn(inputs.features, inputs.checked_labels),
        ),
        ScoreInfo(
            "linear_probe",
            LinearProbeResult,
            "cross-validated accuracy of a softmax regression",
            "O(n d min(n, d)) per fold, O(n min(n, d) K) per pass",
            "never",
            lambda inputs: linear_probe(inputs.features, inputs.checked_labels, seed=inputs.seed),
        ),
        ScoreInfo(
            "ridge_all_layers",
            RidgeAllLayersResult,
            "leave-one-out share of the labels' variance that a ridge regression on all layers explains",
            "O(n² Σd + n³) for n ≤ 4,000 samples",
            "encoders that show no hidden layers",
            lambda inputs: ridge_all_layers(inputs.layers or (), inputs.checked_labels, seed=inputs.seed),
        ),
        ScoreInfo(
            "leep",
            LeepResult,
            "mean log probability of the label through the source classes",
            "O(n Z)",
            "encoders without a classifier of their own",
            lambda inputs: leep(inputs.source_probabilities, inputs.checked_labels),
        ),
        ScoreInfo(
            "nce",
            NceResult,
            "negative conditional entropy of the labels given the predicted source class",
            "O(n Z)",
            "encoders without a classifier of their own; more source classes than samples: it is near 0",
            _nce,
        ),
        ScoreInfo(
            "pactran_dirichlet",
            PactranDirichletResult,
            "PAC-Bayesian bound of a Dirichlet table between source and target classes",
            "O(n Z) per pass",
            "encoders without a classifier of their own",
            _on_probabilities("dirichlet"),
        ),
        ScoreInfo(
            "pactran_gamma",
            PactranGammaResult,
            "PAC-Bayesian bound of a Gamma table between source and target classes",
            "O(n Z) per pass",
            "encoders without a classifier of their own",
            _on_probabilities("gamma"),
        ),
        ScoreInfo(
            "ot_nce",
            OtNceResult,
            "negative conditional entropy of the labels under optimal transport from a reference task",
            "O(m³) for m ≤ 4,000 samples",
            "without a reference task",
            _with_reference(ot_nce),
        ),
        ScoreInfo(
            "otce",
            OtceResult,
            "OT-NCE with a penalty on the transport distance",
            "O(m³) for m ≤ 4,000 samples",
            "without a reference task",
            _with_reference(otce),
        ),
        ScoreInfo(
            "size",
            SizeResult,
            "static baseline: number of parameters of the encoder, whatever the target",
            "none",
            "about the target",
            lambda inputs: size(inputs.n_parameters or 0),
        ),
    )
}
