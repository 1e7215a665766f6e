r"""The bound for a classifier and a map of one's own, linear or not (App. A.5 of the paper).

The proof in `certificate` asks nothing of the feature map, and of the classifier only that the ground cost bounds the
change of its loss. The loss cost does so for the logits of *any* classifier. The Euclidean cost does so where every
:math:`-\log h_j` is :math:`\tau`-Lipschitz in the features that the classifier takes: for logits
:math:`s = W \phi(z)` with an :math:`L`-Lipschitz :math:`\phi`, :math:`\tau = L \max_{j,k} \lVert w_j - w_k \rVert`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray, as_numpy
from transferability._validate import check_features, check_positive
from transferability.errors import FeatureError, OptionError, TaskError
from transferability.relatedness.certificate import certify_sample, losses_of, transformed_losses
from transferability.relatedness.label_transform import LabelTransform
from transferability.task import Task
from transferability.transport.cost import euclidean_cost, loss_cost

__all__ = ["CertifiedBound", "certify"]


class CertifiedBound(NamedTuple):
    """A bound on the loss of the transferred classifier, in nats."""

    bound: float
    reference_loss: float
    label_mismatch: float
    distribution_mismatch: float
    transferred_loss: float
    transferred_accuracy: float
    exact: bool  # every transport solved to optimality, none in blocks


def certify(
    reference: Task,
    target: Task,
    classifier: Callable[[FloatArray], FloatArray],
    feature_map: Callable[[FloatArray], FloatArray] | None = None,
    *,
    class_map: Sequence[int] | IntArray,
    lipschitz: float | None = None,
) -> CertifiedBound:
    r"""Bound the target loss of ``h' = B h(f(z))`` for any classifier ``h`` and any map ``f``.

    .. math::
        \mathbb{E}_T[\ell(h'(z), y)] \le \sum_j D_j L_j + H(B; D) + \sum_i P_T(i)\, \mathrm{OT}_c(R''_i, f_\# T_i)

    Parameters
    ----------
    reference, target : Task
        With labels; features as `classifier` and `feature_map` take them (nothing is standardised here).
    classifier : callable (n, d) -> (n, K_R)
        Logits (or log-probabilities) of the reference classes.
    feature_map : callable (n, d_T) -> (n, d), optional
        From target features to what the classifier takes; by default none.
    class_map : sequence of int of shape (K_T,)
        The reference class that stands for each target class.
    lipschitz : float, optional
        Lipschitz constant, known to the caller, of every ``−log h_j``. Given, the Euclidean cost with this constant
        prices the transport; left out, the loss cost, which needs no constant.

    Returns
    -------
    CertifiedBound
        Certified if `lipschitz` is what it is said to be.

    Raises
    ------
    FeatureError
        If the classifier or the map returns something else than one finite row per sample.
    TaskError, LabelError, OptionError
        If labels are missing, or `class_map` does not fit.

    Notes
    -----
    Cost: two passes of the classifier, and one exact transport per target class (blocks past 1,000 points on a side).

    Examples
    --------
    >>> import numpy as np
    >>> from transferability import Task, certify
    >>> z = np.random.default_rng(0).normal(size=(200, 2))
    >>> ring = (np.hypot(*z.T) > 1).astype(int)
    >>> def classifier(z):  # not linear: a circle
    ...     radius = np.hypot(*z.T)
    ...     return np.column_stack([np.zeros(len(z)), 4 * (radius - 1)])
    >>> target = Task(3 * z, 1 - ring)
    >>> found = certify(Task(z, ring), target, classifier, lambda z: z / 3, class_map=[1, 0])
    >>> bool(found.bound >= found.transferred_loss), round(found.distribution_mismatch, 6)
    (True, 0.0)
    """
    reference_labels, target_labels = reference.require_labels(), target.require_labels()
    mapped = target.features
    if feature_map is not None:
        mapped = check_features(feature_map(target.features), "what `feature_map` returns")
        _same_rows(mapped, target, "feature_map")
    left, right = (
        check_features(as_numpy(classifier(each)), "what `classifier` returns").astype(np.float64)
        for each in (reference.features, mapped)
    )
    _same_rows(left, reference, "classifier")
    n_references = left.shape[1]
    if n_references < reference.n_classes:
        message = (
            f"`classifier` must return a column per reference class; got {n_references} for {reference.n_classes}."
        )
        raise TaskError(message)
    classes = np.asarray(class_map)
    if classes.shape != (target.n_classes,) or classes.dtype.kind not in "iu" or not _within(classes, n_references):
        message = (
            f"`class_map` must give a reference class from 0 to {n_references - 1} for each of the {target.n_classes} "
            f"target classes; got {class_map!r}."
        )
        raise OptionError(message)
    transform = LabelTransform.from_class_map(classes, n_references)
    if lipschitz is None:

        def cost(r: IntArray, c: IntArray) -> FloatArray:
            return loss_cost(left[r], reference_labels[r], right[c])
    else:
        tau = check_positive(lipschitz, "lipschitz")

        def cost(r: IntArray, c: IntArray) -> FloatArray:
            return euclidean_cost(reference.features[r], mapped[c], tau)

    terms = certify_sample(cost, losses_of(left, reference_labels), reference_labels, target_labels, transform)
    losses, predictions = transformed_losses(right, target_labels, transform, terms.priors)
    assert losses is not None  # there are labels
    return CertifiedBound(
        terms.bound,
        *terms.terms,
        transferred_loss=float(losses.mean()),
        transferred_accuracy=float((predictions == target_labels).mean()),
        exact=terms.exact,
    )


def _same_rows(rows: FloatArray, task: Task, argument: str) -> None:
    if len(rows) != len(task):
        message = f"`{argument}` must return one row per sample of {task.name!r}; got {len(rows)} for {len(task)}."
        raise FeatureError(message)


def _within(classes: IntArray, n_references: int) -> bool:
    return bool(classes.min() >= 0 and classes.max() < n_references)
