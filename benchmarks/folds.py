"""CPU seconds of one fit of task-relatedness, measured on the fitting rows and in five folds: 600 × 1,280 features.

    python benchmarks/folds.py --data FOLDER

FOLDER holds ``real_zoo/efficientnet-lite2.npz``, as for ``experiments/real_zoo.py``. Set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from transferability import Task, TaskRelatedness
from transferability.datasets import split

N_ROWS = 600


def main() -> None:
    """Fit CIFAR-10 from MNIST once to load what is loaded late, then each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with np.load(options.data / "real_zoo" / "efficientnet-lite2.npz") as archive:
        tasks = {}
        for name in ("mnist", "cifar10"):
            rows = rng.permutation(len(archive[name]))[:N_ROWS]
            tasks[name] = Task(archive[name][rows].astype(np.float64), archive[f"{name}_labels"][rows], name=name)
    fit, test = (tasks["mnist"].subset(rows) for rows in split(tasks["mnist"].labels, 0.3, 0))
    target = tasks["cifar10"]
    TaskRelatedness().fit(fit.subset(np.arange(100)), target.subset(np.arange(200)))
    for folds in (None, 5):
        started = time.process_time()
        result = TaskRelatedness().fit(fit, target, test, folds=folds)
        seconds = time.process_time() - started
        how = "on the fitting rows" if folds is None else f"in {folds} folds"
        print(f"{how}: {seconds:.2f} CPU seconds, bound {result.bound:.3f} nats")


if __name__ == "__main__":
    main()
