"""Are labels of a target without labels better guessed once, or again and again while the map is fitted?

    python experiments/pseudo_labels.py --data FOLDER [--quick]

Line 7 of the paper's Algorithm 1 guesses them in every step. Compared, by the share of right guesses: the predictions
of the reference's classifier on the standardised target, where no map is fitted yet; the guesses of the default, which
maps and guesses in turn until they stay the same; and Algorithm 1, which starts from those, without and with guessing
anew every ten epochs.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from _common import DEFAULT, Run, options
from sklearn.metrics import accuracy_score
from threadpoolctl import threadpool_limits

from transferability import Task, TaskRelatedness
from transferability.relatedness.solvers import algorithm1

PAIRS = (
    ("conv-mnist", "mnist", "mnist_m_cifar"),
    ("conv-mnist-m", "mnist_m_cifar", "mnist"),
    ("vit-mnist-m", "mnist_m_cifar", "mnist"),
)
EPOCHS = 300
ONCE, ROUNDS = "once, before any map", "default: map and guess in turn"
KEPT, ANEW = "Algorithm 1, guesses kept", "Algorithm 1, guessed anew every ten epochs"


def main() -> None:
    """Guess in each way, and count."""
    run = Run("pseudo_labels", options(__doc__))
    rows: list[dict[str, Any]] = []
    for name, reference, target in PAIRS[:2] if run.quick else PAIRS:
        found = run.kept("guesses", name, target, lambda n=name, r=reference, t=target: guessed(run, n, r, t),
                         reference=reference, epochs=EPOCHS)  # fmt: skip
        rows.append({"encoder": name, "reference": reference, "target": target} | found)
        print(name, reference, target, *(f"{key} {value:.1%}" for key, value in found.items()), flush=True)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in (ONCE, ROUNDS, KEPT, ANEW)}
    better = sum(row[ANEW] > row[KEPT] for row in rows)
    run.claim(
        "Algorithm 1, line 7: pseudo-labels guessed anew while the map is fitted are better than those guessed once",
        "held" if better == len(rows) else "held in part" if better else "did not hold",
        "; ".join(f"{key}: {value:.1%} right" for key, value in mean.items())
        + f"; mean of {len(rows)} pairs of digits",
    )
    run.finish(rows)


def guessed(run: Run, name: str, reference: str, target: str) -> dict[str, float]:
    """Return the share of right guesses, by how they were made."""
    source, task = run.tasks(name, reference)[0], run.tasks(name, target)[0]
    unlabelled = Task(task.features, None, name=task.name, class_names=task.class_names)

    def right(estimator: TaskRelatedness) -> float:
        with threadpool_limits(1, "blas"):
            return float(accuracy_score(task.labels, estimator.fit(source, unlabelled).pseudo_labels))

    with threadpool_limits(1, "blas"):
        result = DEFAULT.fit(source, unlabelled)
        once = result.reference_classifier.logits(result.transform.target_scaler.apply(task.features)).argmax(axis=1)
    descent = TaskRelatedness(0.2, solver="sgd", epochs=EPOCHS)
    with patch.object(algorithm1, "_GUESS_EVERY", EPOCHS):  # never before its end
        kept = right(descent)
    return {
        ONCE: float(accuracy_score(task.labels, result.class_map.argsort()[once])),
        ROUNDS: float(accuracy_score(task.labels, result.pseudo_labels)),
        KEPT: kept,
        ANEW: right(descent),
    }


if __name__ == "__main__":
    main()
