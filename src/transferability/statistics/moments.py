r"""Per-class moments of features: one pass, mergeable, enough for every score that needs no single sample.

.. math:: n_c,\quad m_c = \frac1{n_c}\sum_{y_i = c} x_i,\quad S = \sum_i (x_i - m)(x_i - m)^\top

and, for Ledoit–Wolf shrinkage, :math:`\sum_i \|x_i - m\|^2 (x_i - m)` and :math:`\sum_i \|x_i - m\|^4`. Parts are
merged by the pairwise update of Chan, Golub and LeVeque [1]_, extended to the last two: only positive terms are added
to :math:`S`, so features far from the origin and streams sorted by class lose no digits.

References
----------
.. [1] Chan, Golub, LeVeque. Algorithms for computing the sample variance. The American Statistician, 1983.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import array_api_compat
import numpy as np

from transferability._array import Array, IntArray, Namespace
from transferability.errors import LabelError, TaskError
from transferability.statistics._counts import ClassCounts, merge_parts, stream_labels
from transferability.statistics._inputs import SumOfSquares, as_features, class_sums, row_blocks

__all__ = ["ClassMoments", "class_moments", "merge_moments", "moments_of_blocks", "within_scatter"]

_DIGITS_TO_SPARE = 1e-6
"""Share of the scatter within classes above which its difference from that between them is right to ten digits."""


@dataclass(frozen=True, eq=False)
class ClassMoments(ClassCounts):
    """Moments of labelled features, up to second order per class and in part to fourth order over all.

    Arrays other than `counts` live in the library and on the device of the features, in float64.

    Attributes
    ----------
    counts : int array of shape (n_classes,)
        Samples per class.
    class_means : array of shape (n_classes, n_features)
        Zero for a class that has no sample yet.
    mean : array of shape (n_features,)
    scatter : array of shape (n_features, n_features)
        Sum of outer products of the centred samples.
    third : array of shape (n_features,)
        Sum of squared norm times centred sample.
    fourth : float
        Sum of the fourth powers of the norms of the centred samples.
    """

    class_means: Array
    mean: Array
    scatter: Array
    third: Array
    fourth: float

    @property
    def xp(self) -> Namespace:
        """Array namespace of the moments."""
        return array_api_compat.array_namespace(self.scatter)

    @property
    def n_features(self) -> int:
        """Dimension of the features."""
        return int(self.mean.shape[0])

    def class_roots(self) -> Array:
        """Return √n_c as (n_classes, 1) on the device of the moments."""
        root = np.sqrt(self.counts.astype(np.float64))[:, None]
        return self.xp.asarray(root, device=array_api_compat.device(self.mean))

    def between(self) -> Array:
        """Return √n_c (m_c − m) as columns, (n_features, n_classes): its square is the between-class scatter."""
        return (self.class_roots() * (self.class_means - self.mean)).T

    def within_scatter(self) -> Array:
        """Return Σ_i (x_i − m_{y_i})(x_i − m_{y_i})ᵀ, (n_features, n_features)."""
        between = self.between()
        return self.scatter - between @ between.T

    def gram(self) -> Array:
        """Return Σ_i x_i x_iᵀ about the origin, (n_features, n_features)."""
        gram = (self.n_samples * self.mean)[:, None] * self.mean[None, :]
        gram += self.scatter
        return gram

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Return the moments of both parts together."""
        return _combine(self, other)

    def require_every_class(self) -> None:
        """Raise `LabelError` unless there are two classes or more and each has a sample."""
        if self.n_classes < 2:
            message = f"`labels` must hold at least two classes; the moments have {self.n_classes}."
            raise LabelError(message)
        if (self.counts == 0).any():
            empty = int(np.argmax(self.counts == 0))
            message = f"`labels` must use every class from 0 to {self.n_classes - 1}; class {empty} has no sample."
            raise LabelError(message)


def class_moments(features: Any, labels: Any, n_classes: int | None = None) -> ClassMoments:
    """Return the moments of labelled features, in blocks: no copy of all features is made.

    Parameters
    ----------
    features : array of shape (n_samples, n_features)
        Real, finite. float32 is summed in float64.
    labels : array of int of shape (n_samples,)
        Classes 0..K−1.
    n_classes : int, optional
        K, needed where the samples are a part of a stream in which a class may be missing. Left out, every class must
        have a sample.

    Raises
    ------
    FeatureError, LabelError
        If the features or labels are not as said above.

    Notes
    -----
    Cost O(n d²), memory O(d² + K d) beside the features.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.arange(12.0).reshape(6, 2), np.array([0, 0, 1, 1, 0, 1])
    >>> parts = [class_moments(x[i : i + 2], y[i : i + 2], n_classes=2) for i in (0, 2, 4)]
    >>> bool(np.allclose(merge_moments(parts).scatter, class_moments(x, y).scatter))
    True
    """
    array, xp = as_features(features)
    checked, k = stream_labels(labels, array.shape[0], n_classes)

    def blocks() -> Iterator[tuple[Array, IntArray]]:
        for start, block in row_blocks(xp, array):
            yield block, checked[start : start + block.shape[0]]

    return moments_of_blocks(xp, blocks, k, array)


