"""What could bring the transferred accuracy ahead of every other score? What was tried beside τ and the ground cost.

Against accuracies after fine-tuning, as in `table1.py`: Pearson's r, mean over targets, and its difference from the
best other score, with a paired bootstrap over encoders.

    python experiments/ablation.py --data FOLDER [--quick]

Variants: another choice among references; one split in place of five folds; on one split also features that are not
standardised, or not mapped; classes known by mean and covariance alone, and compared by these (Γ).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np
from _common import DEFAULT, Run, options
from _zoo import PANEL, TARGETS
from finetune_zoo import SEEDS, accuracies
from scipy.stats import ConstantInputWarning, kendalltau, pearsonr
from table1 import CHOICE, VERDICT, known_seeds, scored

from transferability import TaskRelatedness
from transferability.scores.registry import available

RESAMPLES = 1000
FEATURES_AT_MOST = 400  # for Γ, whose fits take seconds there and minutes for a thousand
AS_RANK, ONE_SPLIT = "as rank: five folds", "one split"
ESTIMATORS = {  # each on one split, to be compared with the first
    ONE_SPLIT: DEFAULT,
    "features not standardised": TaskRelatedness(standardize=False),
    "features left where they are": TaskRelatedness(learn_map=False),
    "classes by mean and covariance": TaskRelatedness(solver="statistics"),
}
COVARIANCES = TaskRelatedness(solver="statistics", ground_cost="gamma", covariance_weight=1.0)


def said_by(run: Run, name: str, target: str) -> dict[str, float]:
    """Return the transferred accuracy under each variant but Γ."""
    panel = [each for each in PANEL if each != target]
    values = choices(AS_RANK, run.relatedness(name, target, panel))
    one_split = {
        variant: run.relatedness(name, target, panel, estimator, folds=None)
        for variant, estimator in ESTIMATORS.items()
    }
    values |= {variant: choices(variant, found)[variant] for variant, found in one_split.items()}
    return values


def by_covariances(run: Run, name: str, target: str) -> dict[str, float]:
    """Return the transferred accuracy under Γ, for the nearest reference, beside that of one split."""
    if run.quick or run.tasks(name, target)[0].n_features > FEATURES_AT_MOST:
        return {}
    panel = [each for each in PANEL if each != target]
    nearest = min(run.relatedness(name, target, panel, folds=None), key=lambda each: each["bound"])
    (found,) = run.relatedness(name, target, [nearest["reference"]], COVARIANCES, folds=None)
    return {
        f"{ONE_SPLIT}; up to {FEATURES_AT_MOST} features": nearest["transferred_accuracy"],
        f"Γ; up to {FEATURES_AT_MOST} features": found["transferred_accuracy"],
    }


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
    run = Run("ablation", options(__doc__))
    names = list(run.names)
    truth = np.empty((len(TARGETS), len(names)))
    said: dict[str, np.ndarray] = defaultdict(lambda: np.full(truth.shape, np.nan))  # targets × encoders
    for column, name in enumerate(names):
        for row, target in enumerate(TARGETS):
            panel = [each for each in PANEL if each != target]
            seeds = SEEDS[:1] if run.quick else known_seeds(run, name, target)
            truth[row, column] = np.mean(accuracies(run, name, target, seeds))
            scores = run.kept("scores", name, target, partial(scored, run, name, target, panel), panel=panel, layout=3)
            directed = {key: value if available()[key].higher_is_better else -value for key, value in scores.items()}
            for key, value in (said_by(run, name, target) | directed).items():
                said[key][row, column] = value
        print(name, flush=True)
    for column, name in enumerate(names):  # last, because it takes longest
        for row, target in enumerate(TARGETS):
            for key, value in by_covariances(run, name, target).items():
                said[key][row, column] = value
        print(f"{name}, Γ", flush=True)
    everyone = np.arange(len(names))
    others = [key for key in said if key in available() and key != "size" and np.isfinite(said[key]).all()]
    best = max(others, key=lambda key: agreement(pearsonr, said[key], truth, TARGETS, everyone))
    rows = []
    print(f"\n{'variant':44} {'all':>13} {'choice':>13} {'verdict':>13}   less {best} (90 %)")
    for key in [each for each in said if each == best or each not in available()]:
        known = np.flatnonzero(np.isfinite(said[key]).all(axis=0))
        line: dict[str, Any] = {"variant": key, "encoders": len(known)}
        for title, targets in (("all", TARGETS), ("choice", CHOICE), ("verdict", VERDICT)):
            line[title] = {
                kind: agreement(measure, said[key], truth, targets, known)
                for kind, measure in (("pearson", pearsonr), ("kendall", kendalltau))
            }
        rng = np.random.default_rng(0)
        draws = [each for each in rng.choice(known, (RESAMPLES, len(known))) if len(set(each)) > 3]
        less = [
            agreement(pearsonr, said[key], truth, TARGETS, each) - agreement(pearsonr, said[best], truth, TARGETS, each)
            for each in draws
        ]
        line["less_best"] = [float(np.nanquantile(less, q)) for q in (0.05, 0.95)]
        rows.append(line)
        cells = (
            f"{line[each]['pearson']:+.2f} / {line[each]['kendall']:+.2f}" for each in ("all", "choice", "verdict")
        )
        print(f"{key:44}", *cells, f"  {line['less_best'][0]:+.2f} to {line['less_best'][1]:+.2f}")
    conclude(run, rows, best)
    run.finish(rows, draw(rows, best), best_other=best, encoders=names)


def draw(rows: list[dict[str, Any]], best: str) -> Any:
    """Draw how far each variant lies from the best other score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        low, high = row["less_best"]
        ax.plot([low, high], [place, place], color="C0")
        ax.plot((low + high) / 2, place, "o", color="C0", markersize=4)
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.set_yticks(range(len(rows)), [row["variant"] for row in reversed(rows)], fontsize=7)
    ax.set_xlabel(f"Pearson's r less that of {best}, 90 % over encoders")
    return figure


def agreement(
    measure: Any, values: np.ndarray, truth: np.ndarray, targets: tuple[str, ...], encoders: np.ndarray
) -> float:
    """Return the mean over some targets of a correlation over some encoders; nan where they are all the same."""
    rows = [TARGETS.index(each) for each in targets]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(np.mean([measure(values[row, encoders], truth[row, encoders])[0] for row in rows]))


def conclude(run: Run, rows: list[dict[str, Any]], best: str) -> None:
    """Judge whether anything that was tried comes ahead."""
    by = {row["variant"]: row for row in rows}
    of_best = by[best]["all"]["pearson"]
    tried = [row for row in rows if row["variant"] not in available() and row["encoders"] == by[best]["encoders"]]
    best_tried = max(tried, key=lambda row: row["all"]["pearson"])
    low, high = by[AS_RANK]["less_best"]
    run.claim(
        "Ours: no other score predicts fine-tuned accuracy better than the transferred accuracy",
        "held" if by[AS_RANK]["all"]["pearson"] >= of_best else "held in part" if low <= 0 <= high else "did not hold",
        f"{by[AS_RANK]['all']['pearson']:+.2f} against {of_best:+.2f} ({best}); difference {low:+.2f} to {high:+.2f} "
        f"(90 %, over encoders); best of what was tried: {best_tried['variant']} {best_tried['all']['pearson']:+.2f}",
    )


if __name__ == "__main__":
    main()
