"""Compare with the authors' public code on the same features: bound, W and CPU seconds.

First the fast solver (the default), then the paper's Algorithm 1 as `solver="sgd"` (`--fast` leaves it out).

    python benchmarks/authors.py --data FOLDER

FOLDER holds ``features_mnist_to_{digits,mnistm}.npz`` (features of both tasks, training and test parts) and
``transfer_mnist_to_{target}_{setting}_seed2023.npz`` (what the authors' code ended with: W, c, A, A_bar, b, B, D).
Their figures are in ``authors.json``. Set OMP_NUM_THREADS=1: theirs were taken on one thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from transferability import Relatedness, Task, TaskRelatedness
from transferability.relatedness.certificate import losses_of
from transferability.relatedness.classifier.lipschitz import SoftmaxClassifier, fit_lipschitz_softmax
from transferability.relatedness.solvers.algorithm1 import Algorithm1Result, run_algorithm1
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.transport.coupling import optimal_coupling

AUTHORS = json.loads((Path(__file__).parent / "authors.json").read_text())
TAU = AUTHORS["tau"]


class Tasks(NamedTuple):
    """Standardised parts of reference and target."""

    reference: Sample
    reference_test: Sample
    target: Sample
    target_test: Sample


class Run(NamedTuple):
    """What one setting ended with, on the test parts."""

    name: str
    reference_loss: float
    label_mismatch: float
    W: float
    transferred_loss: float
    accuracy: float  # per cent
    seconds: float  # CPU, transformations only

    @property
    def bound(self) -> float:
        """The sum of the terms."""
        return self.reference_loss + self.label_mismatch + TAU * self.W


def load_tasks(folder: Path, target: str) -> Tasks:
    """Standardise each task with the mean and deviation of its training part, as the authors do."""
    data = np.load(folder / f"features_mnist_to_{target}.npz")
    parts = []
    for task in ("ref", "tgt"):
        scaler = dataclasses.replace(Scaler.fit(data[f"{task}_train"]), limit=np.inf)  # theirs cuts nothing off
        parts += [Sample(scaler.apply(data[f"{task}_{part}"]), data[f"{task}_{part}_y"]) for part in ("train", "test")]
    return Tasks(*parts)


def load_authors(folder: Path, target: str, setting: str) -> tuple[SoftmaxClassifier, Algorithm1Result]:
    """Return the authors' classifier and the transformations that their code ended with."""
    saved = np.load(folder / f"transfer_mnist_to_{target}_{setting}_seed2023.npz")
    weights = saved["W"].T.astype(np.float64)
    certified_tau = float(cdist(weights, weights).max())
    classifier = SoftmaxClassifier(weights, saved["c"], np.nan, np.nan, certified_tau, np.inf, False, 0)
    A, A_bar, b, B, D = (saved[name].astype(np.float64) for name in ("A", "A_bar", "b", "B", "D"))
    return classifier, Algorithm1Result(A, A_bar, b[:, 0], B, D, (), 1001, np.empty(0, dtype=np.int64))


def evaluate(
    name: str, classifier: SoftmaxClassifier, result: Algorithm1Result, tasks: Tasks, seconds: float = np.nan
) -> Run:
    """Measure the terms as the authors' code does: labels by argmax, W averaged over classes without their weights."""
    reference, target = tasks.reference_test, tasks.target_test
    losses = losses_of(classifier.logits(reference.features), reference.labels)
    weight = (result.D * len(result.D))[reference.labels]  # as theirs: the reference counts as balanced
    entropy = 0.0 - float((result.B * np.log(np.maximum(result.B, 1e-300))).sum(axis=0) @ result.D)
    mapped = reference.features @ result.A.T + result.b
    labels = result.B.argmax(axis=0)[reference.labels]
    W = np.mean(
        [
            optimal_coupling(cdist(mapped[labels == i], target.features[target.labels == i])).value
            for i in range(len(result.B))
        ]
    )
    logits = classifier.logits(result.feature_map.apply(target.features))
    probabilities = np.exp(-losses_matrix(logits)) @ result.B.T
    rows = np.arange(len(target.labels))
    return Run(
        name,
        float(weight @ losses) / len(losses),
        entropy,
        float(W),
        float(-np.log(probabilities[rows, target.labels]).mean()),
        100 * float((probabilities.argmax(axis=1) == target.labels).mean()),
        seconds,
    )


