r"""A pack as the reference of samples: what its classifier says of held-out rows takes the place of the samples.

The exact and the loss cost look at a reference point :math:`u` through its logits :math:`s(u) = W u + c` alone. A pack
that keeps them for a few rows of each class has therefore a reference sample as good as any: the theorem holds on it,
and the bound on the target's samples is certified. The Euclidean cost is certified too. A point of the reference is
replaced by the shortest :math:`u` with the logits that the pack keeps, which has the same loss, and
:math:`\tau`-Lipschitz is :math:`\tau`-Lipschitz everywhere.

For a part of the classes the classifier is not trained again, as it is where samples are present, but restricted:
softmax over the logits of these classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transferability._array import FloatArray, IntArray
from transferability.errors import TaskError
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.classifier.tau import nearest_tau
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.packs.reference_classifier import ReferenceClassifier
from transferability.relatedness.tasks.problem import Head, Reference, keep_classes
from transferability.relatedness.tasks.sample import HeldOut, Sample
from transferability.task import Task

__all__ = ["PackReference", "PackTask"]


class PackTask(Task):
    """The held-out rows of a pack as a task; its features are points with the logits that the pack keeps."""

    pack: ReferencePack

    def __init__(self, pack: ReferencePack) -> None:
        if not pack.has_rows:
            message = (
                f"a reference pack without rows holds statistics, no samples; got {pack!r} with a solver for samples. "
                "Use solver='statistics', or make the pack with rows."
            )
            raise TaskError(message)
        sample = _points(pack.heads[0])
        super().__init__(sample.features, sample.labels, pack.name, pack.class_names)
        object.__setattr__(self, "pack", pack)


@dataclass(frozen=True, eq=False)
class PackReference(Reference):
    """A reference whose classifiers are those of a pack."""

    heads: dict[float, ReferenceClassifier] = field(default_factory=dict)
    chosen: ReferenceClassifier | None = None

    @classmethod
    def of(cls, task: PackTask, seed: int) -> PackReference:
        """Return the pack's own reference; one half of its rows is fitted on, the bound is measured on the other."""
        heads = {head.tau: head for head in task.pack.heads}
        return cls._with(task, heads, task.pack.heads[0], seed)

    @classmethod
    def _with(
        cls, task: PackTask, heads: dict[float, ReferenceClassifier], head: ReferenceClassifier, seed: int
    ) -> PackReference:
        points = _points(head)
        fit, measured = (points.take(rows) for rows in _halves(points.labels))
        return cls(task, task.pack.scaler, fit, measured, True, seed, heads=heads, chosen=head)

    def taus(self, tau: float | tuple[float, ...] | str) -> float | tuple[float, ...] | str:
        """Return what `tau` means for the classifiers that there are: "auto" chooses among them."""
        if tau == "auto":
            return tuple(self.heads)
        return nearest_tau(tau, list(self.heads), self.task.n_features) if isinstance(tau, str) else tau

    def at(self, tau: float) -> Reference:
        """Return the reference as the classifier for this τ sees it; the nearest one, made flatter or steeper."""
        assert isinstance(self.task, PackTask)
        nearest = min(self.heads.values(), key=lambda head: abs(np.log(head.tau / tau)))
        assert nearest.held_out is not None
        factor = tau / nearest.tau
        head = ReferenceClassifier(
            nearest.classifier.scaled(factor),
            tau,
            nearest.losses,
            HeldOut(factor * nearest.held_out.logits, nearest.held_out.labels),
        )
        return self._with(self.task, self.heads, head, self.seed)

    def head(self, tau: float, kept: IntArray, *, rough: bool = False) -> Head:
        """Return the classifier of all classes, restricted to these."""
        assert self.chosen is not None
        sample = keep_classes(self.fit, kept)
        classifier = self.chosen.classifier
        if len(kept) < classifier.n_classes:
            classifier = _restricted(classifier, kept, sample)
        return Head(classifier, HeldOut(classifier.logits(sample.features), sample.labels))


def _restricted(classifier: SoftmaxClassifier, kept: IntArray, sample: Sample) -> SoftmaxClassifier:
    """Return the classifier of some classes, with its loss and accuracy on rows of them."""
    weights = classifier.weights[kept]
    squares = np.einsum("kd,kd->k", weights, weights)
    distances = np.maximum(squares[:, None] + squares - 2 * weights @ weights.T, 0.0)
    logits = np.asarray(sample.features @ weights.T + classifier.intercept[kept], dtype=np.float64)
    return SoftmaxClassifier(
        weights=weights,
        intercept=classifier.intercept[kept],
        loss=float(losses_of(logits, sample.labels).mean()),
        accuracy=float((logits.argmax(axis=1) == sample.labels).mean()),
        certified_tau=min(float(np.sqrt(distances.max())), classifier.certified_tau),
        gap=classifier.gap,
        converged=classifier.converged,
        iterations=classifier.iterations,
    )


def _points(head: ReferenceClassifier) -> Sample:
    """Return the shortest points of the reference's space with these logits, but for what all logits share."""
    assert head.held_out is not None
    logits, labels = head.held_out
    weights, intercept = head.classifier.weights, head.classifier.intercept
    centred = weights - weights.mean(axis=0)
    wanted = (logits - intercept) - (logits - intercept).mean(axis=1, keepdims=True)
    features: FloatArray = wanted @ np.linalg.pinv(centred).T
    return Sample(features, labels)


def _halves(labels: IntArray) -> tuple[IntArray, IntArray]:
    """Return every other row of each class, and the rest; the single row of a class is in both."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    alone = np.repeat(counts == 1, counts)
    return np.sort(order[rank % 2 == 0]), np.sort(order[(rank % 2 == 1) | alone])
