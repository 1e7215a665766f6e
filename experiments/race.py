"""Does a race find the first choice of the full ranking, and what does it cost?

    python experiments/race.py simulated [--splits 200]
    python experiments/race.py computed [--splits 200]
    python experiments/race.py zoo --data FOLDER [--splits 200] [--fits 2]
    python experiments/race.py limit --data FOLDER

They draw the order in which rows are sampled at random, once for each split, and run `transferability.ranking.race` on
samples of the sizes that `rank --race` takes. Printed: in what share of splits the race ends with the first choice of
the full ranking, how many of the item-encodings it took, and how many encoders were left at the end.

- simulated: 100 encoders on 1,000 rows, whose accuracies are drawn around .75 with a standard deviation of .12. Each
  row's difficulty is shared by all encoders (correlation .5 of the latent scores), and each encoder learns with the
  number of rows n by a loss of accuracy c / √n, c drawn for each from 0 to 2: so encoders overtake each other.
- computed: the same encoders with features that are computed already, 7,000 rows to fit on and 3,000 to measure on. A
  race then saves fits, not items: printed is the share of the rows that are fitted on.
- limit: of the zoo's nine encoders, how many a ranking of all rows cannot tell from its first, by the test of the race
  (error 5 %). A race keeps these as a rule: they and a first sample are about the fewest items.
- zoo: nine real encoders, five targets of 1,000 rows (FOLDER as in `real_zoo.py`). A ridge classifier, cross-fitted in
  five folds, stands in for the transferred one in the 200 splits: its closed form makes them affordable. `--fits` adds
  splits of each target through the whole pipeline (`run_race`), minutes each.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from transferability.datasets import Dataset, folds
from transferability.pipeline import Settings, prepare, rank
from transferability.pipeline.race_samples import fit_sizes_of, nested_order, sizes_of
from transferability.ranking.best_set import best_by_accuracy
from transferability.ranking.race import Sample, leaving

TARGETS = ("cifar10", "fashion_mnist", "mnist_m_cifar", "omniglot_alphabet", "sign_digits")
RESULTS = Path(__file__).parent / "results" / "race.json"
ERROR = 0.05

Correct = Callable[[int, int], np.ndarray]
"""Encoder and number of rows to whether each of the first so many rows is classified right."""


def race(n_encoders: int, n_rows: int, n_classes: int, correct: Correct) -> tuple[list[int], float]:
    """Return who stays, and the share of item-encodings."""
    stay = list(range(n_encoders))
    sizes = sizes_of(n_rows, n_classes)
    items, before = 0, 0
    for size in sizes:
        items += (size - before) * len(stay)
        before = size
        parts = np.stack([correct(encoder, size) for encoder in stay], axis=1)
        sample = Sample(parts, range(len(stay)), "transferred_accuracy", n_classes)
        left = leaving(sample, first=1, error=ERROR / len(sizes), n_encoders=n_encoders)
        stay = [encoder for place, encoder in enumerate(stay) if place not in left]
    return stay, (items + (n_rows - before) * len(stay)) / (n_encoders * n_rows)


def summary(what: str, found: list[tuple[bool, float, int]]) -> dict[str, Any]:
    """Print and return shares of a list of (first choice found, share of items, encoders left)."""
    same, share, left = (float(np.mean(each)) for each in zip(*found, strict=True))
    most = float(np.max([each[1] for each in found]))
    print(
        f"{what:<34} {len(found):>4} splits: first choice the same in {same:.1%}; "
        f"{share:.1%} of the items encoded (at most {most:.1%}); {left:.1f} encoders left",
        flush=True,
    )
    return {"what": what, "splits": len(found), "same": same, "items": share, "most_items": most, "left": left}


def drawn(seed: int, n_encoders: int, n_rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw each encoder's final accuracy, how fast it learns, and its latent score of each row (n_rows, n_encoders)."""
    rng = np.random.default_rng(seed)
    final = np.clip(rng.normal(0.75, 0.12, n_encoders), 0.1, 0.98)
    slope = rng.uniform(0, 2, n_encoders)
    shared, own = rng.normal(size=(n_rows, 1)), rng.normal(size=(n_rows, n_encoders))
    return final, slope, np.sqrt(0.5) * shared + np.sqrt(0.5) * own


