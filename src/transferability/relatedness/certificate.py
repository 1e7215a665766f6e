r"""The bound itself: three terms, measured on one reference sample and one target sample.

For any map :math:`f` from target features to reference features, any label coupling :math:`M` with row sums
:math:`P_T`, any feasible transport :math:`\pi_i`, and :math:`h' = B\, h_R \circ f`:

.. math::
    \mathbb{E}_T[\ell(h'(z), y)] \;\le\;
    \underbrace{\sum_j D_j L_j}_{\text{reference loss}}
    + \underbrace{H(B; D)}_{\text{label mismatch}}
    + \underbrace{\sum_i P_T(i) \sum_{u, u'} \pi_i(u, u')\, c\bigl((u, j_u), f(u')\bigr)}_{\text{distribution mismatch}}

Proof. For a target point :math:`u'` of class :math:`i` coupled with a reference point :math:`u` of class :math:`j`,
:math:`-\log (B h_R(f(u')))_i \le -\log B_{ij} - \log h_j(f(u'))` because the sum has that summand, and
:math:`-\log h_j(f(u')) \le -\log h_j(u) + c((u, j), f(u'))` because every ground cost satisfies it. Integrate over
:math:`\pi_i` and :math:`P_T`: the coupling carries mass :math:`M_{ij}` from class :math:`j` to class :math:`i`, so the
three parts become the three terms. Nothing was assumed of :math:`f`, of the dimensions, or of :math:`h_R` beyond
the ground cost: with the loss cost any logits will do, with the Euclidean cost any classifier whose
:math:`-\log h_j` are :math:`\tau`-Lipschitz.

The paper's Theorem 3 is this with :math:`f = A^{-1}` and the Euclidean cost measured in the target's space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from transferability._array import FloatArray, IntArray
from transferability.errors import TaskError
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.transport.coupling import MAX_POINTS, Coupling, couple

__all__ = [
    "AccuracyTerms",
    "Certificate",
    "Coupler",
    "by_transport",
    "certify_sample",
    "losses_of",
    "mixture_losses",
    "transformed_losses",
]


class Certificate(NamedTuple):
    """The terms per target class, weighted by its prior, so that each column sums to the term. All in nats."""

    reference_loss: FloatArray  # (K_T,)
    label_mismatch: FloatArray  # (K_T,)
    distribution_mismatch: FloatArray  # (K_T,)
    priors: FloatArray  # (K_T,)
    exact: bool  # every transport solved to optimality, none in blocks
    per_point: FloatArray | None = None  # (n_T,), each target point's part: their mean is the bound

    @property
    def bound(self) -> float:
        """The sum of the three terms."""
        return sum(self.terms)

    @property
    def terms(self) -> tuple[float, float, float]:
        """Reference loss, label mismatch, distribution mismatch."""
        return (
            float(self.reference_loss.sum()),
            float(self.label_mismatch.sum()),
            float(self.distribution_mismatch.sum()),
        )


class AccuracyTerms(NamedTuple):
    """Where accuracy is lost, per target class and weighted by its prior: all of it sums to ``1 − accuracy`` of ``h'``.

    A part may be negative: something is won there.
    """

    on_reference: FloatArray  # (K_T,), h_R is wrong on the reference classes that the target class is made of
    to_labels: FloatArray  # (K_T,), target classes share a reference class, and only one of them can be told
    on_target: FloatArray  # (K_T,), h' is right on the target less often than on the reference


_ROUNDING = 1e-14
"""By which the bound is rounded up, so that adding in another order never puts it below the loss that it bounds."""

Coupler = Callable[[IntArray, "FloatArray | int", IntArray, FloatArray], Coupling]
"""Couples these reference rows, with these masses or so many uniform ones, with these target rows, all of one class.

