"""Fig. 5: correlation with fine-tuned accuracy when 5, 10, 25, 50, 100 % of the target's rows are there to score.

Shares are of the fitting rows, at least four per class; the accuracies are those of fine-tuning on all of them.

    python experiments/fig5_share.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Run, options, sampled
from finetune_zoo import SEEDS, accuracies
from scipy.stats import pearsonr
from threadpoolctl import threadpool_limits

from transferability.scores.registry import ScoreInputs, available, compute_many

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)
TARGETS = {"mnist": "mnist_m_cifar", "fashion_mnist": "mnist", "sign_digits": "mnist"}
SCORES = ("logme", "h_score_shrunk", "sfda", "pactran_gaussian", "n_leep", "knn", "linear_probe", "otce")
BOUND, ACCURACY = "bound", "transferred accuracy"


def main() -> None:
    """Score every encoder with every share, then correlate."""
    run = Run("fig5_share", options(__doc__))
    rows: list[dict[str, Any]] = []
    for name in run.names:
        for target, reference in TARGETS.items():
            accuracy = float(np.mean(accuracies(run, name, target, SEEDS[:1])))
            for share in SHARES:
                values = run.kept(
                    "scores", name, target, lambda n=name, t=target, r=reference, s=share: scored(run, n, t, r, s),
                    share=share, names=list(SCORES), reference=reference, layout=4,
                )  # fmt: skip
                (found,) = run.relatedness(name, target, [reference], share=share)
                rows.append({"encoder": name, "target": target, "share": share, "accuracy": accuracy} | values)
                rows[-1] |= {BOUND: found["bound"], ACCURACY: found["transferred_accuracy"]}
        print(name, flush=True)
    table = {name: [correlation(rows, name, share) for share in SHARES] for name in (ACCURACY, BOUND, *SCORES)}
    print(f"{'Pearson, +1 is perfect':24}", *(f"{share:>7.0%}" for share in SHARES))
    for name, values in table.items():
        print(f"{name:24}", *(f"{value:+7.2f}" for value in values))
    lost = {name: values[-1] - min(values) for name, values in table.items()}
    worst = max(lost, key=lambda name: lost[name])
    usual = float(np.median([lost[name] for name in SCORES]))
    for name in (BOUND, ACCURACY):
        steady, strong = lost[name] <= usual, min(table[name]) > 0.5
        run.claim(
            f"Fig. 5: task-relatedness stays correlated with a small share of the target, others do not [{name}]",
            "held" if steady and strong else "held in part" if steady or strong else "did not hold",
            f"{table[name][0]:+.2f} at 5 %, {table[name][-1]:+.2f} at 100 %; it lost {lost[name]:.2f}, "
            f"median of the others {usual:.2f}, worst {worst} {lost[worst]:.2f}",
        )
    run.finish(rows, draw(table), correlations=table)


def scored(run: Run, name: str, target: str, reference: str, share: float) -> dict[str, float]:
    """Return the scores on a share of the fitting rows."""
    task = sampled(run.tasks(name, target)[0], share)
    inputs = ScoreInputs(
        task.features, task.labels, None, run.tasks(name, reference)[0], run.encoder(name).n_parameters
    )
    with threadpool_limits(1, "blas"):
        results, _ = compute_many(SCORES, inputs)
    return {key: float(value) for key, value in results.items() if np.isfinite(float(value))}


def correlation(rows: list[dict[str, Any]], name: str, share: float) -> float:
    """Return the mean over targets of Pearson's r, in the direction of the score."""
    sign = -1 if name == BOUND or (name != ACCURACY and not available()[name].higher_is_better) else 1
    found = []
    for target in TARGETS:
        mine = [row for row in rows if (row["target"], row["share"]) == (target, share) and name in row]
        found.append(sign * pearsonr([row[name] for row in mine], [row["accuracy"] for row in mine])[0])
    return float(np.mean(found))


def draw(table: dict[str, list[float]]) -> Any:
    """Draw a line for each score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for name, values in table.items():
        ax.plot(
            [100 * share for share in SHARES], values, marker="o", lw=3 if name in (BOUND, ACCURACY) else 1, label=name
        )
    ax.set_xscale("log")
    ax.set_xlabel("% of the target's fitting rows")
    ax.set_ylabel("Pearson with fine-tuned accuracy")
    ax.legend(fontsize=6, frameon=False)
    return figure


if __name__ == "__main__":
    main()
