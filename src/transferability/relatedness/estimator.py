r"""`TaskRelatedness`: from a reference task and a target task to a certified bound (Definition 2 and Theorem 3).

.. math:: \sum_j D_j L_j + H(Y'' \mid Y'; B, D) + \sum_i P_T(i)\, \mathrm{OT}_c(R''_i, f_\# T_i)

The steps, in order: standardise both tasks; train the Lipschitz classifier of the reference; match classes; fit the
feature map; measure the bound on samples that nothing was fitted on; train the target's own classifier to compare.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from transferability._array import FloatArray, IntArray
from transferability._threads import threads_for
from transferability._validate import check_choice, check_positive
from transferability.errors import OptionError, TaskError
from transferability.relatedness.checks import as_panel, check_ground_cost, check_matching, check_seed, check_space
from transferability.relatedness.choices import SOLVERS, GroundCostName, SolverName
from transferability.relatedness.classifier.tau import DEFAULT_TAU
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.packs.reference import PackTask
from transferability.relatedness.parameters import Parameters
from transferability.relatedness.references import LEAST_ROWS, in_one_space, is_union, relate_to_own_half, union_of
from transferability.relatedness.relate_samples import Folds, prepare_target, relate_samples
from transferability.relatedness.relate_statistics import relate_statistics
from transferability.relatedness.results.copies import with_copies
from transferability.relatedness.results.result import Relatedness
from transferability.relatedness.solvers.base import Solver, SolverOptions, solver_class
from transferability.relatedness.target_classifier import with_target_classifier
from transferability.relatedness.tasks.checks import as_task, check_count, check_magnitudes, check_tasks, check_tau
from transferability.relatedness.tasks.test_parts import target_test_of
from transferability.task import Task

__all__ = ["TaskRelatedness"]


class TaskRelatedness(Parameters):
    r"""Task-relatedness of a reference and a target: an upper bound on the transferred loss, and its terms.

    Parameters
    ----------
    tau : float, sequence of float, "scaled" or "auto", default="scaled"
        Lipschitz constant of the reference classifier when it is trained, in nats per unit of (standardised) feature
        distance. "scaled" is 32 / √d for d features that are not constant. Of several, the one with the smallest
        held-out bound on the fitting tasks is taken; "auto" searches in factors of two. The paper has 0.2.
    ground_cost : {"exact", "loss", "euclidean", "gamma"}, optional
        How transport is priced (see `transport.cost`; `relatedness.choices` lists all): by the change of the loss
        itself, which gives the smallest bound; by the change of the logits; by distance (the paper's); "gamma" is Eq. 5
        of the paper, for solver="statistics". By default "exact"; "loss" with solver="statistics"; "euclidean" with
        solver="sgd".
    space : {"reference", "target"}, optional
        Where the Euclidean cost is measured; by default the reference's. In the target's space (the paper's form, and
        the default with solver="sgd") τ is that of ``h_R``; the bound is certified only if ``h_R ∘ A^{-1}`` has no
        larger constant. The other costs are the same in both.
    matching : {"assignment", "identity", "random", "gradient"} or array, default="assignment"
        The reference class of each target class: the cheapest one-to-one choice; the same number; a random choice
        (the paper's default); shares learned by descent (the paper's LearnedAll); or given: one reference class
        per target class, or an array of shares of shape (K_T, K_R). Between assignments whose costs differ by less than
        two standard errors, "assignment" prefers classes of the same name. For a target without labels "assignment" and
        "gradient" mean the classes predicted most. With the target's own other half each class is matched with itself.
    learn_map : bool, default=True
        False leaves the features where they are (the paper's FixedAll).
    solver : {"alternating", "sgd", "statistics"}, default="alternating"
        "sgd" is the paper's Algorithm 1, with its Euclidean cost in the target's space. "statistics" needs counts,
        means and covariances of the classes only, takes reference packs, and gives an estimate of the bound, never a
        certified one.
    standardize : bool, default=True
        Bring each feature of each task to mean zero and deviation one, measured on the fitting part, and cut it off at
        five deviations. The cut is part of the map: the bound holds with it. False leaves features as they are: τ is
        then per unit of them, and "scaled" is 32 over the root of the sum of their variances on the reference, so that
        unit and origin change no bound (but with solver="sgd", whose steps are for standardised features).
    scale : bool, default=True
        Fit the scale of the reference classifier's logits on held-out fitting rows, and calibrate the transferred
        classifier. False leaves them as they were trained, as the paper does.
    union : bool, default=False
        Of several references, relate the target to all of them together as well: each target class may take its
        reference class from any of them.
    epochs, batch_size : int, default=1001 and 500
        Of Algorithm 1 (the authors' code; the paper's text: 2,000 epochs). Take a batch above the number of features.
    covariance_weight : float, default=0.01
        λ of Eq. 5, for ``ground_cost="gamma"`` only; ≥ 0. The paper's value.
    seed : int, default=0
        The same seed on the same machine gives the same numbers.

    Raises
    ------
    OptionError
        If an option is outside its range, or contradicts the solver.

    Notes
    -----
    Cost: O(n d K) per step of the two classifiers and of the map, ten to thirty steps each; with the exact cost the
    bound is a sort. With the other two the map sees at most 2,000 target points, and the final transport is exact up to
    1,000 points on a side per class and in blocks beyond.

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

    trains_target_classifier = True  # h_T, on the class: no parameter; off where encoders are only compared

    def __init__(
        self,
        tau: float | Sequence[float] | Literal["scaled", "auto"] = DEFAULT_TAU,
        *,
        ground_cost: GroundCostName | None = None,
        space: Literal["reference", "target"] | None = None,
        matching: Literal["assignment", "identity", "random", "gradient"]
        | Sequence[int]
        | IntArray
        | FloatArray = "assignment",
        learn_map: bool = True,
        solver: SolverName = "alternating",
        standardize: bool = True,
        scale: bool = True,
        union: bool = False,
        epochs: int = 1001,
        batch_size: int = 500,
        covariance_weight: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.solver = check_choice(solver, tuple(SOLVERS), "solver")
        self.tau = check_tau(tau)
        self.ground_cost = check_ground_cost(ground_cost, self._solver)
        self.space = check_space(space, self._solver)
        self.matching = check_matching(matching)
        self.learn_map = bool(learn_map)
        self.standardize = bool(standardize)
        self.scale = bool(scale)
        self.union = bool(union)
        self.epochs = check_count(epochs, "epochs")
        self.batch_size = check_count(batch_size, "batch_size")
        self.covariance_weight = check_positive(covariance_weight, "covariance_weight", zero=True)
        self.seed = check_seed(seed)

    def fit(
        self,
        reference: Task | ReferencePack | Sequence[Task | ReferencePack] | None,
        target: Task | ReferencePack,
        reference_test: Task | Sequence[Task | None] | None = None,
        target_test: Task | None = None,
        *,
        folds: int | Folds | None = None,
    ) -> Relatedness:
        """Fit the transformation and measure the bound.

        Parameters
        ----------
        reference : Task or sequence of Task, or None
            With labels. Of several, the one with the smallest bound is reported; `references` keeps all. With
            ``solver="statistics"`` a `ReferencePack` serves as well, here and as the target. None relates the target to
            itself: one half of its rows is the reference of the other half, both ways.
        target : Task
            With or without labels. Without, `class_names` says how many classes there are (else: as many as the
            reference has), and the labels are guessed; references with fewer classes are then left out by themselves.
        reference_test, target_test : Task, or sequence of Task for several references, optional
            Samples that nothing is fitted on. The bound is measured on them where they are given.
        folds : int, or sequence of (fitting rows, test rows), optional
            Cross-fitting: every row of the target, and of a reference without a test part, is measured once, by a
            transformation that was fitted without it. The bound is then on the mean loss of the fold classifiers; the
            transformation that the result holds is fitted to all rows (with no reference to one half). Another seed or
            order of rows draws other folds. With no reference: folds of each half, at most its smallest class's rows.

        Returns
        -------
        Relatedness

        Raises
        ------
        TaskError
            If the tasks do not fit each other: dimensions of train and test, classes missing from a test part,
            references and test parts of different number.
        LabelError
            If a reference has no labels; with ``solver="statistics"`` also if the target has none. With folds, if a
            class has a single row.
        FeatureError
            If features that are not standardised are larger than 1e18 or smaller than 1e-18.
        OptionError
            If both a test part and folds are asked for, or folds of packs.
        """
        self._check_combination(reference, target_test, folds)
        panel = [] if reference is None else as_panel(reference, reference_test)
        target_test = target_test_of(target, target_test, [each for each, _ in panel])
        if not self._solver.reads_samples:
            results = [relate_statistics(self._options, each, target, test, target_test) for each, test in panel]
        else:
            results = self._fit_samples(panel, target, target_test, folds)
            if results[0].evaluated_on != "fit":
                least = 0 if target_test else 2 if panel else LEAST_ROWS
                results = with_copies(results, as_task(target_test or target), least, folds)
        best = min(results, key=lambda result: result.bound)
        return dataclasses.replace(best, others=tuple(results)) if len(results) > 1 else best

    @property
    def _solver(self) -> type[Solver]:
        return solver_class(self.solver)

    @property
    def _options(self) -> SolverOptions:
        return SolverOptions(*(getattr(self, name) for name in SolverOptions._fields))

    def _check_combination(self, reference: object, target_test: Task | None, folds: int | Folds | None) -> None:
        if folds is not None and target_test is not None:
            message = "`folds` must be left out where there is a test part of the target; got both. Leave one out."
            raise OptionError(message)
        if not self._solver.reads_samples and (folds is not None or reference is None):
            message = (
                f"`folds` and the target's own other half need samples; got solver={self.solver!r}. "
                "Use solver='alternating', or give a reference and no folds."
            )
            raise OptionError(message)

    def _fit_samples(
        self,
        panel: list[tuple[Task | ReferencePack, Task | None]],
        target: Task | ReferencePack,
        target_test: Task | None,
        folds: int | Folds | None,
    ) -> list[Relatedness]:
        self._check_packs(target, panel)
        target = as_task(target)
        tasks = [(PackTask(each) if isinstance(each, ReferencePack) else as_task(each), test) for each, test in panel]
        for each, test in tasks:
            check_tasks(each, target, test, target_test)
        if not self.standardize:
            for task in (target, target_test, *(task for pair in tasks for task in pair)):
                check_magnitudes(task)
        samples = [pair for pair in tasks if not isinstance(pair[0], PackTask)]
        united = in_one_space(samples) if self.union and samples else []
        left_out = [each.name for each, _ in tasks if all(each is not task for task, _ in united)]
        if len(united) > 1:
            tasks.append(union_of(united, standardize=self.standardize))
        tasks, too_small = _with_classes_enough(tasks, target)
        options = self._options
        everything = [*(each for each, _ in tasks), target]
        with threads_for(max(len(each) * each.n_features * each.n_classes for each in everything)):
            if not panel:
                return [relate_to_own_half(options, target, target_test, folds, standardize=self.standardize)]
            prepared = prepare_target(target, target_test, folds, standardize=self.standardize, seed=self.seed)
            results = [
                relate_samples(options, each, test, prepared, standardize=self.standardize and not is_union(each))
                for each, test in tasks
            ]
            if len(united) > 1 and left_out:
                note = f"the union leaves out {', '.join(left_out)}: packs, and features of another number, "
                results[-1] = dataclasses.replace(results[-1], notes=(*results[-1].notes, f"{note}have no part"))
            if too_small:
                results = [dataclasses.replace(each, notes=(*each.notes, too_small)) for each in results]
            return with_target_classifier(results, prepared) if self.trains_target_classifier else results

    def _check_packs(
        self, target: Task | ReferencePack, panel: Sequence[tuple[Task | ReferencePack, Task | None]]
    ) -> None:
        """Raise for packs where samples are needed."""
        packs = [(each, test) for each, test in panel if isinstance(each, ReferencePack)]
        own = isinstance(target, ReferencePack)
        if own or (packs and (not self._solver.reads_packs or self.space == "target")):
            message = (
                f"a reference pack holds statistics, no samples; got one {'as the target ' if own else ''}with "
                f"solver={self.solver!r}, space={self.space!r}. Use solver='statistics'."
            )
            raise TaskError(message)
        for each, test in packs:
            if test is not None:
                message = f"`reference_test` must be left out for a pack; got a test part beside {each!r}."
                raise TaskError(message)


def _with_classes_enough(
    references: list[tuple[Task, Task | None]], target: Task
) -> tuple[list[tuple[Task, Task | None]], str]:
    """Return the references that an unlabelled target can take its classes from, and a note on the others.

    Labels are guessed by reference classes of their own. Where no reference has enough all are returned, for the error.
    """
    if target.labels is not None:
        return references, ""
    small = [each.name for each, _ in references if each.n_classes < target.n_classes]
    if not small or len(small) == len(references):
        return references, ""
    enough = [pair for pair in references if pair[0].n_classes >= target.n_classes]
    note = f"left out by themselves: {', '.join(small)}, with fewer classes than the {target.n_classes} to be guessed"
    return enough, note
