"""Does the bound with a panel of references rank a mixed zoo of encoders? Against linear probes; not in the paper.

Each data set in turn is the target, the others are the panel. For each encoder the smallest bound of the panel stands.
Printed: Pearson and Kendall correlation, over encoders, of the bound, of loss and transferred accuracy, and of a few
scores with the accuracy of a linear probe on held-out samples; also for the paper's form (Euclidean cost, τ = 0.2).

    python experiments/panel.py --data FOLDER --out results/panel.json

FOLDER holds cifar10.npz, mnist.npz, fashion_mnist.npz, sign_digits.npz (see `_data.py`). Encoders come from packages;
those that are not installed are left out and named. Features are kept in the cache: a second run takes minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from _data import pictures
from scipy.stats import kendalltau, pearsonr
from threadpoolctl import threadpool_limits

from transferability import Task, TaskRelatedness, TransferabilityError, scores
from transferability.encoders import load_encoder
from transferability.features import extract_features, read_features
from transferability.relatedness.tasks.standardize import Scaler

DATA = ("cifar10", "mnist", "fashion_mnist", "sign_digits")
ENCODERS = (
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
    "clip-vit-b16",
    "open-nsfw",
    "pp-lcnet-orientation",
    "ddddocr",
    "pp-ocr",
    "brain-mri-vgg16",
    "vit-s-saliency",
)
SETTINGS = {
    "bound (default)": TaskRelatedness(),
    "bound (τ auto)": TaskRelatedness(tau="auto"),
    "bound (τ = 0.2)": TaskRelatedness(tau=0.2),
    "bound (Euclidean cost, τ = 0.2)": TaskRelatedness(tau=0.2, ground_cost="euclidean", scale=False),
}
OTHERS = {"LogME": "logme", "H-score, shrunk": "h_score_shrunk", "N-LEEP": "n_leep", "OTCE": "otce"}


def main() -> None:
    """Measure every encoder on every target, then correlate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, help="folder with ENCODER/DATA_PART.npz instead of extracting")
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    zoo = {}
    for name in ENCODERS:
        try:
            zoo[name] = load_tasks(name, options)
            print(f"features of {name}", flush=True)
        except (TransferabilityError, OSError) as error:
            print(f"left out {name}: {error}", flush=True)
    rows = [measure(name, zoo[name], target) for name in zoo for target in DATA]
    summary = correlate(rows)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rows": rows, "correlations": summary}, indent=1) + "\n")


def load_tasks(encoder: str, options: argparse.Namespace) -> dict[tuple[str, str], Task]:
    """Return a task for each data set and part."""
    tasks = {}
    loaded = None
    for data in DATA:
        for part, limit in (("train", options.train), ("test", options.test)):
            if options.features:
                found = read_features(options.features / encoder / f"{data}_{part}.npz")
            else:
                loaded = loaded or load_encoder(f"packaged:{encoder}")
                found = extract_features(loaded, pictures(options.data, data, part, limit))
            tasks[data, part] = Task(found.features, found.labels, name=data, class_names=found.class_names)
    return tasks


def measure(encoder: str, tasks: dict[tuple[str, str], Task], target: str) -> dict[str, object]:
    """Return everything that is known of one encoder on one target."""
    fit, test = tasks[target, "train"], tasks[target, "test"]
    panel = [data for data in DATA if data != target]
    row: dict[str, Any] = {"encoder": encoder, "target": target, "probe": probe(fit, test)}
    for name, estimator in SETTINGS.items():
        started = time.process_time()
        result = estimator.fit(
            [tasks[data, "train"] for data in panel], fit, [tasks[data, "test"] for data in panel], test
        )
        row[name] = result.bound
        row[name.replace("bound", "transferred loss")] = result.transferred_loss
        row[name.replace("bound", "transferred accuracy")] = result.transferred_accuracy
        row[f"{name}: details"] = {
            "reference": result.reference,
            "tau": result.tau,
            "transferred_accuracy": result.transferred_accuracy,
            "transferability": result.transferability,
            "panel": {each.reference: each.bound for each in result.references},
            "cpu_seconds": time.process_time() - started,
        }
    closest = row[f"{next(iter(SETTINGS))}: details"]["reference"]
    with threadpool_limits(1, "blas"):
        inputs = scores.ScoreInputs(fit.features, fit.labels, reference=tasks[closest, "train"])
        row |= {name: float(scores.compute(score, inputs)) for name, score in OTHERS.items()}
    print(encoder, target, f"probe {row['probe']:.3f}", *(f"{name} {row[name]:.3f}" for name in SETTINGS), flush=True)
    return row


def probe(fit: Task, test: Task) -> float:
    """Return the accuracy of logistic regression, its strength chosen on a quarter of the fitting part."""
    from sklearn.linear_model import LogisticRegression

    scaler = Scaler.fit(fit.features)
    x, y = scaler.apply(fit.features), fit.require_labels()
    held_out = np.random.default_rng(0).permutation(len(y)) < len(y) // 4
    with threadpool_limits(1, "blas"):

        def accuracy(strength: float, rows: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
            model = LogisticRegression(C=strength, max_iter=2000, tol=1e-3).fit(x[rows], y[rows])
            return float(model.score(features, labels))

        grid = (1e-4, 1e-3, 1e-2, 1e-1)
        best = max(grid, key=lambda c: accuracy(c, ~held_out, x[held_out], y[held_out]))
        return accuracy(best, np.ones(len(y), bool), scaler.apply(test.features), test.require_labels())


def correlate(rows: list[dict[str, object]]) -> dict[str, dict[str, list[float]]]:
    """Print and return the correlations with probe accuracy, per target and in the mean."""
    print(f"\n{'Pearson (Kendall) with probe accuracy':38}", *(f"{data:>15}" for data in DATA), f"{'mean':>15}")
    summary = {}
    kinds = ("bound", "transferred loss", "transferred accuracy")
    ours = [name.replace("bound", kind) for name in SETTINGS for kind in kinds]
    for name in (*ours, *OTHERS):
        pairs = []
        for target in DATA:
            mine = [row for row in rows if row["target"] == target]
            values, truth = [row[name] for row in mine], [row["probe"] for row in mine]
            pairs.append((float(pearsonr(values, truth)[0]), float(kendalltau(values, truth)[0])))
        pairs.append(tuple(np.mean(pairs, axis=0)))
        print(f"{name:38}", *(f"{f'{r:+.2f} ({k:+.2f})':>15}" for r, k in pairs))
        summary[name] = {"pearson": [r for r, _ in pairs], "kendall": [k for _, k in pairs]}
    return summary


if __name__ == "__main__":
    main()
