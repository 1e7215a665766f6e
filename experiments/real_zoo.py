"""How tight the bound is, and how it orders nine real encoders of different families against fine-tuned accuracy.

    python experiments/real_zoo.py --data FOLDER [--rows 1000] [--jobs 2]

FOLDER holds ``real_zoo/ENCODER.npz`` (last-layer features and labels of 1,000 rows by data-set name) and
``finetuned_truth.json`` (test accuracy after end-to-end fine-tuning on the same rows). No option was chosen by that
truth. For each encoder and target: the closest of the references (the other data sets of `REFERENCES`), the target's
own other half, a linear probe, LogME and kNN; all cross-fitted in five folds where rows are measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, pearsonr

from transferability import Task, TaskRelatedness, scores
from transferability.datasets import folds, split

TARGETS = ("cifar10", "fashion_mnist", "mnist_m_cifar", "omniglot_alphabet", "sign_digits")
REFERENCES = ("cifar10", "mnist", "fashion_mnist", "sign_digits")
RESULTS = Path(__file__).parent / "results" / "real_zoo.json"


def truth_of(folder: Path) -> dict[tuple[str, str], float]:
    """Return the mean accuracy over seeds of each encoder and target."""
    runs: dict[tuple[str, str], list[float]] = {}
    for run in json.loads((folder / "finetuned_truth.json").read_text())["runs"]:
        runs.setdefault((run["encoder"], run["target"]), []).append(run["accuracy"])
    return {key: float(np.mean(each)) for key, each in runs.items()}


def measure(path: Path, target: str, rows: int) -> dict[str, Any]:
    """Return what is said of one encoder and target before fine-tuning."""
    with np.load(path) as archive:
        tasks = {
            name: Task(archive[name][:rows].astype(np.float64), archive[f"{name}_labels"][:rows], name=name)
            for name in {target, *REFERENCES}
        }
    task = tasks[target]
    parts = tuple(folds(task.labels, 5, 0))
    others = [tasks[name] for name in REFERENCES if name != target]
    halves = [split(each.labels, 0.3, 0) for each in others]
    references = [each.subset(fit) for each, (fit, _) in zip(others, halves, strict=True)]
    tests = [each.subset(test) for each, (_, test) in zip(others, halves, strict=True)]
    model = TaskRelatedness()
    closest, own = model.fit(references, task, tests, folds=parts), model.fit(None, task, folds=parts)
    probe = scores.cross_fitted_probe(task.features, task.labels, parts)
    said: dict[str, Any] = {"encoder": path.stem, "target": target, "reference": closest.reference}
    for name, result in (("reference", closest), ("own half", own)):
        said[f"{name}: bound"] = result.bound
        said[f"{name}: transferred loss"] = result.transferred_loss
        said[f"{name}: transferred accuracy"] = result.transferred_accuracy
    said |= {"linear probe: loss": probe.loss, "linear probe": probe.accuracy}
    said |= {"LogME": float(scores.logme(task.features, task.labels))}
    said |= {"kNN": float(scores.knn(task.features, task.labels))}
    return said


LOWER = ("bound", "loss")


def agreements(found: list[dict[str, Any]], truth: dict[tuple[str, str], float]) -> Iterator[dict[str, Any]]:
    """Yield each criterion's agreement with the truth: the mean over targets of correlations and regret."""
    criteria = [name for name in found[0] if name not in ("encoder", "target", "reference")]
    for name in criteria:
        sign = -1 if name.endswith(LOWER) else 1
        values = []
        for target in TARGETS:
            rows = [each for each in found if each["target"] == target and (each["encoder"], target) in truth]
            said = np.array([sign * each[name] for each in rows])
            fine_tuned = np.array([truth[each["encoder"], target] for each in rows])
            values.append(
                [
                    pearsonr(said, fine_tuned)[0],
                    kendalltau(said, fine_tuned)[0],
                    fine_tuned.max() - fine_tuned[said.argmax()],
                ]
            )
        pearson, kendall, regret = np.mean(values, axis=0).tolist()
        yield {"criterion": name, "pearson": pearson, "kendall": kendall, "regret": regret}


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    truth = truth_of(options.data)
    paths = sorted((options.data / "real_zoo").glob("*.npz"))
    cells = [(path, target) for path in paths for target in TARGETS]
    with ProcessPoolExecutor(options.jobs) as pool:
        found = list(pool.map(measure, *zip(*cells, strict=True), [options.rows] * len(cells)))
    gaps = {
        name: float(np.mean([each[f"{name}: bound"] - each["linear probe: loss"] for each in found]))
        for name in ("reference", "own half")
    }
    summary = {
        "rows": options.rows,
        "gap to the linear probe's loss": gaps,
        "agreement": list(agreements(found, truth)),
    }
    RESULTS.write_text(json.dumps(summary | {"cells": found}, indent=1) + "\n")
    print("mean gap between the bound and the loss of a linear probe, nats:", gaps)
    for row in summary["agreement"]:
        print(
            f"{row['criterion']:34} Pearson {row['pearson']:+.2f}  Kendall {row['kendall']:+.2f}  "
            f"regret {row['regret']:.3f}"
        )


if __name__ == "__main__":
    main()