The last argument is ``log B`` of that class, (K_R,), −∞ where B is zero.
"""


def by_transport(
    cost: Callable[[IntArray, IntArray], FloatArray],
    *,
    max_points: int = MAX_POINTS,
    rng: np.random.Generator | None = None,
) -> Coupler:
    """Return the coupler that solves a transport problem at a cost given for rows; in blocks past `max_points`."""

    def coupler(rows: IntArray, masses: FloatArray | int, columns: IntArray, log_B: FloatArray) -> Coupling:
        return couple(lambda r, c: cost(rows[r], columns[c]), masses, len(columns), max_points=max_points, rng=rng)

    return coupler


def losses_of(logits: FloatArray, labels: IntArray) -> FloatArray:
    """Return the cross-entropy of each sample, in nats, shape (n,)."""
    margins = logits - logits[np.arange(len(labels)), labels][:, None]
    largest = margins.max(axis=1)
    np.subtract(margins, largest[:, None], out=margins)
    losses: FloatArray = largest + np.log(np.exp(margins, out=margins).sum(axis=1))
    return np.maximum(losses, 0.0)


def mixture_losses(logits: FloatArray, log_B: FloatArray) -> FloatArray:
    """Return ``−log Σ_j B_j softmax_j`` of each sample, in nats, shape (n,), for ``log B`` of one class, (K_R,)."""
    used = log_B > -np.inf
    log_h = logits[:, used] - logsumexp(logits, axis=1, keepdims=True)
    losses: FloatArray = -logsumexp(log_h + log_B[used], axis=1)  # in logs: a tiny probability is not rounded to zero
    return np.maximum(losses, 0.0)


def certify_sample(
    coupler: Coupler,
    reference_losses: FloatArray,
    reference_labels: IntArray,
    target_labels: IntArray,
    transform: LabelTransform,
    B: FloatArray | None = None,
) -> Certificate:
    r"""Measure the three terms on one sample of each task.

    Parameters
    ----------
    coupler : callable
        Couples the points of one target class with those of the reference that it is made of (`by_transport`).
    reference_losses : array of shape (n_R,)
        ``−log h_j(u)`` of each reference point under its own label.
    reference_labels, target_labels : arrays of int
    transform : LabelTransform
    B : array of shape (K_T, K_R), optional
        The label map of the classifier that is bounded, fitted on other samples. The label mismatch is then the
        cross-entropy :math:`-\sum_{ij} M_{ij} \log B_{ij}`. By default the B of this sample's own priors, which makes
        it the entropy, its least value.

    Raises
    ------
    TaskError
        If a reference class that the transformation uses has no sample.
    """
    n_targets, n_references = transform.shares.shape
    priors = np.bincount(target_labels, minlength=n_targets) / len(target_labels)
    counts = np.bincount(reference_labels, minlength=n_references)
    needed = (priors @ transform.shares > 0) & (counts == 0)
    if needed.any():
        message = (
            f"reference class {int(np.argmax(needed))} is part of the transformation but has no sample in this "
            "reference sample. Give the reference test part samples of every class."
        )
        raise TaskError(message)
    reference_term, mismatch = np.zeros(n_targets), np.zeros(n_targets)
    B = transform.B(priors) if B is None else B
    with np.errstate(divide="ignore"):
        log_B = np.log(B)
    entropy, per_point = transform.entropy_per_class(priors, B), np.zeros(len(target_labels))
    exact = True
    for i in np.flatnonzero(priors > 0):
        shares = transform.shares[i]
        rows = np.flatnonzero(shares[reference_labels] > 0)
        columns = np.flatnonzero(target_labels == i)
        masses = shares[reference_labels[rows]] / counts[reference_labels[rows]]
        plain = bool((masses == masses[0]).all())
        coupling = coupler(rows, len(rows) if plain else masses, columns, log_B[i])
        reference_term[i] = priors[i] * float(masses @ reference_losses[rows]) / float(masses.sum())
        mismatch[i] = priors[i] * coupling.value
        mismatch[i] += _ROUNDING * (reference_term[i] + entropy[i] + mismatch[i])
        exact &= coupling.exact
        source = rows[coupling.source]
        carried = coupling.mass * (reference_losses[source] - log_B[i, reference_labels[source]] + coupling.costs)
        per_point[columns] = np.bincount(coupling.target, carried, minlength=len(columns)) * len(columns)
    return Certificate(reference_term, entropy, mismatch, priors, exact, per_point)


def transformed_losses(
    target_logits: FloatArray, target_labels: IntArray | None, transform: LabelTransform, priors: FloatArray
) -> tuple[FloatArray | None, IntArray]:
    """Return the losses of ``h' = B h_R(f(z))`` (None without labels) and its predictions.

    `priors` are those that B is made from: the target's on the samples that h' was fitted to.
    """
    B = transform.B(priors)
    alone = (np.count_nonzero(B, axis=1) == 1) & (B.max(axis=1) == 1)  # h' is one class of h_R there
    own = B.argmax(axis=1)
    if alone.all():
        predictions = target_logits[:, own].argmax(axis=1)
    else:
        used = transform.D(priors) > 0  # the other columns are uniform: they add the same to every class
        log_h = target_logits[:, used] - logsumexp(target_logits, axis=1, keepdims=True)
        log_h -= log_h.max(axis=1, keepdims=True)
        predictions = (np.exp(log_h, out=log_h) @ B[:, used].T).argmax(axis=1)
    if target_labels is None:
        return None, predictions
    losses = np.empty(len(target_logits))
    rows = np.flatnonzero(alone[target_labels])
    losses[rows] = losses_of(target_logits[rows], own[target_labels[rows]])  # by the same operations as the bound
    with np.errstate(divide="ignore"):
        log_B = np.log(B)
    for i in np.unique(target_labels[~alone[target_labels]]):
        rows = np.flatnonzero(target_labels == i)
        losses[rows] = mixture_losses(target_logits[rows], log_B[i])
    return losses, predictions