def moments_of_blocks(
    xp: Namespace, blocks: Callable[[], Iterator[tuple[Array, IntArray]]], n_classes: int, like: Array
) -> ClassMoments:
    """Return the moments of checked float64 blocks that can be gone through twice.

    Means first, then everything about the mean: nothing cancels, and the first pass costs little. `like` has the
    width and the device of the blocks.
    """
    d, device = like.shape[1], array_api_compat.device(like)
    sums = xp.zeros((n_classes, d), dtype=xp.float64, device=device)
    counts = np.zeros(n_classes, dtype=np.int64)
    for block, labels in blocks():
        sums += class_sums(xp, block, labels, n_classes)
        counts += np.bincount(labels, minlength=n_classes)
    mean = xp.sum(sums, axis=0) / int(counts.sum())
    scatter = SumOfSquares(xp, mean)
    third = xp.zeros(d, dtype=xp.float64, device=device)
    fourth = 0.0
    for block, _ in blocks():
        centred = block - mean
        scatter.add(centred)
        square_norms = xp.linalg.vecdot(centred, centred)  # (rows,)
        third += square_norms @ centred
        fourth += float(square_norms @ square_norms)
    divisor = xp.asarray(np.maximum(counts, 1).astype(np.float64)[:, None], device=device)
    return _without_rounding(ClassMoments(counts, sums / divisor, mean, scatter.total(), third, fourth))


def within_scatter(moments: ClassMoments, blocks: Callable[[], Iterator[tuple[Array, IntArray]]]) -> Array:
    """Return the within-class scatter of the blocks, whose moments are given: from these where no digits are lost."""
    xp, within = moments.xp, moments.within_scatter()
    if float(xp.linalg.trace(within)) > _DIGITS_TO_SPARE * float(xp.linalg.trace(moments.scatter)):
        return within
    exact, device = SumOfSquares(xp, moments.mean), array_api_compat.device(moments.mean)
    for block, labels in blocks():
        exact.add(block - xp.take(moments.class_means, xp.asarray(labels, device=device), axis=0))
    return exact.total()


def _without_rounding(moments: ClassMoments) -> ClassMoments:
    """Set to zero what the rounding of its mean leaves of the scatter of a feature that is constant."""
    xp, n = moments.xp, moments.n_samples
    rounding = 4 * float(np.finfo(np.float64).eps) * math.sqrt(n) * xp.abs(moments.mean)
    constant = xp.linalg.diagonal(moments.scatter) <= n * rounding**2
    if not bool(xp.any(constant)):
        return moments
    varies = xp.astype(xp.logical_not(constant), xp.float64)
    return replace(
        moments,
        class_means=xp.where(constant[None, :], moments.mean[None, :], moments.class_means),
        scatter=moments.scatter * varies[:, None] * varies[None, :],
        third=moments.third * varies,
    )


def merge_moments(parts: Iterable[ClassMoments]) -> ClassMoments:
    """Return the moments of all parts together; the order changes the result by rounding only."""
    return merge_parts(parts, "moments")


def _combine(a: ClassMoments, b: ClassMoments) -> ClassMoments:
    if a.n_classes != b.n_classes or a.n_features != b.n_features:
        message = (
            "moments to merge must be of the same numbers of classes and features; got "
            f"{a.n_classes} and {b.n_classes} classes, {a.n_features} and {b.n_features} features."
        )
        raise TaskError(message)
    xp = a.xp
    device = array_api_compat.device(a.mean)
    share = b.n_samples / (a.n_samples + b.n_samples)
    mean = a.mean + share * (b.mean - a.mean)
    counts = a.counts + b.counts
    shares = xp.asarray((b.counts / np.maximum(counts, 1))[:, None], device=device)
    third_a, fourth_a = _about(xp, a, mean)
    third_b, fourth_b = _about(xp, b, mean)

    step = b.mean - a.mean
    scatter = (share * a.n_samples * step)[:, None] * step[None, :]
    scatter += a.scatter
    scatter += b.scatter
    return ClassMoments(
        counts=counts,
        class_means=a.class_means + shares * (b.class_means - a.class_means),
        mean=mean,
        scatter=scatter,
        third=third_a + third_b,
        fourth=fourth_a + fourth_b,
    )


def _about(xp: Namespace, moments: ClassMoments, centre: Array) -> tuple[Array, float]:
    """Return Σ‖v‖²v and Σ‖v‖⁴ for v = x − centre, expanded about the own mean, where Σ(x − m) = 0."""
    shift = moments.mean - centre
    square = float(shift @ shift)
    trace = float(xp.linalg.trace(moments.scatter))
    turned = moments.scatter @ shift
    third = moments.third + 2 * turned + (trace + moments.n_samples * square) * shift
    fourth = moments.fourth + 4 * float(turned @ shift) + 4 * float(moments.third @ shift)
    return third, fourth + 2 * trace * square + moments.n_samples * square * square
