"""Linear probing of a target: the probe of `transferability.scores.probing`, in the form of a training result."""

from __future__ import annotations

from transferability._array import FloatArray, IntArray
from transferability.scores import probing
from transferability.validation.settings import TrainingResult

__all__ = ["VERSION", "probe"]

VERSION = 2
"""Of what is computed: results of other versions are not taken from a store."""


def probe(
    features: FloatArray, labels: IntArray, test_features: FloatArray, test_labels: IntArray, *, seed: int = 0
) -> TrainingResult:
    """Return what a linear classifier of the features is worth on the test rows.

    Parameters
    ----------
    features, labels : array (n, d), array of int (n,)
        To fit on, and to choose the ridge by five folds.
    test_features, test_labels : array (m, d), array of int (m,)
        To measure on.
    seed : int, default=0
        Of the folds; the fit itself has no chance in it.

    Returns
    -------
    TrainingResult
        Its `validation_accuracy` is that of the folds; its `epochs` are the iterations of all fits.
    """
    found = probing.probe(features, labels, test_features, test_labels, seed=seed)
    return TrainingResult(found.accuracy, found.loss, found.held_out_accuracy, found.iterations)
