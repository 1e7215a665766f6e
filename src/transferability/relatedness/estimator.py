r"""`TaskRelatedness`: from a reference task and a target task to a certified bound (Definition 2 and Theorem 3).

.. math:: \sum_j D_j L_j + H(Y'' \mid Y'; B, D) + \sum_i P_T(i)\, \mathrm{OT}_c(R''_i, f_\# T_i)

The steps, in order: standardise both tasks; train the Lipschitz classifier of the reference; match classes; fit the
feature map; measure the bound on samples that nothing was fitted on; train the target's own classifier to compare.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np

from transferability._array import IntArray
from transferability._threads import threads_for
from transferability._validate import check_choice, check_positive
from transferability.errors import OptionError, TaskError
from transferability.relatedness.alternating import FittedMap, fit_map
from transferability.relatedness.certificate import Certificate, losses_of, transformed_losses
from transferability.relatedness.checks import (
    as_panel,
    as_task,
    check_magnitudes,
    check_matching,
    check_seed,
    check_tasks,
    check_tau,
)
from transferability.relatedness.choose import choose_classes, choose_classes_unlabelled
from transferability.relatedness.feature_map import AffineMap
from transferability.relatedness.from_statistics import StatisticsOptions, relate_statistics
from transferability.relatedness.geometry import Geometry, Sample
from transferability.relatedness.label_transform import LabelTransform
from transferability.relatedness.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.pack import ReferencePack
from transferability.relatedness.prepared import PreparedTasks, Solution, full_transform, keep_classes
from transferability.relatedness.pseudo_labels import GUESS_RIDGE, guess_labels
from transferability.relatedness.result import Relatedness
from transferability.relatedness.tau import DEFAULT_TAU, solve_for_tau
from transferability.relatedness.verdict import verdict
from transferability.task import Task
from transferability.transport.coupling import MAX_POINTS

__all__ = ["TaskRelatedness"]

_SMALL_BLOCK = 100


class TaskRelatedness:
    r"""How related a target is to a reference, as a bound on the target's loss.

    Parameters
    ----------
    tau : float, sequence of float, "scaled" or "auto", default=0.2
        Lipschitz constant of the reference classifier, in nats per unit of (standardised) feature distance. Of several,
        the one with the smallest held-out bound on the fitting tasks is taken; "auto" walks in factors of two. "scaled"
        is 4 / √d, which treats encoders of few and of many features alike: what `rank` takes.
    ground_cost : {"loss", "euclidean", "gamma"}, default="loss"
        How transport is priced (see `transport.cost`). The Euclidean cost is the paper's; the loss cost is never larger
        and makes encoders of different dimension comparable. "gamma" is Eq. 5 of the paper, for solver="statistics".
    space : {"reference", "target"}, default="reference"
        Where the Euclidean cost is measured. In the target's space (the paper's form) τ is that of ``h_R``; the bound
        is certified only if ``h_R ∘ A^{-1}`` has no larger constant. The loss cost is the same in both.
    matching : {"assignment", "identity", "random", "gradient"} or array of int, default="assignment"
        Which reference class stands for which target class: the cheapest one-to-one choice; the same number; a random
        choice (the paper's default); shares learned by descent (the paper's LearnedAll); or given, one reference class
        per target class. For a target without labels "assignment" and "gradient" mean the classes predicted most.
    learn_map : bool, default=True
        False leaves the features where they are (the paper's FixedAll).
    solver : {"alternating", "sgd", "statistics"}, default="alternating"
        "sgd" is the paper's Algorithm 1, with its Euclidean cost in the target's space whatever else is said.
        "statistics" needs counts, means and covariances of the classes only, takes reference packs, and gives an
        estimate of the bound, never a certified one.
    standardize : bool, default=True
        Bring each feature of each task to mean zero and deviation one, measured on the fitting part, and cut it off at
        ten deviations. The cut is part of the map: the bound holds with it.
    covariance_weight : float, default=0.01
        λ of Eq. 5, for ``ground_cost="gamma"`` only; ≥ 0. The paper's value.
    seed : int, default=0
        Same seed, same machine, same number.

    Raises
    ------
    OptionError
        If an option is outside its range.

    Notes
    -----
    Cost: O(n d K) per step of the two classifiers, about a hundred steps each; the map sees at most 2,000 target
    points; the final transport is exact up to 1,000 points on a side per class and in blocks beyond.

    References
    ----------
    .. [1] Mehra, Zhang, Hamm, "Understanding the Transferability of Representations via Task-Relatedness",
       NeurIPS 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from transferability import Task, TaskRelatedness
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(300) % 3
    >>> centres = 4 * np.eye(3, 8)
    >>> reference = Task(centres[y] + rng.normal(size=(300, 8)), y, name="reference")
    >>> target = Task(centres[y][:, ::-1] + rng.normal(size=(300, 8)), y, name="target")
    >>> result = TaskRelatedness(tau=1.0).fit(reference, target)
    >>> result.certified, bool(result.bound >= result.transferred_loss)
    (True, True)
    """

    def __init__(
        self,
        tau: float | Sequence[float] | Literal["scaled", "auto"] = DEFAULT_TAU,
        *,
        ground_cost: Literal["loss", "euclidean", "gamma"] = "loss",
        space: Literal["reference", "target"] = "reference",
        matching: Literal["assignment", "identity", "random", "gradient"] | Sequence[int] | IntArray = "assignment",
        learn_map: bool = True,
        solver: Literal["alternating", "sgd", "statistics"] = "alternating",
        standardize: bool = True,
        covariance_weight: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.tau = check_tau(tau)
        self.ground_cost = check_choice(ground_cost, ("loss", "euclidean", "gamma"), "ground_cost")
        self.space = check_choice(space, ("reference", "target"), "space")
        self.matching = check_matching(matching)
        self.learn_map = bool(learn_map)
        self.solver = check_choice(solver, ("alternating", "sgd", "statistics"), "solver")
        self.standardize = bool(standardize)
        self.seed = check_seed(seed)
        self.covariance_weight = check_positive(covariance_weight, "covariance_weight", zero=True)
        if self.solver == "sgd":
            self.ground_cost, self.space = "euclidean", "target"
        if self.ground_cost == "gamma" and self.solver != "statistics":
            message = (
                f"`ground_cost='gamma'` compares means and covariances; got it with solver={self.solver!r}. "
                "Use solver='statistics'."
            )
            raise OptionError(message)

    def fit(
        self,
        reference: Task | ReferencePack | Sequence[Task | ReferencePack],
        target: Task | ReferencePack,
        reference_test: Task | Sequence[Task | None] | None = None,
        target_test: Task | None = None,
    ) -> Relatedness:
        """Fit the transformation and measure the bound.

        Parameters
        ----------
        reference : Task or sequence of Task
            With labels. Of several, the one with the smallest bound stands; `panel` keeps all. With
            ``solver="statistics"`` a `ReferencePack` serves as well, here and as the target.
        target : Task
            With or without labels. Without, `class_names` says how many classes there are (else: as many as the
            reference has), and the labels are guessed.
        reference_test, target_test : Task, or sequence of Task for a panel, optional
            Samples that nothing is fitted on. The bound is measured on them where they are given.

        Returns
        -------
        Relatedness

        Raises
        ------
        TaskError
            If the tasks do not fit each other: dimensions of train and test, classes missing from a test part, a panel
            of another length than its test parts.
        LabelError
            If a reference has no labels; with ``solver="statistics"`` also if the target has none.
        FeatureError
            If features that are not standardised are larger than 1e18 or smaller than 1e-18.
        """
        panel = as_panel(reference, reference_test)
        if self.solver == "statistics":
            options = StatisticsOptions(*(getattr(self, name) for name in StatisticsOptions._fields))
            results = [relate_statistics(options, each, target, test, target_test) for each, test in panel]
        else:
            results = self._fit_samples(panel, target, target_test)
        best = min(results, key=lambda result: result.bound)
        return dataclasses.replace(best, others=tuple(results)) if len(results) > 1 else best

    def _fit_samples(
        self,
        panel: list[tuple[Task | ReferencePack, Task | None]],
        target: Task | ReferencePack,
        target_test: Task | None,
    ) -> list[Relatedness]:
        if any(isinstance(each, ReferencePack) for each in (target, *(each for each, _ in panel))):
            message = (
                f"a reference pack holds statistics, no samples; got one with solver={self.solver!r}. "
                "Use solver='statistics'."
            )
            raise TaskError(message)
        target = as_task(target)
        tasks = [(as_task(each), test) for each, test in panel]
        for each, test in tasks:
            check_tasks(each, target, test, target_test)
            if not self.standardize:
                check_magnitudes(each, target, test, target_test)
        everything = [*(each for each, _ in tasks), target]
        with threads_for(max(len(each) * each.n_features * each.n_classes for each in everything)):
            return [self._fit_one(each, target, test, target_test) for each, test in tasks]

    def _fit_one(
        self, reference: Task, target: Task, reference_test: Task | None, target_test: Task | None
    ) -> Relatedness:
        started = time.perf_counter()
        tasks = PreparedTasks.prepare(reference, target, self.standardize)
        candidates = solve_for_tau(
            self.tau,
            tasks.reference.features.shape[1],
            lambda tau: self._solve(tasks, tau),
            lambda each: each.criterion,
        )
        solution = min(candidates, key=lambda each: each.criterion)
        geometry, feature_map, labels = solution.geometry, solution.feature_map, solution.transform

        on_test = reference_test is not None or target_test is not None
        # Beside a test part the fitting part's bound is information only: smaller blocks will do.
        fit_target = tasks.target._replace(labels=solution.labels)
        fit_reference = keep_classes(tasks.reference, solution.kept)
        fit_terms = self._measure(solution, fit_reference, fit_target, _SMALL_BLOCK if on_test else MAX_POINTS)
        seen_reference = keep_classes(tasks.reference_part(reference_test), solution.kept)
        seen_features, seen_labels = tasks.target_part(target_test, solution.labels)
        logits = geometry.classifier.logits(feature_map.apply(seen_features))
        priors = np.bincount(solution.labels, minlength=len(labels.shares)) / len(solution.labels)
        truth = _truth(target, target_test)
        if seen_labels is None:  # an unlabelled test part: the transferred classifier labels it
            seen_labels = transformed_losses(logits, None, labels, priors)[1]
        terms = self._measure(solution, seen_reference, Sample(seen_features, seen_labels)) if on_test else fit_terms
        losses, predictions = transformed_losses(logits, truth, labels, terms.priors)
        correct = None if truth is None else predictions == truth

        transform = full_transform(
            solution, terms.priors, reference.n_classes, (tasks.reference_scaler, tasks.target_scaler)
        )
        certified_tau = geometry.classifier.certified_tau if self.space == "reference" else transform.lipschitz
        certified, reason = verdict(self.ground_cost, self.space, solution, certified_tau, labelled=truth is not None)
        own, own_loss, own_accuracy = None, None, None
        if target.labels is not None and truth is not None:
            # h' need not be τ-Lipschitz in the target's space; h_T comes from a class that holds it.
            own = fit_lipschitz_softmax(tasks.target.features, target.labels, max(solution.tau, transform.lipschitz))
            own_logits = own.logits(seen_features)
            own_loss = float(losses_of(own_logits, truth).mean())
            own_accuracy = float((own_logits.argmax(axis=1) == truth).mean())
        return Relatedness(
            reference=reference.name,
            target=target.name,
            certificate_terms=terms,
            transform=transform,
            tau=solution.tau,
            certified_tau=certified_tau,
            certified=certified,
            certificate=reason,
            transferred_loss=None if losses is None else float(losses.mean()),
            transferred_accuracy=None if correct is None else float(correct.mean()),
            transferability=own_loss,
            transferability_accuracy=own_accuracy,
            class_map=np.where(terms.priors > 0, solution.kept[labels.class_map], -1),
            fit_bound=fit_terms.bound,
            evaluated_on="test" if on_test else "fit",
            ground_cost=self.ground_cost,
            space=self.space,
            solver=self.solver,
            ridge=solution.ridge,
            history=solution.history,
            seconds=time.perf_counter() - started,
            reference_classifier=geometry.classifier,
            target_classifier=own,
            reference_class_names=_names(reference, reference.n_classes),
            target_class_names=_names(target, len(labels.shares)),
            transferred_losses=None if losses is None else losses.astype(np.float32),
            transferred_correct=correct,
            pseudo_labels=solution.labels if target.labels is None else None,
            tau_path=tuple((each.tau, each.criterion) for each in candidates) if len(candidates) > 1 else (),
        )

    def _solve(self, tasks: PreparedTasks, tau: float) -> Solution:
        """Find classes and map for one τ."""
        rng = np.random.default_rng(self.seed)
        classifier = fit_lipschitz_softmax(*tasks.reference, tau)
        geometry = self._geometry(classifier, tau)
        labels, guessed_map = tasks.target_labels, None
        if labels is None:
            class_map = choose_classes_unlabelled(self.matching, classifier, tasks, rng)
            transform = LabelTransform.from_class_map(class_map, classifier.n_classes)
        else:
            transform = choose_classes(self.matching, geometry, tasks, labels, rng)
        # Telling apart classes that nothing is made of would cost reference loss for nothing: the paper, too, draws as
        # many reference classes as the target has. From here on there are no others.
        learns_labels = self.solver == "sgd" and self._matches_by("gradient")
        kept = np.arange(classifier.n_classes) if learns_labels else transform.classes_in_use
        if len(kept) < classifier.n_classes:
            tasks = tasks._replace(reference=keep_classes(tasks.reference, kept))
            transform = LabelTransform(transform.shares[:, kept])
            classifier = fit_lipschitz_softmax(*tasks.reference, tau)
            geometry = self._geometry(classifier, tau)
        if labels is None:
            labels, guessed_map = guess_labels(
                classifier, tasks.reference, tasks.target.features, transform.class_map, rng
            )
        target = Sample(tasks.target.features, labels)
        if self.solver == "sgd":
            return self._solve_by_descent(kept, geometry, tasks, target, transform, tau, rng)
        if not self.learn_map:
            identity = AffineMap.identity(tasks.reference.features.shape[1], target.features.shape[1])
            fitted = FittedMap(identity, float("inf"), float("nan"), ())
        elif guessed_map is not None:
            fitted = FittedMap(guessed_map, GUESS_RIDGE, float("nan"), ())
        else:
            fitted = fit_map(geometry, tasks.reference, target, transform, rng)
        criterion = fitted.held_out_bound
        if not np.isfinite(criterion):
            certificate = geometry.certify(
                tasks.reference, target, fitted.feature_map, transform, rng=np.random.default_rng(self.seed)
            )
            criterion = certificate.bound
        return Solution(
            kept, geometry, transform, fitted.feature_map, None, labels, tau, fitted.ridge, fitted.history, criterion
        )

    def _matches_by(self, name: str) -> bool:
        return isinstance(self.matching, str) and self.matching == name  # it may be an array

    def _geometry(self, classifier: SoftmaxClassifier, tau: float) -> Geometry:
        known = classifier.certified_tau if self.space == "reference" else tau
        return Geometry(classifier, self.ground_cost, self.space, known)

    def _solve_by_descent(
        self,
        kept: IntArray,
        geometry: Geometry,
        tasks: PreparedTasks,
        target: Sample,
        transform: LabelTransform,
        tau: float,
        rng: np.random.Generator,
    ) -> Solution:
        from transferability.relatedness.algorithm1 import run_algorithm1

        priors = np.bincount(target.labels, minlength=len(transform.shares)) / len(target.labels)
        fixed = None if self._matches_by("gradient") else transform.B(priors)
        found = run_algorithm1(geometry.classifier, tasks.reference, target, B=fixed, learn_map=self.learn_map, rng=rng)
        if fixed is None:
            transform = LabelTransform.from_matrices(found.B, found.D)
        pull = AffineMap(found.A_bar, -found.A_bar @ found.b)
        push = AffineMap(found.A, found.b)
        solution = Solution(
            kept,
            geometry,
            transform,
            pull,
            push,
            target.labels,
            tau,
            float("nan"),
            tuple(each.features for each in found.history),
            0.0,
        )
        return solution._replace(criterion=self._measure(solution, tasks.reference, target).bound)

    def _measure(
        self, solution: Solution, reference: Sample, target: Sample, max_points: int = MAX_POINTS
    ) -> Certificate:
        rng = np.random.default_rng(self.seed)
        geometry = solution.geometry
        if solution.push is None:
            return geometry.certify(
                reference, target, solution.feature_map, solution.transform, max_points=max_points, rng=rng
            )
        pushed = Sample(solution.push.apply(reference.features), reference.labels)  # A as learned, not Ā inverted
        return geometry.certify_places(
            pushed.features,
            target.features,
            reference,
            target.labels,
            solution.transform,
            max_points=max_points,
            rng=rng,
        )


def _truth(target: Task, target_test: Task | None) -> IntArray | None:
    return target.labels if target_test is None else target_test.labels


def _names(task: Task, n_classes: int) -> tuple[str, ...]:
    return task.class_names if task.class_names is not None else tuple(str(k) for k in range(n_classes))