def losses_matrix(logits: np.ndarray) -> np.ndarray:
    """Return the loss of every sample under every label."""
    return np.stack([losses_of(logits, np.full(len(logits), k)) for k in range(logits.shape[1])], axis=1)


def algorithm1_runs(
    folder: Path, target: str, setting: str, seed: int, *, epochs: int = 1001, batch_size: int = 500
) -> list[Run]:
    """Return the authors' own transformations, ours with their h_R, and ours with the true optimum of h_R."""
    tasks = load_tasks(folder, target)
    theirs, transforms = load_authors(folder, target, setting)
    B = None if setting == "LearnedAll" else transforms.B

    def solve(classifier: SoftmaxClassifier) -> tuple[Algorithm1Result, float]:
        start = time.process_time()
        rng = np.random.default_rng(seed)
        result = run_algorithm1(
            classifier, tasks.reference, tasks.target, B=B, epochs=epochs, batch_size=batch_size, rng=rng
        )
        return result, time.process_time() - start

    result, seconds = solve(theirs)
    runs = [
        evaluate("authors' transformations, measured here", theirs, transforms, tasks),
        evaluate("solver='sgd', authors' h_R", theirs, result, tasks, seconds),
    ]
    best = fit_lipschitz_softmax(*tasks.reference, TAU)
    if B is None:  # with B fixed, h_R has no part in the gradients: the same transformations stand
        result, seconds = solve(best)
    return [*runs, evaluate("solver='sgd', optimal h_R", best, result, tasks, seconds)]


class FastRun(NamedTuple):
    """What the fast solver gave on the test parts."""

    name: str
    bound: float
    certified: bool
    transferred_loss: float
    accuracy: float  # per cent
    whole: float  # CPU s: both classifiers, transformations, evaluation on both parts
    transformations: float  # CPU s: class matching, map and scale

    @classmethod
    def of(cls, folder: Path, target: str, name: str, **options: Any) -> FastRun:
        """Fit with and without transformations; what the first costs more is their price.

        Without: classes given, features as they are, no scale. Both classifiers are trained and everything is measured
        in either case. Each is the best of three. The exact cost sorts whatever the map did; with the other costs badly
        matched points take the transport longer, and the difference says too little.
        """
        data = np.load(folder / f"features_mnist_to_{target}.npz")
        tasks = {
            part: Task(data[part], data[f"{part}_y"]) for part in ("ref_train", "tgt_train", "ref_test", "tgt_test")
        }

        def fit(model: TaskRelatedness) -> tuple[float, Relatedness]:
            started = time.process_time()
            result = model.fit(*tasks.values())
            return time.process_time() - started, result

        whole, result = min((fit(TaskRelatedness(TAU, **options)) for _ in range(3)), key=lambda pair: pair[0])
        plain = {**options, "matching": result.class_map, "learn_map": False, "scale": False}
        without = min(fit(TaskRelatedness(TAU, **plain))[0] for _ in range(3))
        assert result.transferred_loss is not None
        assert result.transferred_accuracy is not None
        accuracy = 100 * result.transferred_accuracy
        return cls(name, result.bound, result.certified, result.transferred_loss, accuracy, whole, whole - without)


