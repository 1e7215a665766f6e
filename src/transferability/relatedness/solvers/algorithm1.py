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

from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np
from scipy.special import softmax

from transferability._array import FloatArray, IntArray
from transferability.errors import FeatureError, OptionError
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier
from transferability.relatedness.labels.label_transform import LabelTransform
from transferability.relatedness.maps.feature_map import AffineMap
from transferability.relatedness.solvers.algorithm1_objective import Algorithm1Terms, Problem, Transforms
from transferability.relatedness.solvers.base import SampleProblem, SampleSolver, SolverOptions, fitting_priors
from transferability.relatedness.solvers.solution import SampleSolution
from transferability.relatedness.tasks.sample import Sample

__all__ = ["Algorithm1", "Algorithm1Result", "run_algorithm1"]

_RATES = {"A": 1e-2, "A_bar": 1e-2, "b": 1e-2, "B": 1e-2, "D": 1e-4}  # of Adam
_RECORD_EVERY = 100
_GUESS_EVERY = 10


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


class Algorithm1(SampleSolver):
    """The solver of the paper, with its cost in its space."""

    name: ClassVar[str] = "sgd"
    spaces: ClassVar[tuple[str, ...]] = ("target",)
    reads_packs: ClassVar[bool] = False

    @classmethod
    def ground_costs(cls) -> tuple[str, ...]:
        """Return the paper's."""
        return ("euclidean",)

    @classmethod
    def learns_labels(cls, options: SolverOptions) -> bool:
        """Whether `B` and `D` are learned (LearnedAll)."""
        return options.matches_by("gradient")

    def fit(self, problem: SampleProblem) -> SampleSolution:
        """Run the algorithm; then the scale, as every solver fits it."""
        options, head, target, transform = problem.options, problem.head, problem.target, problem.transform
        learned = _run(problem)
        if problem.guessed:
            target = Sample(target.features, learned.labels)
        if self.learns_labels(options):
            transform = LabelTransform.from_matrices(learned.B, learned.D)
        solution = SampleSolution(
            kept=np.arange(head.classifier.n_classes),
            cost=problem.cost,
            transform=transform,
            priors=fitting_priors(target.labels, len(problem.transform.shares)),
            feature_map=learned.feature_map,
            push=AffineMap(learned.A, learned.b),
            labels=target.labels,
            tau=problem.cost.tau,
            scale=1.0,
            ridge=float("nan"),
            history=tuple(terms.features for terms in learned.history),
            criterion=0.0,
        )
        certificate = solution.certify(problem.reference, target, options.seed)
        if options.scale:
            scale = problem.cost.best_scale(head.held_out, target, solution.feature_map, transform, certificate)
            solution = replace(solution, cost=problem.cost.scaled(scale), scale=scale)
            certificate = solution.certify(problem.reference, target, options.seed)
        return replace(solution, criterion=certificate.bound)


def _run(problem: SampleProblem) -> Algorithm1Result:
    options = problem.options
    fixed = None if options.matches_by("gradient") else problem.transform.B(problem.priors)
    try:
        with np.errstate(over="raise"):
            return run_algorithm1(
                problem.head.classifier,
                problem.reference,
                problem.target,
                B=fixed,
                learn_map=options.learn_map,
                epochs=options.epochs,
                batch_size=options.batch_size,
                guessed=problem.guessed,
                n_classes=len(problem.transform.shares),
                rng=problem.rng,
            )
    except FloatingPointError as error:
        message = (
            "features must be of moderate size for solver='sgd', whose squares of distances left the range of their "
            f"type ({error}). Use standardize=True, or rescale them."
        )
        raise FeatureError(message) from error


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
    n_classes: int | None = None,
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
    n_classes : int, optional
        Target classes, as far as `B` does not say; by default up to the last with samples. Guesses may miss some.
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
    n_targets = max(int(target.labels.max()) + 1, n_classes or 0, 0 if B is None else len(B))
    problem = Problem.measure(classifier, reference, target, n_targets)
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
