"""Statistics in place of samples: how far the estimates are from the bounds, and what a pack weighs.

    python benchmarks/packs.py --data FOLDER [--size]

FOLDER holds ``features_mnist_to_{digits,mnistm}.npz`` (features of both tasks, training and test parts). ``--size``
makes packs of 1,000 classes × 2,048 features instead. Set OMP_NUM_THREADS=1 to compare with other figures.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, pearsonr

from transferability import Relatedness, Task, TaskRelatedness
from transferability.relatedness.packs.pack import ReferencePack, scaler_of
from transferability.statistics.classes import class_statistics

FORMS = ("full", "low-rank", "shared")


class Tasks(NamedTuple):
    """Training and test parts of reference and target."""

    reference: Task
    reference_test: Task
    target: Task
    target_test: Task


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--size", action="store_true", help="size of packs instead")
    options = parser.parse_args()
    if options.size:
        weigh()
    elif options.data is None:
        parser.error("--data FOLDER or --size is needed")
    else:
        for name in ("digits", "mnistm"):
            tasks = load(options.data / f"features_mnist_to_{name}.npz")
            compare(f"MNIST → {name}", tasks)
            rank_encoders(name, tasks)


def load(path: Path) -> Tasks:
    """Read the four parts."""
    with np.load(path) as file:
        return Tasks(
            *(Task(file[part], file[f"{part}_y"]) for part in ("ref_train", "ref_test", "tgt_train", "tgt_test"))
        )


def compare(title: str, tasks: Tasks) -> None:
    """Fit samples, then packs, with the same ground cost; everything is measured on the test parts."""
    print(f"\n{title}: measured on the test part, nats")
    print(f"{'':34}{'bound':>8}{'L':>8}{'H':>8}{'W':>8}{'loss h′':>8}{'acc %':>7}{'CPU s':>7}")
    settings = [
        ("τ = 0.2", {"tau": 0.2, "ground_cost": "loss"}, tasks),
        ("τ = 0.5", {"tau": 0.5, "ground_cost": "loss"}, tasks),
        ("τ auto", {"tau": "auto", "ground_cost": "loss"}, tasks),
        ("τ = 0.2, five classes", {"tau": 0.2, "ground_cost": "loss"}, tasks._replace(**few_classes(tasks))),
        ("τ = 0.2, Euclidean", {"tau": 0.2, "ground_cost": "euclidean"}, tasks),
        ("τ = 0.2, Γ of Eq. 5", {"tau": 0.2, "ground_cost": "gamma"}, tasks),
    ]
    for name, chosen, parts in settings:
        if chosen.get("ground_cost") != "gamma":
            report(f"{name}: samples", *timed(TaskRelatedness(**chosen), *parts))
        for form in FORMS:
            pack = ReferencePack.from_task(parts.reference, parts.reference_test, tau=chosen["tau"], covariance=form)
            model = TaskRelatedness(solver="statistics", **chosen)
            report(f"{name}: {form}", *timed(model, pack, None, parts.target, parts.target_test))


def few_classes(tasks: Tasks) -> dict[str, Task]:
    """Return the target with its classes 5 to 9 only: the classifier of the pack knows five classes too many."""

    def last(task: Task) -> Task:
        rows = np.flatnonzero(task.require_labels() >= 5)
        return Task(task.features[rows], task.require_labels()[rows] - 5)

    return {"target": last(tasks.target), "target_test": last(tasks.target_test)}


def timed(
    model: TaskRelatedness,
    reference: Task | ReferencePack,
    reference_test: Task | None,
    target: Task,
    target_test: Task,
) -> tuple[Relatedness, float]:
    """Fit and return the CPU seconds."""
    started = time.process_time()
    result = model.fit(reference, target, reference_test, target_test)
    return result, time.process_time() - started


def report(name: str, result: Relatedness, seconds: float) -> None:
    """Print a row."""
    terms = (result.bound, result.reference_loss, result.label_mismatch, result.distribution_mismatch)
    print(
        f"{name:34}"
        + "".join(f"{term:8.3f}" for term in terms)
        + f"{result.transferred_loss:8.3f}{100 * (result.transferred_accuracy or 0):7.1f}{seconds:7.2f}"
    )


def rank_encoders(name: str, tasks: Tasks) -> None:
    """Rank stand-ins for encoders, a part of the features with noise added, by the bound and by its estimates."""
    bounds: dict[str, list[float]] = {key: [] for key in ("samples", *FORMS)}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        columns = rng.choice(tasks.reference.n_features, int(rng.integers(10, 150)), replace=False)
        noise = float(rng.uniform(0.0, 1.5))
        reference, reference_test, target, target_test = (
            Task(
                each.features[:, columns] + noise * each.features.std() * rng.normal(size=(len(each), len(columns))),
                each.labels,
            )
            for each in tasks
        )
        model = TaskRelatedness(tau=0.5, ground_cost="loss")
        bounds["samples"].append(model.fit(reference, target, reference_test, target_test).bound)
        for form in FORMS:
            pack = ReferencePack.from_task(reference, reference_test, tau=0.5, covariance=form)
            estimate = TaskRelatedness(tau=0.5, solver="statistics").fit(pack, target, target_test=target_test)
            bounds[form].append(estimate.bound)
    truth = np.array(bounds["samples"])
    print(
        f"\n12 stand-ins for encoders, {name}, τ = 0.5: bounds {truth.min():.2f} … {truth.max():.2f}; estimates agree:"
    )
    for form in FORMS:
        found = np.array(bounds[form])
        agreement = f"Pearson {pearsonr(truth, found)[0]:.3f}, Kendall {kendalltau(truth, found)[0]:.3f}"
        print(f"{form:10} {agreement}, mean difference {np.mean(found - truth):+.3f} nats")


def weigh(n_classes: int = 1000, n_features: int = 2048, per_class: int = 24) -> None:
    """Make packs of many classes, without classifiers, and print their size; each of these would add 8 K d bytes."""
    rng = np.random.default_rng(0)
    print(f"{n_classes:,} classes × {n_features:,} features")
    print(f"{'':16}{'MB':>8}{'CPU s to sum up':>18}{'to merge':>10}{'to save':>10}{'to load':>10}{'peak GB':>10}")
    for form, rank in (("shared", 1), ("low-rank", 4), ("low-rank", 16)):
        means = rng.normal(size=(n_classes, n_features)).astype(np.float32)
        labels = np.tile(np.arange(n_classes), per_class)
        clock = [time.process_time()]
        total = None
        merging = 0.0
        for start in range(0, len(labels), 4 * n_classes):  # a stream of blocks
            block = labels[start : start + 4 * n_classes]
            features = means[block] + rng.normal(size=(len(block), n_features)).astype(np.float32)
            part = class_statistics(features, block, n_classes, covariance=form, rank=rank)
            before = time.process_time()
            total = part if total is None else total.merge(part)
            merging += time.process_time() - before
        clock.append(time.process_time())
        assert total is not None
        pack = ReferencePack("synthetic", total, scaler=scaler_of(total))
        with tempfile.TemporaryDirectory() as folder:
            path = pack.save(Path(folder) / "pack.safetensors")
            clock.append(time.process_time())
            size = path.stat().st_size / 1e6
            ReferencePack.load(path)
            clock.append(time.process_time())
        seconds = np.diff(clock)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        name = f"{form} {rank}" if form == "low-rank" else form
        spent = (seconds[0] - merging, merging, seconds[1], seconds[2])
        print(f"{name:16}{size:8.0f}{spent[0]:18.1f}" + "".join(f"{each:10.1f}" for each in (*spent[1:], peak)))


if __name__ == "__main__":
    main()