def print_fast_runs(folder: Path, target: str) -> None:
    """Print the fast solver's rows; ratios are to the authors' LearnedA and their trained h_T, on one thread each."""
    settings = {
        "exact cost, classes assigned": {},
        "exact cost, random classes": {"matching": "random"},
        "exact cost, shares learned": {"matching": "gradient"},
        "loss cost, classes assigned": {"ground_cost": "loss"},
        "loss cost, classes assigned, no scale": {"ground_cost": "loss", "scale": False},
        "Euclidean cost, classes assigned": {"ground_cost": "euclidean"},
        "Euclidean cost, random classes, no scale": {
            "ground_cost": "euclidean",
            "matching": "random",
            "scale": False,
        },
    }
    figures = next(f for f in AUTHORS["relatedness"] if (f["target"], f["setting"]) == (target, "LearnedA"))
    own = next(f for f in AUTHORS["trained_h_T"] if f["target"] == target)
    seconds = figures["cpu_seconds"]
    theirs = sum(seconds.values()) + own["cpu_seconds"]
    names = ("bound", "certified", "h' loss", "acc. %", "CPU s", "faster", "transf. s", "faster")
    print(f"\n{target + ', fast solver':42}" + "".join(f"{name:>11}" for name in names))
    cells = (f"{figures['bound_printed']:.3f}", "no", f"{figures['transferred_loss']:.3f}")
    cells += (f"{figures['transferred_accuracy']:.1f}", f"{theirs:.1f}", "1", f"{seconds['transformations']:.1f}", "1")
    print(f"  {'authors, LearnedA, as printed':40}" + "".join(f"{cell:>11}" for cell in cells))
    for name, options in settings.items():
        run = FastRun.of(folder, target, name, **options)
        cells = (f"{run.bound:.3f}", "yes" if run.certified else "no", f"{run.transferred_loss:.3f}")
        cells += (f"{run.accuracy:.1f}", f"{run.whole:.2f}", f"{theirs / run.whole:.0f}")
        if options.get("ground_cost") is None:
            cells += (f"{run.transformations:.2f}", f"{seconds['transformations'] / run.transformations:.0f}")
        else:
            cells += ("–", "–")
        print(f"  {name:40}" + "".join(f"{cell:>11}" for cell in cells))


def print_runs(figures: dict, runs: list[Run]) -> None:
    """Print one group of rows; ratios are to the authors' figures."""
    names = ("ref. loss", "mismatch", "W", "bound", "W ratio", "bound ratio", "h' loss", "acc. %", "CPU s", "faster")
    print(f"\n{figures['target'] + ', ' + figures['setting']:42}" + "".join(f"{name:>12}" for name in names))
    terms = [figures[name] for name in ("reference_loss", "label_mismatch", "W", "bound")]
    authors = figures["cpu_seconds"]["transformations"]
    rows = [
        ("authors' figures", *terms, 1, 1, figures["transferred_loss"], figures["transferred_accuracy"], authors, 1)
    ]
    for run in runs:
        terms = [run.reference_loss, run.label_mismatch, run.W, run.bound]
        ratios = [run.W / figures["W"], run.bound / figures["bound"]]
        rows += [(run.name, *terms, *ratios, run.transferred_loss, run.accuracy, run.seconds, authors / run.seconds)]
    for name, *values in rows:
        print(f"  {name:40}" + "".join(f"{'–' if np.isnan(value) else format(value, '.3f'):>12}" for value in values))


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the feature and result files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fast", action="store_true", help="only the fast solver")
    parser.add_argument("--algorithm1", action="store_true", help="only Algorithm 1")
    parser.add_argument("--epochs", type=int, default=1001, help="of Algorithm 1; the paper's text has 2,000")
    parser.add_argument("--batch-size", type=int, default=500, help="of Algorithm 1")
    parser.add_argument("--settings", nargs="*", help="of Algorithm 1: LearnedA, LearnedA_identityB, LearnedAll")
    arguments = parser.parse_args()
    import ot.lp  # noqa: F401  (loads slowly; not part of what is timed)

    if not arguments.algorithm1:
        print(
            "Held-out test parts, standardised, τ = 0.2; best of three runs; the authors' seconds are from their own "
            "runs."
        )
        for target in ("digits", "mnistm"):
            print_fast_runs(arguments.data, target)
    if arguments.fast:
        return
    print(
        f"\nHeld-out test parts; bound = reference loss + label mismatch + {TAU} W, in nats; CPU s of transformations."
    )
    for figures in AUTHORS["relatedness"]:
        if figures["setting"] not in (arguments.settings or ("LearnedA", "LearnedA_identityB", "LearnedAll")):
            continue  # of FixedAll there is nothing to learn
        runs = algorithm1_runs(
            arguments.data,
            figures["target"],
            figures["setting"],
            arguments.seed,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
        )
        print_runs(figures, runs)


if __name__ == "__main__":
    main()
