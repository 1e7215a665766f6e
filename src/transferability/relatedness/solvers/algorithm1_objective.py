"""The objective of the paper's Algorithm 1 on a mini-batch, its gradients, and the coupling of the batch.

The equation is in `algorithm1`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlogy

from transferability._array import FloatArray, IntArray
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.tasks.sample import Sample
from transferability.transport.coupling import Coupling, optimal_coupling

__all__ = ["Algorithm1Terms", "Batch", "Problem", "Transforms", "couple_batch"]

_TRANSPORT_WEIGHT = 2.0  # λ
_LABEL_WEIGHT = 1e8  # ν


class Algorithm1Terms(NamedTuple):
    """The parts of the objective on one batch, unweighted."""

    epoch: int
    features: float  # Σ π ‖A z + b − z'‖²
    labels: float  # Σ π ‖B e(y) − e(y')‖²
    label_mismatch: float  # H(B; D), nats
    reference_loss: float  # Σ D_j L_j, nats
    prior_mismatch: float  # ‖P_T − B D‖²
    invertibility: float  # ‖A Ā − I‖² + ‖Ā A − I‖²


class Transforms(NamedTuple):
    """The transformations at one moment, as in `Algorithm1Result`."""

    A: FloatArray
    A_bar: FloatArray
    b: FloatArray
    B: FloatArray
    D: FloatArray


class Batch(NamedTuple):
    """Points drawn of both tasks, and their optimal coupling."""

    reference: Sample
    target: Sample
    mapped: FloatArray  # (m, d_T), A z + b
    coupling: Coupling


@dataclass(frozen=True, eq=False)
class Problem:
    """The objective, and its gradients, for given samples."""

    reference: Sample
    target: Sample
    reference_losses: FloatArray  # (K_R,), L_j; 0 for a class without samples
    start_prior: FloatArray  # (K_R,), uniform over the classes with samples
    target_priors: FloatArray  # (K_T,)
    label_weight: float = _LABEL_WEIGHT

    @classmethod
    def measure(cls, classifier: SoftmaxClassifier, reference: Sample, target: Sample, n_targets: int) -> Problem:
        """Count the classes and measure the loss of each; of `n_targets` target classes some may have no samples."""
        counts = np.bincount(reference.labels, minlength=classifier.n_classes)
        losses = losses_of(classifier.logits(reference.features), reference.labels)
        return cls(
            _by_class(reference),
            _by_class(target),
            np.bincount(reference.labels, weights=losses, minlength=len(counts)) / np.maximum(counts, 1),
            (counts > 0) / np.count_nonzero(counts),
            np.bincount(target.labels, minlength=n_targets) / len(target.labels),
        )

    def relabelled(self, target: Sample) -> Problem:
        """Return the problem for the same target with other labels."""
        counts = np.bincount(target.labels, minlength=len(self.target_priors))
        return dataclasses.replace(self, target=_by_class(target), target_priors=counts / len(target.labels))

    def draw(self, now: Transforms, batch_size: int, rng: np.random.Generator) -> Batch:
        """Draw points of each class as `D` and the target's prior say, and couple them."""
        reference = _draw(self.reference, now.D, batch_size, rng)
        target = _draw(self.target, self.target_priors, batch_size, rng)
        mapped = reference.features @ now.A.T + now.b
        coupling = couple_batch(mapped, reference.labels, target, now.B, self.label_weight)
        return Batch(reference, target, mapped, coupling)

    def terms(self, now: Transforms, batch: Batch, epoch: int) -> Algorithm1Terms:
        """Return the parts of the objective."""
        source, goal, mass = batch.coupling[:3]
        gaps = batch.mapped[source] - batch.target.features[goal]
        return Algorithm1Terms(
            epoch,
            float(mass @ np.square(gaps).sum(axis=1)),
            float((self._label_flow(now, batch) * _label_distances(now.B) ** 2).sum()),
            float(-xlogy(now.B, now.B).sum(axis=0) @ now.D),
            float(now.D @ self.reference_losses),
            float(np.square(self.target_priors - now.B @ now.D).sum()),
            float(sum(np.square(product).sum() for product in _deviations(now))),
        )

    def total(self, terms: Algorithm1Terms) -> float:
        """Return the objective."""
        transport = terms.features + self.label_weight * terms.labels
        return _TRANSPORT_WEIGHT * transport + sum(terms[3:])

    def map_slopes(self, now: Transforms, batch: Batch) -> dict[str, FloatArray]:
        """Return the gradients with respect to `A`, `A_bar` and `b`."""
        source, goal, mass = batch.coupling[:3]
        shape = (len(batch.mapped), len(batch.target.features))
        plan = csr_array((mass.astype(now.A.dtype), (source, goal)), shape=shape)
        pull = 2 * _TRANSPORT_WEIGHT * (plan.sum(axis=1)[:, None] * batch.mapped - plan @ batch.target.features)
        right, left = _deviations(now)  # A Ā − I and Ā A − I
        return {
            "A": pull.T @ batch.reference.features + 2 * (right @ now.A_bar.T + now.A_bar.T @ left),
            "A_bar": 2 * (now.A.T @ right + left @ now.A.T),
            "b": pull.sum(axis=0),
        }

    def label_slopes(self, now: Transforms, batch: Batch) -> dict[str, FloatArray]:
        """Return the gradients with respect to `B` and `D` before their softmax."""
        B, D = now.B, now.D
        flow = self._label_flow(now, batch)
        log_B = np.log(np.maximum(B, np.finfo(np.float64).tiny))
        excess = B @ D - self.target_priors
        weight = 2 * _TRANSPORT_WEIGHT * self.label_weight
        slope_B = weight * (flow.sum(axis=0) * B - flow) - D * (log_B + 1) + 2 * np.outer(excess, D)
        slope_D = self.reference_losses - (B * log_B).sum(axis=0) + 2 * B.T @ excess
        return {"B": B * (slope_B - (B * slope_B).sum(axis=0)), "D": D * (slope_D - D @ slope_D)}

    def _label_flow(self, now: Transforms, batch: Batch) -> FloatArray:
        """Return the coupled mass between each target and each reference class, shape (K_T, K_R)."""
        source, goal, mass = batch.coupling[:3]
        flow = np.zeros(now.B.shape)
        np.add.at(flow, (batch.target.labels[goal], batch.reference.labels[source]), mass)
        return flow


