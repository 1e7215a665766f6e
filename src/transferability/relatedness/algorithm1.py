r"""The paper's own solver (Algorithm 1): mini-batches, an exact coupling of each, one step of Adam.

It is the baseline for every faster solver here, so it follows the authors' public code where code and paper differ.
The reference is pushed to the target by :math:`z \mapsto A z + b`. With the optimal coupling :math:`\pi` of a batch
under :math:`\lVert A z + b - z' \rVert + \nu \lVert B e(y) - e(y') \rVert` a step lowers

.. math::
    \lambda \sum_{z, z'} \pi_{z z'} \bigl(\lVert A z + b - z' \rVert^2 + \nu \lVert B e(y) - e(y') \rVert^2\bigr)
    + H(B; D) + \sum_j D_j L_j + \lVert P_T - B D \rVert^2
    + \lVert A \bar A - I \rVert_F^2 + \lVert \bar A A - I \rVert_F^2

with :math:`\nu = 10^8` and :math:`\lambda = 2`; `B` and `D` are softmaxes of free parameters. Gradients are
written out.

Source: Mehra, Zhang and Hamm, "Understanding the Transferability of Representations via Task-Relatedness", NeurIPS
2024, Algorithm 1 and App. D.3.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax, xlogy

from transferability._array import FloatArray, IntArray
from transferability.errors import OptionError
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.lipschitz import SoftmaxClassifier
from transferability.relatedness.sample import Sample
from transferability.transport.coupling import Coupling, optimal_coupling

__all__ = ["Algorithm1Result", "Algorithm1Terms", "run_algorithm1"]

_TRANSPORT_WEIGHT = 2.0  # λ
_LABEL_WEIGHT = 1e8  # ν
_RATES = {"A": 1e-2, "A_bar": 1e-2, "b": 1e-2, "B": 1e-2, "D": 1e-4}  # of Adam
_RECORD_EVERY = 100
_GUESS_EVERY = 10


class Algorithm1Terms(NamedTuple):
    """The parts of the objective on one batch, unweighted."""

    epoch: int
    features: float  # Σ π ‖A z + b − z'‖²
    labels: float  # Σ π ‖B e(y) − e(y')‖²
    label_mismatch: float  # H(B; D), nats
    reference_loss: float  # Σ D_j L_j, nats
    prior_mismatch: float  # ‖P_T − B D‖²
    invertibility: float  # ‖A Ā − I‖² + ‖Ā A − I‖²


class Algorithm1Result(NamedTuple):
    """What Algorithm 1 ended with."""

    A: FloatArray  # (d_T, d_R), reference to target
    A_bar: FloatArray  # (d_R, d_T), the learned inverse: only nearly A⁻¹
    b: FloatArray  # (d_T,)
    B: FloatArray  # (K_T, K_R), columns sum to 1
    D: FloatArray  # (K_R,), sums to 1
    history: tuple[Algorithm1Terms, ...]  # every hundred epochs and the last
    iterations: int
    labels: IntArray  # (n_T,), of the target: as given, or the last guesses

    @property
    def feature_map(self) -> AffineMap:
        """The map from target to reference features that the paper evaluates, ``z ↦ Ā (z − b)``."""
        return AffineMap(self.A_bar, -self.A_bar @ self.b)


def run_algorithm1(
    classifier: SoftmaxClassifier,
    reference: Sample,
    target: Sample,
    *,
    B: FloatArray | None,
    learn_map: bool = True,
    epochs: int = 1001,
    batch_size: int = 500,
    guessed: bool = False,
    rng: np.random.Generator,
) -> Algorithm1Result:
    r"""Learn the transformations by the paper's Algorithm 1.

    Parameters
    ----------
    classifier : SoftmaxClassifier
        ``h_R``; only its loss per reference class matters, and that only to `D`.
    reference, target : Sample
        Fitting samples of shape (n_R, d_R) and (n_T, d_T), standardised. A reference class without samples takes no
        part: its `D` is 0.
    B : array of shape (K_T, K_R), or None
        Fixed label map with columns that sum to 1; `D` then stays uniform (LearnedA, or FixedAll without
        `learn_map`). None learns `B` and `D` too (LearnedAll).
    learn_map : bool, default=True
        Whether `A`, its inverse and `b` are learned, or stay the identity and zero.
    epochs : int, default=1001
        Batches, one step each; ≥ 1.
    batch_size : int, default=500
        Points drawn of each task; ≥ 1. Better larger than the dimension: a smaller batch can be matched perfectly.
    guessed : bool, default=False
        Whether the target's labels are guesses. They are then guessed anew every ten epochs, as the algorithm's line 7
        has it: :math:`\arg\max_y (B h_R(\bar A (z - b)))_y`.
    rng : numpy Generator
        Draws the batches and the first `B`.

    Returns
    -------
    Algorithm1Result

    Raises
    ------
    OptionError
        If `epochs` or `batch_size` is below 1, or `B` is not a label map of the right shape.

    Notes
    -----
    Cost per epoch O(m² d + m d² + d³) for m points in a batch, and one network simplex on (m, m). Matrix products for
    `A` run in float32 (as the authors'), distances, couplings, `B` and `D` in float64.

    As in the authors' code, and unlike the paper's text, `D` is or starts uniform over the classes of the reference,
    which they sample in equal parts. Deviations from their code: the loss of ``h_R`` per class is measured once on all
    reference samples, not on each batch; every class with mass sends at least one point to a batch (theirs: none where
    ``batch_size × mass < 1``). Theirs against the paper's text: `docs/algorithm1.md`.
    """
    problem = Problem.measure(classifier, reference, target, B)
    _check_options(B, problem, epochs, batch_size)
    d_target, d_reference = target.features.shape[1], reference.features.shape[1]
    free: dict[str, FloatArray] = {}  # what Adam moves, in place; B and D before their softmax
    A, A_bar = (np.eye(*shape, dtype=np.float32) for shape in ((d_target, d_reference), (d_reference, d_target)))
    b = np.zeros(d_target, dtype=np.float32)
    if learn_map:
        free |= {"A": A, "A_bar": A_bar, "b": b}
    if B is None:
        free["B"] = rng.uniform(size=(len(problem.target_priors), classifier.n_classes))
        with np.errstate(divide="ignore"):  # classes without samples start, and stay, at −∞
            free["D"] = np.log(problem.start_prior)
    adam = _Adam(free)
    history = []
    steps = epochs if free else 0

    def transforms() -> Transforms:
        if B is None:
            return Transforms(A, A_bar, b, softmax(free["B"], axis=0), softmax(free["D"]))
        return Transforms(A, A_bar, b, np.asarray(B, dtype=np.float64), problem.start_prior)

    for epoch in range(steps):
        now = transforms()
        if guessed and epoch and epoch % _GUESS_EVERY == 0:
            labels = guesses(classifier, target.features, now)
            problem = problem.relabelled(Sample(target.features, labels))
        batch = problem.draw(now, batch_size, rng)
        if epoch % _RECORD_EVERY == 0 or epoch == steps - 1:
            history.append(problem.terms(now, batch, epoch))
        slopes = problem.map_slopes(now, batch) if learn_map else {}
        if B is None:
            slopes |= problem.label_slopes(now, batch)
        adam.step(slopes)
    last = Transforms(*(each.astype(np.float64) for each in transforms()))
    labels = guesses(classifier, target.features, last) if guessed and free else target.labels
    return Algorithm1Result(last.A, last.A_bar, last.b, last.B, last.D, tuple(history), steps, labels)


def guesses(classifier: SoftmaxClassifier, features: FloatArray, now: Transforms) -> IntArray:
    """Return the labels that the transferred classifier gives to target features, shape (n,)."""
    probabilities = softmax(classifier.logits((features - now.b) @ now.A_bar.T), axis=1)
    labels: IntArray = (probabilities @ now.B.T).argmax(axis=1)
    return labels


def _check_options(B: FloatArray | None, problem: Problem, epochs: int, batch_size: int) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            message = f"`{name}` must be at least 1; got {value}. The authors take 1,001 epochs of 500 points."
            raise OptionError(message)
    shape = (len(problem.target_priors), len(problem.start_prior))
    if B is not None and (B.shape != shape or (B < 0).any() or not np.allclose(B.sum(axis=0), 1.0)):
        message = (
            f"`B` must be non-negative of shape {shape} (target classes, reference classes) with columns that sum to "
            f"1; got shape {B.shape}. For a one-to-one map set B[target class, reference class] = 1."
        )
        raise OptionError(message)


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
    def measure(cls, classifier: SoftmaxClassifier, reference: Sample, target: Sample, B: FloatArray | None) -> Problem:
        """Count the classes and measure the loss of each."""
        n_targets = max(int(target.labels.max()) + 1, 0 if B is None else len(B))
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


class _Adam:
    """Adam (Kingma and Ba 2015, the order of operations before Algorithm 1 there) on named arrays, in place."""

    def __init__(self, free: dict[str, FloatArray]) -> None:
        self.free, self.steps = free, 0
        self.means = {name: np.zeros_like(each) for name, each in free.items()}
        self.squares = {name: np.zeros_like(each) for name, each in free.items()}

    def step(self, slopes: dict[str, FloatArray]) -> None:
        """Move every array against its gradient."""
        self.steps += 1
        correction = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for name, slope in slopes.items():
            mean, square = self.means[name], self.squares[name]
            mean += 0.1 * (slope - mean)
            square += 0.001 * (slope * slope - square)
            self.free[name] -= float(_RATES[name] * correction) * mean / (np.sqrt(square) + 1e-7)
