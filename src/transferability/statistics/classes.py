r"""Counts, means and covariances of each class, for samples that cannot be copied.

.. math:: n_c,\quad m_c = \frac1{n_c}\sum_{y_i = c} x_i,\quad S_c = \sum_{y_i = c} (x_i - m_c)(x_i - m_c)^\top

A thousand classes of 2,048 features make 33 GB of :math:`S_c`, so there are three forms, all of which stream and merge
*exactly*, in any order and any split, by the pairwise update of Chan, Golub and LeVeque [1]_:

``full``
    Every :math:`S_c`.
``shared``
    The pooled :math:`\sum_c S_c` and every diagonal of :math:`S_c`.
``low-rank``
    The same, and a sketch :math:`S_c \Omega` of each class with one fixed matrix :math:`\Omega` of r columns of ±1. A
    sketch is linear in :math:`S_c`, which is why it merges exactly, where truncated factors would not. What is made
    of it, the Nyström approximation of rank r, is taken only when the statistics are used (`gaussians`) [2]_.

References
----------
.. [1] Chan, Golub, LeVeque. Algorithms for computing the sample variance. The American Statistician, 1983.
.. [2] Tropp, Yurtsever, Udell, Cevher. Fixed-rank approximation of a positive-semidefinite matrix from streaming data.
   NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transferability._array import FloatArray, namespace
from transferability._validate import check_choice
from transferability.errors import LabelError, OptionError, TaskError
from transferability.statistics._counts import ClassCounts, merge_parts, stream_labels
from transferability.statistics._inputs import SumOfSquares, class_sums, host_features

__all__ = ["ClassStatistics", "CovarianceForm", "class_statistics", "merge_statistics", "sketch_matrix"]

CovarianceForm = Literal["full", "shared", "low-rank"]
_LARGEST_RANK = 1024
_FORMS = ("full", "shared", "low-rank")
_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class ClassStatistics(ClassCounts):
    """Sums over the samples of each class, in float64.

    Attributes
    ----------
    counts : int array of shape (n_classes,)
    means : array of shape (n_classes, n_features)
        Zero for a class that has no sample yet.
    diagonals : array of shape (n_classes, n_features)
        Diagonal of the scatter of each class about its mean.
    pooled : array of shape (n_features, n_features)
        Sum of the scatters of all classes: the within-class scatter.
    scatters : array of shape (n_classes, n_features, n_features), or None
        In the full form.
    sketches : array of shape (n_classes, n_features, rank), or None
        In the low-rank form: scatter times `sketch_matrix`.
    """

    means: FloatArray
    diagonals: FloatArray
    pooled: FloatArray
    scatters: FloatArray | None = None
    sketches: FloatArray | None = None

    @property
    def form(self) -> CovarianceForm:
        """How much of the covariances is kept."""
        if self.scatters is not None:
            return "full"
        return "shared" if self.sketches is None else "low-rank"

    @property
    def rank(self) -> int:
        """Columns of the sketches; 0 where there are none."""
        return 0 if self.sketches is None else int(self.sketches.shape[2])

    @property
    def n_features(self) -> int:
        """Dimension of the features."""
        return int(self.means.shape[1])

    def mean(self) -> FloatArray:
        """Return the mean of all samples, (n_features,)."""
        mean: FloatArray = self.class_priors @ self.means
        return mean

    def deviation(self) -> FloatArray:
        """Return the standard deviation of each feature over all samples (divided by n), (n_features,)."""
        centred = self.means - self.mean()
        variance: FloatArray = self.diagonals.sum(axis=0) / self.n_samples + self.class_priors @ centred**2
        return np.sqrt(variance)

    def require_every_class(self, name: str) -> None:
        """Raise `LabelError` unless there are two classes or more and each has a sample."""
        empty = np.flatnonzero(self.counts == 0)
        if self.n_classes < 2 or len(empty):
            found = f"class {empty[0]} has none" if len(empty) else f"got {self.n_classes} classes"
            message = f"statistics of {name!r} must hold two classes or more, each with a sample; {found}."
            raise LabelError(message)

    def merge(self, other: ClassStatistics) -> ClassStatistics:
        """Return the statistics of both parts together, exact to rounding.

        Raises
        ------
        TaskError
            If the parts differ in classes, features or form.
        """
        theirs, ours = (
            (each.form, each.rank, each.n_classes, each.n_features) for each in (other, self)
        )  # what must agree
        if theirs != ours:
            message = (
                "statistics to merge must be of one form, rank, number of classes and of features; "
                f"got {ours} and {theirs}. Make all parts with the same settings."
            )
            raise TaskError(message)
        counts = self.counts + other.counts
        total = np.maximum(counts, 1)
        step = other.means - self.means
        # Classes that one part lacks have weight 0 here and share 0 or 1 below: its zeros never enter.
        root = np.sqrt(self.counts * (other.counts / total))[:, None] * step  # (K, d)
        scatters, sketches = None, None
        if self.scatters is not None and other.scatters is not None:
            scatters = self.scatters + other.scatters
            for c in np.flatnonzero(root.any(axis=1)):
                scatters[c] += np.outer(root[c], root[c])
        if self.sketches is not None and other.sketches is not None:
            sketches = self.sketches + other.sketches
            sketches += root[:, :, None] * (root @ sketch_matrix(self.n_features, self.rank))[:, None, :]
        return ClassStatistics(
            counts=counts,
            means=self.means + (other.counts / total)[:, None] * step,
            diagonals=self.diagonals + other.diagonals + root**2,
            pooled=self.pooled + other.pooled + root.T @ root,
            scatters=scatters,
            sketches=sketches,
        )


def class_statistics(
    features: Any,
    labels: Any,
    n_classes: int | None = None,
    *,
    covariance: CovarianceForm = "full",
    rank: int = 16,
) -> ClassStatistics:
    """Return the statistics of labelled features, in blocks: no copy of all features is made.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite. Summed in float64.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1.
    n_classes : int, optional
        K, needed where the samples are a part of a stream in which a class may be missing. Left out, every class must
        have a sample.
    covariance : {"full", "shared", "low-rank"}, default="full"
        See the head of this module.
    rank : int, default=16
        Columns of the sketch of each class, for "low-rank".

    Raises
    ------
    FeatureError, LabelError, OptionError
        If the features, labels or options are not as said above.

    Notes
    -----
    Cost O(n d²). Memory, beside the features: O(d² + K d), and K d² in the full, K d r in the low-rank form.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.arange(12.0).reshape(6, 2) ** 2, np.array([0, 0, 1, 1, 0, 1])
    >>> parts = [class_statistics(x[i : i + 2], y[i : i + 2], n_classes=2) for i in (4, 0, 2)]
    >>> bool(np.allclose(merge_statistics(parts).scatters, class_statistics(x, y).scatters, rtol=1e-12))
    True
    """
    array = host_features(features)
    check_choice(covariance, _FORMS, "covariance")
    most = max(array.shape[1], _LARGEST_RANK)  # of covariances of d features there is no more to keep than d columns
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or not 1 <= rank <= most:
        message = f"`rank` must be an integer from 1 to {most}; got {rank!r:.60}."
        raise OptionError(message)
    checked, k = stream_labels(labels, len(array), n_classes)
    d = array.shape[1]
    counts = np.bincount(checked, minlength=k)
    order = np.argsort(checked, kind="stable")
    at_once = max(64, _BLOCK_ELEMENTS // d)
    blocks = [order[start : start + at_once] for start in range(0, len(order), at_once)]
    # The means first, then everything about them: features far from the origin lose no digits.
    means = np.zeros((k, d))
    for rows in blocks:
        means += class_sums(np, array[rows].astype(np.float64), checked[rows], k)
    means /= np.maximum(counts, 1)[:, None]
    diagonals = np.zeros((k, d))
    pooled = SumOfSquares(namespace(means), means[0])
    scatters = np.zeros((k, d, d)) if covariance == "full" else None
    sketches = np.zeros((k, d, int(rank))) if covariance == "low-rank" else None
    omega = sketch_matrix(d, int(rank))
    for rows in blocks:
        centred = array[rows] - means[checked[rows]]  # (rows, d), float64
        pooled.add(centred)
        present, starts = np.unique(checked[rows], return_index=True)
        diagonals[present] += np.add.reduceat(centred**2, starts, axis=0)
        for c, part in zip(present, np.split(centred, starts[1:]), strict=True):
            if scatters is not None:
                scatters[c] += part.T @ part
            if sketches is not None:
                sketches[c] += part.T @ (part @ omega)
    return ClassStatistics(counts, means, diagonals, pooled.total(), scatters, sketches)


def merge_statistics(parts: Iterable[ClassStatistics]) -> ClassStatistics:
    """Return the statistics of all parts together; the order changes the result by rounding only.

    Raises
    ------
    TaskError
        If there is no part, or the parts differ in classes, features or form.
    """
    return merge_parts(parts, "statistics")


def sketch_matrix(n_features: int, rank: int) -> FloatArray:
    """Return Ω, (n_features, rank), of ±1: the same on every machine and in every version, so that sketches add up."""
    words = np.random.PCG64(0).random_raw(n_features * rank)  # raw words are a promise, distributions are not
    return np.where(words & np.uint64(1), 1.0, -1.0).reshape(n_features, rank)