def _deviations(now: Transforms) -> tuple[FloatArray, FloatArray]:
    """Return ``A Ā − I`` and ``Ā A − I``."""
    right, left = now.A @ now.A_bar, now.A_bar @ now.A
    return right - np.eye(len(right), dtype=right.dtype), left - np.eye(len(left), dtype=left.dtype)


def _label_distances(B: FloatArray) -> FloatArray:
    """Return ``‖B e_j − e_i‖`` for every target class i and reference class j, shape (K_T, K_R)."""
    distances: FloatArray = np.sqrt(np.maximum(np.square(B).sum(axis=0) - 2 * B + 1, 0.0))
    return distances


def _by_class(sample: Sample) -> Sample:
    """Return the sample in float32 with its classes one after the other, as `_draw` wants it."""
    rows = np.argsort(sample.labels, kind="stable")
    return Sample(sample.features[rows].astype(np.float32), sample.labels[rows])


def _draw(sample: Sample, priors: FloatArray, batch_size: int, rng: np.random.Generator) -> Sample:
    """Draw ``batch_size × prior`` points of each class without replacement, or all there are."""
    starts = np.searchsorted(sample.labels, np.arange(len(priors) + 1))
    rows = []
    for k in np.flatnonzero(priors > 0):
        count = int(starts[k + 1] - starts[k])
        wanted = max(1, int(batch_size * priors[k]))
        rows.append(starts[k] + rng.choice(count, min(count, wanted), replace=False, shuffle=False))
    return sample.take(np.concatenate(rows))


def couple_batch(mapped: FloatArray, labels: IntArray, target: Sample, B: FloatArray, label_weight: float) -> Coupling:
    """Couple mapped reference points with target points under distance plus weighted label distance.

    Where every column of `B` is one-hot and both batches hold the same share of each class, no mass has to change class
    and at this weight none does: each class is then a problem of its own, and K small ones are solved instead.
    """
    distances = np.sqrt(np.maximum(_squared_distances(mapped, target.features), 0.0))
    classes = B.argmax(axis=0)[labels]
    counts, target_counts = (np.bincount(y, minlength=len(B)) for y in (classes, target.labels))
    same_shares = bool((counts * len(target.labels) == target_counts * len(classes)).all())
    if same_shares and (B.max(axis=0) == 1.0).all() and distances.max() < label_weight:
        parts = []
        for i in np.unique(classes):
            rows, columns = np.flatnonzero(classes == i), np.flatnonzero(target.labels == i)
            part = optimal_coupling(distances[np.ix_(rows, columns)])
            parts.append((rows[part.source], columns[part.target], part.mass * (len(rows) / len(classes))))
        source, goal, mass = (np.concatenate(each) for each in zip(*parts, strict=True))
        return Coupling(source, goal, mass, distances[source, goal], exact=True)
    # Masses are given so that equal sizes, too, go to the network simplex: on a cost made of blocks it is faster here.
    masses = (np.full(size, 1.0 / size) for size in distances.shape)
    return optimal_coupling(distances + label_weight * _label_distances(B)[target.labels][:, labels].T, *masses)


def _squared_distances(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return squared distances by one matrix product, in float64: the difference of large squares must not cancel."""
    left, right = left.astype(np.float64), right.astype(np.float64)
    products: FloatArray = left @ right.T
    products *= -2.0
    products += np.square(left).sum(axis=1)[:, None]
    products += np.square(right).sum(axis=1)
    return products
