r"""Is a reference classifier that is trained for the bound better than one trained for the reference?

    python experiments/joint_classifier.py --data FOLDER

With the exact cost and a fixed plan, reference loss + distribution mismatch is a mean of
:math:`\max(-\log h_j(u), -\log h_j(f(v)))` over coupled pairs, jointly convex in the logits :math:`W u + b` of the
reference classifier and :math:`V z + c` of the mapped target. Starting from the default's fit, both are trained for it
on the fitting part, with a ridge on how far they go (softened maximum, coupling renewed in rounds), and everything is
measured on rows that nothing was fitted on, by `certify`. Every ridge is shown: the best of them is chosen in
hindsight, which favours the joint classifier. FOLDER holds ``real_zoo/ENCODER.npz``, as for `tau_scale.py`, and
``finetuned_truth.json``: where every encoder is there, the order that each classifier gives them, by the closest
reference, is compared with that of their fine-tuned accuracies.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _agreement import MEASURES, agreement, read_truth
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from tau_scale import tasks_of
from threadpoolctl import threadpool_limits

from transferability import Task, TaskRelatedness, certify

RIDGES = (1e-2, 1e-1, 1.0, 10.0)
ROUNDS, SOFTNESS = 5, 0.05  # of the coupling; nats
RESULTS = Path(__file__).parent / "results" / "joint_classifier.json"
Parameters = tuple[np.ndarray, np.ndarray]
"""(K_R, d + 1) each: logits of the reference, logits of the mapped target; the intercept is the last column."""


class Sample(NamedTuple):
    """Standardised features with a column of ones, the reference class of each row, and rows by that class."""

    features: np.ndarray
    classes: np.ndarray

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """Return -log h_j of each row."""
        return -log_softmax(self.features @ weights.T, axis=1)[np.arange(len(self.classes)), self.classes]

    def gradient(self, weights: np.ndarray, mass: np.ndarray) -> np.ndarray:
        """Return the gradient of the losses, weighted."""
        residual = softmax(self.features @ weights.T, axis=1)
        residual[np.arange(len(self.classes)), self.classes] -= 1
        return (mass[:, None] * residual).T @ self.features


def coupled(left: Sample, right: Sample, start: Parameters) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of the reference, rows of the target and masses of the sorted coupling within each class."""
    losses, pairs = (left.losses(start[0]), right.losses(start[1])), []
    for each in np.unique(right.classes):
        rows = [np.flatnonzero(sample.classes == each) for sample in (left, right)]
        rows = [mine[np.argsort(of[mine])] for mine, of in zip(rows, losses, strict=True)]
        ends = np.unique(np.concatenate([np.arange(1, len(mine) + 1) / len(mine) for mine in rows]))
        widths = np.diff(ends, prepend=0.0)
        middle = ends - widths / 2
        pairs.append([*(mine[(middle * len(mine)).astype(int)] for mine in rows), widths * len(rows[1])])
    return tuple(np.concatenate(column) for column in zip(*pairs, strict=True))  # type: ignore[return-value]


def trained(left: Sample, right: Sample, start: Parameters, ridge: float) -> Parameters:
    """Return both classifiers after rounds of L-BFGS on the softened maximum."""
    shape, found = (2, *start[0].shape), np.stack(start)
    origin = found.copy()
    for _ in range(ROUNDS):
        one, other, mass = coupled(left, right, (found[0], found[1]))
        mass = mass / mass.sum()

        def cost(flat: np.ndarray, one=one, other=other, mass=mass) -> tuple[float, np.ndarray]:
            both = flat.reshape(shape)
            a, b = left.losses(both[0])[one], right.losses(both[1])[other]
            higher = expit((b - a) / SOFTNESS)
            value = mass @ (np.maximum(a, b) + SOFTNESS * np.log1p(np.exp(-np.abs(a - b) / SOFTNESS)))
            parts = (
                sample.gradient(weights, np.bincount(rows, mass * share, len(sample.classes)))
                for sample, weights, rows, share in ((left, both[0], one, 1 - higher), (right, both[1], other, higher))
            )
            away = both - origin
            return value + ridge / 2 * (away**2).sum(), (np.stack(list(parts)) + ridge * away).ravel()

        found = minimize(cost, found.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 40}).x.reshape(shape)
    return found[0], found[1]


def certified(left: Sample, right: Sample, target: Task, parameters: Parameters, class_map: np.ndarray) -> list[float]:
    """Return bound, transferred loss and accuracy of two classifiers."""
    W, V = parameters
    inverse = np.linalg.pinv(W[:, :-1])
    found = certify(
        Task(left.features[:, :-1], left.classes),
        Task(right.features, target.labels, class_names=target.class_names),
        lambda u: u @ W[:, :-1].T + W[:, -1],
        lambda z: (z @ V.T - W[:, -1]) @ inverse.T,  # a map to features that have these logits
        class_map=class_map,
        ground_cost="exact",
    )
    return [found.bound, found.transferred_loss, found.transferred_accuracy]


