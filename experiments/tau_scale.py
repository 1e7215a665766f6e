"""Which τ, where the scale of the logits is fitted? Bound and transferred accuracy by τ, on real encoders.

    python experiments/tau_scale.py --data FOLDER

FOLDER holds ``real_zoo/ENCODER.npz``: features and labels by data-set name (``cifar10``, ``cifar10_labels``, …). Each
target is related to each other data set and to its own other half, cross-fitted. Printed: means over all of them, and
how often a τ has the smallest bound.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from transferability import Task, TaskRelatedness

TAUS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # times 1 / √d
REFERENCES = ("mnist", "cifar10", "fashion_mnist")
RESULTS = Path(__file__).parent / "results" / "tau_scale.json"


def tasks_of(path: Path, rows: int) -> dict[str, Task]:
    """Return the data sets of one encoder, the same rows of each."""
    tasks = {}
    with np.load(path) as archive:
        for name in archive.files:
            if not name.endswith("_labels"):
                chosen = np.random.default_rng(0).permutation(len(archive[name]))[:rows]
                features = archive[name][chosen].astype(np.float64)
                tasks[name] = Task(features, archive[f"{name}_labels"][chosen], name=name)
    return tasks


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--targets", nargs="*", default=["cifar10", "mnist_m_cifar", "omniglot_alphabet"])
    parser.add_argument("--references", nargs="*", default=list(REFERENCES))
    parser.add_argument("--encoders", nargs="*", help="by default all there are")
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {str(tau): [] for tau in TAUS}
    started = time.process_time()
    for path in sorted((options.data / "real_zoo").glob("*.npz")):
        if options.encoders and path.stem not in options.encoders:
            continue
        tasks = tasks_of(path, options.rows)
        for target in options.targets:
            for reference in (*options.references, None):
                if reference == target:
                    continue
                for tau in TAUS:
                    alive = int((np.ptp(tasks[target].features, axis=0) > 0).sum())
                    model = TaskRelatedness(tau / alive**0.5)
                    fit, test = None, None
                    if reference is not None:
                        rows = np.arange(len(tasks[reference]))
                        fit, test = (tasks[reference].subset(rows[part]) for part in (rows % 10 > 2, rows % 10 <= 2))
                    result = model.fit(fit, tasks[target], test, folds=3)
                    found[str(tau)].append([result.bound, result.transferred_loss, result.transferred_accuracy])
        print(path.stem, f"{time.process_time() - started:.0f} CPU s", flush=True)
    values = np.array([found[str(tau)] for tau in TAUS])  # (τ, pairs, 3)
    first = np.bincount(values[:, :, 0].argmin(axis=0), minlength=len(TAUS))
    rows = [
        {"tau": tau, "bound": b, "loss": loss, "accuracy": accuracy, "smallest_bound": int(count)}
        for tau, (b, loss, accuracy), count in zip(TAUS, values.mean(axis=1).tolist(), first, strict=True)
    ]
    asked = {key: value for key, value in vars(options).items() if key != "data"}
    RESULTS.write_text(json.dumps({"asked": asked, "pairs": values.shape[1], "rows": rows}, indent=1) + "\n")
    for row in rows:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})


if __name__ == "__main__":
    main()
