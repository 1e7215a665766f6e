r"""The bound for a classifier and a map of one's own, linear or not (App. A.5 of the paper).

The proof in `certificate` asks nothing of the feature map, and of the classifier only that the ground cost covers the
change of its loss. The exact and the loss cost do so for the logits of *any* classifier, the Euclidean cost where every
:math:`-\log h_j` is :math:`\tau`-Lipschitz in the features that the classifier takes: for logits
:math:`s = W \phi(z)` with an :math:`L`-Lipschitz :math:`\phi`, :math:`\tau = L \max_{j,k} \lVert w_j - w_k \rVert`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from transferability._array import FloatArray, IntArray, as_numpy
from transferability._validate import check_choice, check_features, check_positive
from transferability.errors import FeatureError, OptionError, TaskError
from transferability.relatedness.certificate import (
    Certificate,
    Coupler,
    by_transport,
    certify_sample,
    losses_of,
    transformed_losses,
)
from transferability.relatedness.classifier.scale import doubt, minimize_over_scales
from transferability.relatedness.costs.exact import sorted_coupler
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.tasks.test_parts import numbered_as
from transferability.task import Task
from transferability.transport.cost import euclidean_cost, loss_cost

__all__ = ["CertifiedBound", "certify"]

Logits = Callable[[FloatArray], FloatArray]
FeatureMap = Callable[[FloatArray], FloatArray]


class CertifiedBound(NamedTuple):
    """A bound on the loss of the transferred classifier, in nats."""

    bound: float
    reference_loss: float
    label_mismatch: float
    distribution_mismatch: float
    transferred_loss: float
    transferred_accuracy: float
    exact: bool  # every transport solved to optimality, none in blocks
    scale: float  # of the logits


def certify(
    reference: Task,
    target: Task,
    classifier: Logits,
    feature_map: FeatureMap | None = None,
    *,
    class_map: Sequence[int] | IntArray,
    lipschitz: float | None = None,
    ground_cost: Literal["exact", "loss", "euclidean"] | None = None,
    scale: float | tuple[Task, Task] = 1.0,
) -> CertifiedBound:
    r"""Bound the target loss of ``h' = B h(f(z))`` for any classifier ``h`` and any map ``f``.

    .. math::
        \mathbb{E}_T[\ell(h'(z), y)] \le \sum_j D_j L_j + H(B; D) + \sum_i P_T(i)\, \mathrm{OT}_c(R''_i, f_\# T_i)

    Parameters
    ----------
    reference, target : Task
        With labels; features as `classifier` and `feature_map` take them (nothing is standardised here).
    classifier : callable (n, d) -> (n, K_R)
        Logits (or log-probabilities) of the reference classes, by number. A reference in which some have no sample must
        have whole numbers as labels, or none could tell which columns its classes are.
    feature_map : callable (n, d_T) -> (n, d), optional
        From target features to what the classifier takes; by default none.
    class_map : sequence of int of shape (K_T,)
        The reference class of each target class; also of those without a sample, where labels are whole numbers.
    lipschitz : float, optional
        Lipschitz constant, known to the caller, of every ``−log h_j``; needed for the Euclidean cost.
    ground_cost : {"exact", "loss", "euclidean"}, optional
        What prices the transport. By default "euclidean" where `lipschitz` is given, else "loss". "exact" gives the
        smallest bound.
    scale : float or (reference, target), default=1.0
        Factor of the logits, > 0. The bound holds for every one. A pair of further samples of the two tasks: the factor
        with the smallest bound there, a little less where the classifier is right on all of them (`relatedness.scale`);
        their classes are those of the same name.

    Returns
    -------
    CertifiedBound
        Certified if `lipschitz` is what it is said to be.

    Raises
    ------
    FeatureError
        If the classifier or the map returns something else than one finite row per sample.
    TaskError, LabelError, OptionError
        If labels are missing, `class_map` does not fit, or the bound is below the loss: `lipschitz` is then too small.
        (Where it is not, `lipschitz` can be too small all the same.)

    Notes
    -----
    Cost: two passes of the classifier, and one exact transport per target class (blocks past 1,000 points on a side);
    with the exact cost a sort.

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
    ground_cost = ground_cost or ("loss" if lipschitz is None else "euclidean")
    check_choice(ground_cost, ("exact", "loss", "euclidean"), "ground_cost")
    if (ground_cost == "euclidean") != (lipschitz is not None):
        message = (
            f"`lipschitz` must be given for ground_cost='euclidean', and for no other; got {lipschitz!r} with "
            f"{ground_cost!r}."
        )
        raise OptionError(message)
    tau = None if lipschitz is None else check_positive(lipschitz, "lipschitz")
    seen = _Seen.of(reference, target, classifier, feature_map)
    classes = _checked_classes(class_map, seen.left.shape[1], target)
    if isinstance(scale, tuple):
        further = _further_samples(scale, reference, target)
        factor = _fitted_scale(_Seen.of(*further, classifier, feature_map), classes, ground_cost, tau)
    else:
        factor = check_positive(scale, "scale")
    largest = max(float(np.abs(logits).max(initial=0.0)) for logits in (seen.left, seen.right))
    if not np.isfinite(4 * factor * largest):  # differences of logits, and of these
        message = f"`scale` must leave logits finite; got {factor:g} for logits of up to {largest:g}."
        raise OptionError(message)
    terms, transform = _certified(seen, classes, ground_cost, tau, factor)
    losses, predictions = transformed_losses(factor * seen.right, seen.target_labels, transform, terms.priors)
    assert losses is not None  # there are labels
    if tau is not None:
        _refuse_what_contradicts(tau, terms.bound, float(losses.mean()))
    return CertifiedBound(
        terms.bound,
        *terms.terms,
        transferred_loss=float(losses.mean()),
        transferred_accuracy=float((predictions == seen.target_labels).mean()),
        exact=terms.exact,
        scale=factor,
    )


class _Seen(NamedTuple):
    """Samples of both tasks as the classifier sees them."""

    left: FloatArray  # (n_R, K_R), logits of the reference
    right: FloatArray  # (n_T, K_R), logits of the mapped target
    reference_labels: IntArray
    target_labels: IntArray
    reference_features: FloatArray
    mapped: FloatArray

    @classmethod
    def of(cls, reference: Task, target: Task, classifier: Logits, feature_map: FeatureMap | None) -> _Seen:
        target_labels = target.require_labels()
        reference.require_labels()
        mapped = target.features
        if feature_map is not None:
            mapped = check_features(feature_map(target.features), "what `feature_map` returns")
            _same_rows(mapped, target, "feature_map")
        left, right = (
            check_features(as_numpy(classifier(each)), "what `classifier` returns").astype(np.float64)
            for each in (reference.features, mapped)
        )
        _same_rows(left, reference, "classifier")
        columns = _columns_of(reference, left.shape[1])
        return cls(left, right, columns[reference.require_labels()], target_labels, reference.features, mapped)


def _columns_of(reference: Task, n_columns: int) -> IntArray:
    """Return the classifier's column of each class of a reference, in which some may have no sample."""
    if reference.n_classes > n_columns:
        message = f"`classifier` must return a column per reference class; got {n_columns} for {reference.n_classes}."
        raise TaskError(message)
    if reference.n_classes == n_columns or reference.class_names is None:
        return np.arange(reference.n_classes)
    columns = _whole_numbers(reference.class_names, n_columns)
    if columns is None:
        message = (
            f"`reference` has {reference.n_classes} classes and `classifier` returns {n_columns} columns: it is not "
            "known which columns the classes are. Give their numbers as labels, or samples of every class."
        )
        raise TaskError(message)
    return columns


def _whole_numbers(names: Sequence[str], n: int) -> IntArray | None:
    """Return names that are whole numbers below n; None if any is none."""
    if not all(name.isdecimal() and int(name) < n for name in names):
        return None
    return np.array([int(name) for name in names], dtype=np.int64)


def _further_samples(scale: tuple[Task, Task], reference: Task, target: Task) -> tuple[Task, Task]:
    """Return the tasks that the scale is chosen on, with the class numbers of those that it is for."""
    if len(scale) != 2 or not all(isinstance(part, Task) for part in scale):
        message = f"`scale` must be a number, or two tasks (reference, target) to choose it on; got {scale!r}."
        raise OptionError(message)
    for whole, part in zip((reference, target), scale, strict=True):
        for of, own, theirs in (
            ("features", part.n_features, whole.n_features),
            ("classes", max(part.n_classes, whole.n_classes), whole.n_classes),
        ):
            if own != theirs:
                message = f"`scale` must be of samples of the same two tasks; {part.name!r} has {own} {of}, and "
                message += f"{whole.name!r} {theirs}."
                raise TaskError(message)
    one, other = (numbered_as(whole, part) or part for whole, part in zip((reference, target), scale, strict=True))
    return one, other


def _fitted_scale(seen: _Seen, classes: IntArray, ground_cost: str, tau: float | None) -> float:
    """Return the scale of the smallest bound on other samples, searched in the unit of the classifier's own logits."""
    spread = float(np.std(seen.left - seen.left.mean(axis=1, keepdims=True)))
    unit = 1 / spread if spread > 0 and np.isfinite(1 / spread) else 1.0
    slope = doubt(unit * seen.left, seen.reference_labels)
    return unit * minimize_over_scales(
        lambda scale: _certified(seen, classes, ground_cost, tau, unit * scale)[0].bound + scale * slope
    )


def _certified(
    seen: _Seen, classes: IntArray, ground_cost: str, tau: float | None, scale: float
) -> tuple[Certificate, LabelTransform]:
    left, right, labels = scale * seen.left, scale * seen.right, seen.reference_labels
    transform = LabelTransform.from_class_map(classes, left.shape[1])
    coupler: Coupler
    if ground_cost == "exact":
        coupler = sorted_coupler(left, labels, right)
    elif ground_cost == "loss":
        coupler = by_transport(lambda r, c: loss_cost(left[r], labels[r], right[c]))
    else:
        assert tau is not None
        coupler = by_transport(lambda r, c: euclidean_cost(seen.reference_features[r], seen.mapped[c], scale * tau))
    return certify_sample(coupler, losses_of(left, labels), labels, seen.target_labels, transform), transform


def _refuse_what_contradicts(tau: float, bound: float, loss: float) -> None:
    if bound < loss - 1e-9 * (1 + loss):
        message = (
            f"`lipschitz` must be a Lipschitz constant of every −log h_j; got {tau:g}, which is too small: the bound "
            f"would be {bound:.3g} nats, below the transferred loss of {loss:.3g}. Give a larger one, or "
            "ground_cost='exact', which needs none."
        )
        raise OptionError(message)


def _same_rows(rows: FloatArray, task: Task, argument: str) -> None:
    if len(rows) != len(task):
        message = f"`{argument}` must return one row per sample of {task.name!r}; got {len(rows)} for {len(task)}."
        raise FeatureError(message)


def _checked_classes(class_map: Sequence[int] | IntArray, n_references: int, target: Task) -> IntArray:
    classes, n_targets = np.asarray(class_map), target.n_classes
    if classes.ndim == 1 and len(classes) > n_targets and target.class_names is not None:
        places = _whole_numbers(target.class_names, len(classes))
        classes = classes if places is None else classes[places]
    fits = classes.shape == (n_targets,) and classes.dtype.kind in "iu"
    if not fits or classes.min() < 0 or classes.max() >= n_references:
        message = (
            f"`class_map` must give a reference class from 0 to {n_references - 1} for each of the {n_targets} "
            f"target classes; got {class_map!r}."
        )
        raise OptionError(message)
    return classes