def compared(reference: Task, target: Task) -> list[list[float]]:
    """Return what the default gives on held-out rows, and the joint classifier with each ridge."""

    def parts(task: Task) -> tuple[Task, Task]:
        rows = np.arange(len(task))
        return task.subset(rows[rows % 10 > 2]), task.subset(rows[rows % 10 <= 2])

    references, targets = parts(reference), parts(target)
    with threadpool_limits(1, "blas"):
        found = TaskRelatedness().fit(references[0], targets[0], references[1], targets[1])
        transform, class_map = found.transform, found.class_map
        both = ((references, transform.reference_scaler), (targets, transform.target_scaler))
        samples = []
        for tasks, scaler in both:
            for task in tasks:
                ones = np.ones((len(task), 1))
                classes = task.labels if tasks is references else class_map[task.labels]
                samples.append(Sample(np.hstack([scaler.apply(task.features), ones]), classes))
        place = transform.feature_map.then(transform.weights, transform.intercept)
        start = tuple(
            np.column_stack(each) for each in ((transform.weights, transform.intercept), (place.matrix, place.offset))
        )
        result = [certified(samples[1], samples[3], targets[1], start, class_map)]
        for ridge in RIDGES:
            joint = trained(samples[0], samples[2], start, ridge)
            result.append(certified(samples[1], samples[3], targets[1], joint, class_map))
    return result


def ordered(
    found: dict[tuple[str, str], list[np.ndarray]], names: tuple[str, ...], data: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Return how far accuracies, and bounds, of the closest reference agree with fine-tuned accuracy, by classifier."""
    encoders, targets = (sorted(set(column)) for column in zip(*found, strict=True))
    truth = read_truth(data, encoders).means
    orders: dict[str, dict[str, dict[str, float]]] = {}
    for k, name in enumerate(names):
        closest = {cell: min((each[k] for each in values), key=lambda row: row[0]) for cell, values in found.items()}
        orders[name] = {}
        for criterion, column, sign in (("accuracy", 2, 1), ("bound", 0, -1)):
            said = {cell: sign * float(row[column]) for cell, row in closest.items()}
            parts = [agreement(said, truth, target, encoders) for target in targets]
            orders[name][criterion] = {
                measure: float(np.mean([part[measure] for part in parts])) for measure in MEASURES
            }
    return orders


def main() -> None:
    """Compare on all pairs, print and write the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument(
        "--targets",
        nargs="*",
        default=["cifar10", "fashion_mnist", "mnist_m_cifar", "omniglot_alphabet", "sign_digits"],
    )
    parser.add_argument("--references", nargs="*", default=["mnist", "fashion_mnist"])
    parser.add_argument("--encoders", nargs="*", help="by default all there are")
    options = parser.parse_args()
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for path in sorted((options.data / "real_zoo").glob("*.npz")):
        if options.encoders and path.stem not in options.encoders:
            continue
        tasks = tasks_of(path, options.rows)
        for target in options.targets:
            for reference in options.references:
                if reference != target and {reference, target} <= set(tasks):
                    values = np.array(compared(tasks[reference], tasks[target]))  # (1 + ridges, 3)
                    found.setdefault((path.stem, target), []).append(values)
                    print(path.stem, target, reference, np.round(values, 3).tolist(), flush=True)
    values = np.array([each for pairs in found.values() for each in pairs])  # (pairs, 1 + ridges, 3)
    names = ("default", *(f"joint, ridge {ridge:g}" for ridge in RIDGES))
    rows = [
        {"classifier": name, "bound": b, "loss": loss, "accuracy": a, "lower bound than the default": float(share)}
        for name, (b, loss, a), share in zip(
            names, values.mean(axis=0).tolist(), (values[:, :, 0] < values[:, :1, 0]).mean(axis=0), strict=True
        )
    ]
    asked = {key: value for key, value in vars(options).items() if key != "data"}
    orders = ordered(found, names, options.data) if not options.encoders else {}
    for row in rows:
        row |= {measure: orders[row["classifier"]]["accuracy"][measure] for measure in MEASURES[:2] if orders}
    written = {"asked": asked, "pairs": len(values), "rows": rows, "orders": orders}
    RESULTS.write_text(json.dumps(written, indent=1) + "\n")
    for name, criteria in orders.items():
        for criterion, measures in criteria.items():
            print(name, criterion, {measure: round(value, 2) for measure, value in measures.items()})
    for row in rows:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})


if __name__ == "__main__":
    main()
