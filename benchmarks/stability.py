"""How far results move when features differ by rounding, beside what the sample leaves uncertain.

    python benchmarks/stability.py --data FOLDER
    python benchmarks/stability.py --data FOLDER --files mnist_to_digits efficientnet-lite2:mnist:sign_digits --draws 3
    python benchmarks/stability.py --data FOLDER --rows 120   # few

Each feature is multiplied by 1 + 1e-7 u, u uniform in (−1, 1), as between two libraries that add in another order.
Printed for every pair of tasks and every way to measure: the bound and the transferred accuracy, the largest move of
each over the draws, its sampling error (standard error of the mean over the target's rows), how often the ridge or a
reference class changed, and CPU seconds of a fit. FOLDER holds ``features_mnist_to_TARGET.npz`` and
``real_zoo/ENCODER.npz``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from transferability import Relatedness, Task, TaskRelatedness
from transferability.datasets import split, stratified_sample

ROUNDING = 1e-7
FILES = (
    "mnist_to_digits",
    "mnist_to_mnistm",
    *(f"{name}:mnist:{target}" for name in ("efficientnet-lite2", "pp-ocr") for target in ("sign_digits", "cifar10")),
    *(f"{name}:cifar10:mnist_m_cifar" for name in ("vit-s-saliency", "pp-lcnet-orientation")),
)
Arrays = tuple[np.ndarray, np.ndarray]


def load(folder: Path, name: str) -> tuple[Arrays, Arrays, Arrays, Arrays]:
    """Return reference, target, and a test part of each."""
    if ":" not in name:
        with np.load(folder / f"features_{name}.npz") as archive:
            return tuple(
                (archive[part], archive[f"{part}_y"]) for part in ("ref_train", "tgt_train", "ref_test", "tgt_test")
            )  # type: ignore[return-value]
    encoder, *names = name.split(":")
    pairs = []
    with np.load(folder / "real_zoo" / f"{encoder}.npz") as archive:
        for each in names:
            features, labels = archive[each].astype(np.float32), archive[f"{each}_labels"].astype(np.int64)
            pairs.append([(features[rows], labels[rows]) for rows in split(labels, 0.3, 0)])
    (reference, reference_test), (target, target_test) = pairs
    return reference, target, reference_test, target_test


def some(part: Arrays, n_rows: int | None) -> Arrays:
    """Return so many rows of a part, of all classes alike."""
    features, labels = part
    if n_rows is None or n_rows >= len(labels):
        return part
    rows = stratified_sample(labels, len(labels), n_rows)
    return features[rows], labels[rows]


def rounded(part: Arrays, rng: np.random.Generator | None) -> Task:
    """Return a task whose features differ by rounding; as they are without a generator."""
    features, labels = part
    if rng is not None:
        noise = (1 + ROUNDING * rng.uniform(-1, 1, size=features.shape)).astype(np.float64)
        features = (features * noise).astype(features.dtype)
    return Task(features, labels)


def fit(parts: tuple[Arrays, ...], how: str, seed: int | None, options: dict[str, Any]) -> Relatedness:
    """Fit on a single split, in folds, or to the target's own other half."""
    rng = None if seed is None else np.random.default_rng(seed)
    reference, target, reference_test, target_test = (rounded(part, rng) for part in parts)
    model = TaskRelatedness(**options)
    if how == "single split":
        return model.fit(reference, target, reference_test, target_test)
    if how == "folds":
        return model.fit(reference, target, reference_test, folds=5)
    return model.fit(None, target)


def main() -> None:
    """Fit, round, fit again, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--files", nargs="*", default=FILES)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rows", type=int, help="of each part, at most")
    parser.add_argument("--ways", nargs="*", default=("single split", "folds", "own half"))
    parser.add_argument("--ground-cost", default=None)
    given = parser.parse_args()
    names = ("bound", "moves", "error", "accuracy", "moves", "error", "ridges", "maps", "CPU s")
    print(f"{'':44}{'':14}" + "".join(f"{name:>10}" for name in names), flush=True)
    for name in given.files:
        parts = tuple(some(part, given.rows) for part in load(given.data, name))
        for how in given.ways:
            started = time.process_time()
            plain = fit(parts, how, None, {"ground_cost": given.ground_cost})
            seconds = time.process_time() - started
            others = [fit(parts, how, seed, {"ground_cost": given.ground_cost}) for seed in range(given.draws)]
            accuracy = plain.transferred_accuracy
            correct, per_point = plain.transferred_correct, plain.certificate_terms.per_point
            cells = (
                f"{plain.bound:.4f}",
                f"{max(abs(each.bound - plain.bound) for each in others):.1e}",
                f"{per_point.std() / len(per_point) ** 0.5:.1e}",
                f"{accuracy:.4f}",
                f"{max(abs(each.transferred_accuracy - accuracy) for each in others):.1e}",
                f"{correct.std() / len(correct) ** 0.5:.1e}",
                f"{sum(each.ridge != plain.ridge for each in others)}/{given.draws}",
                f"{sum((each.class_map != plain.class_map).any() for each in others)}/{given.draws}",
                f"{seconds:.2f}",
            )
            print(f"{name:44}{how:14}" + "".join(f"{cell:>10}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