def simulated(splits: int, n_encoders: int = 100, n_rows: int = 1000) -> list[dict[str, Any]]:
    """Race simulated encoders, drawn anew for each split."""
    found = []
    for seed in range(splits):
        final, slope, latent = drawn(seed, n_encoders, n_rows)

        correct = functools.partial(simulated_correct, final, slope, latent)
        first = int(np.argmax([correct(encoder, n_rows).mean() for encoder in range(n_encoders)]))
        stay, share = race(n_encoders, n_rows, 10, correct)
        found.append((first in stay, share, len(stay)))
    return [summary("100 simulated encoders", found)]


def simulated_correct(final: np.ndarray, slope: np.ndarray, latent: np.ndarray, encoder: int, size: int) -> np.ndarray:
    """Return which of the first rows an encoder that has learned from so many classifies right."""
    accuracy = max(0.1, final[encoder] - slope[encoder] * (size**-0.5 - len(latent) ** -0.5))
    return latent[:size, encoder] < ndtri(accuracy)


def computed(splits: int, n_encoders: int = 100, n_fit: int = 7_000, n_test: int = 3_000) -> list[dict[str, Any]]:
    """Race simulated encoders whose features are computed already, by three references."""
    found = []
    for seed in range(splits):
        final, slope, latent = drawn(seed, n_encoders, n_test)

        def correct(size: int, final: Any = final, slope: Any = slope, latent: Any = latent) -> np.ndarray:
            accuracy = np.maximum(0.1, final - slope * (size**-0.5 - n_fit**-0.5))
            return np.asarray(latent < ndtri(accuracy))

        first = int(correct(n_fit).mean(axis=0).argmax())
        stay, rows = list(range(n_encoders)), 0
        sizes = fit_sizes_of(n_fit, 10)
        for size in sizes:
            rows += size * len(stay)
            weight = min(1.0, size / n_test)
            parts = correct(size)[:, stay]
            sample = Sample(parts, range(len(stay)), "transferred_accuracy", 10, 3, common=True, weight=weight)
            left = leaving(sample, first=1, error=ERROR / len(sizes), n_encoders=n_encoders)
            stay = [encoder for place, encoder in enumerate(stay) if place not in left]
        found.append((first in stay, (rows + n_fit * len(stay)) / (n_fit * n_encoders), len(stay)))
    return [summary("100 simulated encoders, computed", found)]


def limit(folder: Path) -> list[dict[str, Any]]:
    """Return how many encoders all rows cannot tell from the first, and what share of the items that is at least."""
    rows = []
    for target in TARGETS:
        features, labels = zoo_features(folder, target)
        parts = np.stack([ridge_correct(each, labels, 0) for each in features], axis=1)
        n_like = sum(best_by_accuracy(parts).included)
        share = sizes_of(len(labels), len(np.unique(labels)))[0] / len(labels)
        rows.append({"what": target, "like_first": n_like, "least_items": share + (1 - share) * n_like / len(features)})
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("like_first", "least_items")}
    rows.append({"what": "all targets"} | means)
    for row in rows:
        print(
            f"{row['what']:<20} {row['like_first']:.1f} like the first; {row['least_items']:.1%} of the items at least"
        )
    return rows


