"""What could bring the accuracy of h′ ahead of every other score? What was tried beside τ and the ground cost.

Against accuracies after fine-tuning, as in `table1.py`: Pearson's r, mean over targets, and its difference from the
best other score, with a paired bootstrap over encoders.

    python experiments/mend.py --data FOLDER [--quick]

Variants: another choice among references; five folds in place of one split, so that each of the target's rows measures
once; features not standardised, or not mapped; classes known by mean and covariance alone, and compared by these (Γ).
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
from _common import Run, options
from _zoo import PANEL, TARGETS
from finetune_zoo import SEEDS, accuracies
from scipy.stats import kendalltau, pearsonr
from table1 import CHOICE, VERDICT, known_seeds, scored

from transferability import Task, TaskRelatedness
from transferability._threads import threads_for
from transferability.scores.registry import available

FOLDS, RESAMPLES = 5, 1000
AS_RANK = "as `rank` has it"
ESTIMATORS = {
    AS_RANK: TaskRelatedness("scaled"),
    "features not standardised": TaskRelatedness("scaled", standardize=False),
    "features left where they are": TaskRelatedness("scaled", learn_map=False),
    "classes by mean and covariance": TaskRelatedness("scaled", solver="statistics"),
}
COVARIANCES = TaskRelatedness("scaled", solver="statistics", ground_cost="gamma", covariance_weight=1.0)


def folds_of(run: Run, name: str, target: str, reference: str) -> dict[str, float]:
    """Return bound and accuracy, means over folds of the target's fitting rows."""
    task = run.tasks(name, target)[0]
    labels = task.require_labels()
    order = np.random.default_rng(0).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % FOLDS

    def rows(mask: np.ndarray) -> Task:
        return Task(task.features[mask], labels[mask], name=task.name, class_names=task.class_names)

    fit, test = run.tasks(name, reference)
    found = []
    for each in range(FOLDS):
        with threads_for(0):
            found.append(ESTIMATORS[AS_RANK].fit(fit, rows(fold != each), test, rows(fold == each)))
    return {key: float(np.mean([getattr(each, key) for each in found])) for key in ("bound", "transferred_accuracy")}


def said_by(run: Run, name: str, target: str) -> dict[str, float]:
    """Return the accuracy of h′ under each variant."""
    panel = [each for each in PANEL if each != target]
    values = {}
    for variant, estimator in ESTIMATORS.items():
        of_all = choices(variant, run.relatedness(name, target, panel, estimator))
        values |= of_all if variant == AS_RANK else {variant: of_all[variant]}
    if not run.quick:  # seconds a fit
        nearest = min(run.relatedness(name, target, panel, ESTIMATORS[AS_RANK]), key=lambda each: each["bound"])
        (found,) = run.relatedness(name, target, [nearest["reference"]], COVARIANCES)
        values["Γ, the reference that `rank` takes"] = found["transferred_accuracy"]
    folds = [
        run.kept("folds", name, target, partial(folds_of, run, name, target, each), reference=each, folds=FOLDS)
        for each in panel
    ]
    return values | choices("five folds", folds)


def choices(variant: str, found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the accuracy for the reference of the smallest bound, the mean of the panel, and the largest."""
    accuracies = [each["transferred_accuracy"] for each in found]
    return {
        variant: min(found, key=lambda each: each["bound"])["transferred_accuracy"],
        f"{variant}; mean of the panel": float(np.mean(accuracies)),
        f"{variant}; largest of the panel": max(accuracies),
    }


def main() -> None:
    """Compute, correlate, compare."""
    run = Run("mend", options(__doc__))
    names = list(run.names)
    truth: dict[str, list[float]] = defaultdict(list)
    said: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name in names:
        for target in TARGETS:
            panel = [each for each in PANEL if each != target]
            seeds = SEEDS[:1] if run.quick else known_seeds(run, name, target)
            truth[target].append(float(np.mean(accuracies(run, name, target, seeds))))
            scores = run.kept("scores", name, target, partial(scored, run, name, target, panel), panel=panel, layout=3)
            directed = {key: value if available()[key].higher_is_better else -value for key, value in scores.items()}
            for key, value in (said_by(run, name, target) | directed).items():
                said[key][target].append(value)
        print(name, flush=True)
    complete = {key: by for key, by in said.items() if all(len(by[target]) == len(names) for target in TARGETS)}
    others = [key for key in complete if key in available() and key != "size"]

    def mean(measure: Any, key: str, targets: tuple[str, ...], picked: np.ndarray) -> float:
        found = [measure(np.array(said[key][t])[picked], np.array(truth[t])[picked])[0] for t in targets]
        return float(np.mean(found))

    everyone = np.arange(len(names))
    best = max(others, key=lambda key: mean(pearsonr, key, TARGETS, everyone))
    rng = np.random.default_rng(0)
    draws = [rng.integers(len(names), size=len(names)) for _ in range(RESAMPLES)]
    draws = [each for each in draws if len(set(each)) > 3]
    of_best = np.array([mean(pearsonr, best, TARGETS, each) for each in draws])
    rows = []
    print(f"\n{'variant':44} {'all':>13} {'choice':>13} {'verdict':>13}   less {best} (90 %)")
    for key in [each for each in complete if each not in others or each == best]:
        row: dict[str, Any] = {"variant": key}
        for title, targets in (("all", TARGETS), ("choice", CHOICE), ("verdict", VERDICT)):
            row[title] = {"pearson": mean(pearsonr, key, targets, everyone)}
            row[title]["kendall"] = mean(kendalltau, key, targets, everyone)
        less = np.array([mean(pearsonr, key, TARGETS, each) for each in draws]) - of_best
        row["less_best"] = [float(np.quantile(less, q)) for q in (0.05, 0.95)]
        rows.append(row)
        cells = (f"{row[each]['pearson']:+.2f} / {row[each]['kendall']:+.2f}" for each in ("all", "choice", "verdict"))
        print(f"{key:44}", *cells, f"  {row['less_best'][0]:+.2f} to {row['less_best'][1]:+.2f}")
    conclude(run, rows, best)
    run.finish(rows, best_other=best, encoders=names)


def conclude(run: Run, rows: list[dict[str, Any]], best: str) -> None:
    """Judge whether anything that was tried comes ahead."""
    by = {row["variant"]: row for row in rows}
    of_best = by[best]["all"]["pearson"]
    mended = max((row for row in rows if row["variant"] not in available()), key=lambda row: row["all"]["pearson"])
    low, high = by[AS_RANK]["less_best"]
    run.claim(
        "Ours: no other score foretells fine-tuned accuracy better than the accuracy of h′",
        "held" if by[AS_RANK]["all"]["pearson"] >= of_best else "held in part" if low <= 0 <= high else "did not hold",
        f"{by[AS_RANK]['all']['pearson']:+.2f} against {of_best:+.2f} ({best}); difference {low:+.2f} to {high:+.2f} "
        f"(90 %, over encoders); best of what was tried: {mended['variant']} {mended['all']['pearson']:+.2f}",
    )


if __name__ == "__main__":
    main()