def zoo_features(folder: Path, target: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the features of a target under each real encoder, and its labels."""
    features, labels = [], np.empty(0)
    for path in sorted((folder / "real_zoo").glob("*.npz")):
        with np.load(path) as archive:
            features.append(archive[target].astype(np.float32))
            labels = archive[f"{target}_labels"].astype(np.int64)
    return features, labels


def ridge_correct(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Return whether each row is classified right by a ridge classifier that has not seen it."""
    right = np.zeros(len(labels), dtype=bool)
    for fit, test in folds(labels, 5, seed):
        mean, deviation = features[fit].mean(axis=0), features[fit].std(axis=0) + 1e-6
        a, b = (features[fit] - mean) / deviation, (features[test] - mean) / deviation
        targets = np.eye(labels.max() + 1)[labels[fit]]
        gram = a @ a.T
        ridge = 0.03 * np.trace(gram) / len(gram) * np.eye(len(gram))
        weights = a.T @ np.linalg.solve(gram + ridge, targets - targets.mean(axis=0))  # (d, K)
        right[test] = (b @ weights + targets.mean(axis=0)).argmax(axis=1) == labels[test]
    return right


def zoo_by_ridge(folder: Path, splits: int) -> list[dict[str, Any]]:
    """Race the real encoders on random orders of the rows of each target."""
    rows: list[dict[str, Any]] = []
    for target in TARGETS:
        features, labels = zoo_features(folder, target)
        full = [ridge_correct(each, labels, 0).mean() for each in features]
        dataset = table(target, labels)
        found = []
        for seed in range(splits // len(TARGETS)):
            correct = functools.partial(sample_correct, features, labels, nested_order(dataset, seed))
            stay, share = race(len(features), len(labels), len(np.unique(labels)), correct)
            found.append((int(np.argmax(full)) in stay, share, len(stay)))
        rows.append(summary(f"zoo, ridge: {target}", found) | {"found": found})
    everything = [each for row in rows for each in row.pop("found")]
    return [*rows, summary("zoo, ridge: all targets", everything)]


def sample_correct(
    features: list[np.ndarray], labels: np.ndarray, order: np.ndarray, encoder: int, size: int
) -> np.ndarray:
    """Return `ridge_correct` of the first rows of an order."""
    return ridge_correct(features[encoder][order[:size]], labels[order[:size]], 0)


def table(name: str, labels: np.ndarray) -> Dataset:
    """Return a data set whose items are row numbers."""
    return Dataset(
        name,
        "array",
        np.arange(len(labels)).astype(np.str_),
        read=lambda row: np.array([row]),
        content=lambda row: int(row).to_bytes(8, "little"),
        all_labels=labels,
        class_names=tuple(map(str, range(int(labels.max()) + 1))),
    )


class Lookup:
    """An encoder that finds the features of row numbers, and counts them."""

    modality, n_parameters = "array", None

    def __init__(self, name: str, features: np.ndarray) -> None:
        self.name = name
        self._features = features

    def identity(self) -> None:
        """Return None: nothing is to be kept."""

    def encode(self, items: Any) -> np.ndarray:
        """Return the features of rows."""
        return self._features[np.concatenate(items)]


def zoo_by_fits(folder: Path, splits: int) -> list[dict[str, Any]]:
    """Race the real encoders through the whole pipeline; the full ranking is that of the same seed."""
    paths = sorted((folder / "real_zoo").glob("*.npz"))
    found = []
    for target in TARGETS:
        encoders = []
        for path in paths:
            with np.load(path) as archive:
                encoders.append(Lookup(path.stem, archive[target].astype(np.float32)))
                labels = archive[f"{target}_labels"].astype(np.int64)
        for seed in range(splits):
            settings = Settings(seed=seed)
            data = prepare(table(target, labels), settings).dataset
            full = rank(data, None, encoders, settings=settings)
            raced = rank(data, None, encoders, settings=settings, race=1)
            cost = raced.provenance["race"]
            same = full.best.encoder == raced.best.encoder
            found.append((same, cost["items"] / cost["items_of_all"], len(raced.entries)))
            summary(f"zoo, pipeline: {target}, seed {seed}", found[-1:])
    return [summary("zoo, pipeline: all targets", found)]


def main() -> None:
    """Run the part asked for, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["simulated", "computed", "zoo", "limit"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--fits", type=int, default=0)
    options = parser.parse_args()
    if options.part == "simulated":
        rows = simulated(options.splits)
    elif options.part == "computed":
        rows = computed(options.splits)
    elif options.part == "limit":
        rows = limit(options.data)
    else:
        rows = zoo_by_ridge(options.data, options.splits)
        rows += zoo_by_fits(options.data, options.fits) if options.fits else []
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(kept | {options.part: rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
