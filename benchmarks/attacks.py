"""Attack the certificate: random tasks over every public option; what is certified must hold, nothing may crash.

    python benchmarks/attacks.py --tasks 1000        # --processes for more at a time
    python benchmarks/attacks.py --ways              # other ways in: packs, given folds, half a list of test parts, …
    python benchmarks/attacks.py --large --tasks 100 # up to 60 classes, 200 features and 3,000 rows; 2 s each

Task number k is the same in every run, whatever the number of processes; --first goes on from an earlier run. Printed:
how many bounds were measured and certified, how many lay below their loss, whose terms do not sum, what crashed, and
what was refused for another reason than too few rows of a class, or features that Algorithm 1 cannot square. The exit
status is 1 where any of the last four is not zero.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transferability import Task, TaskRelatedness, certify
from transferability.errors import TransferabilityError
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.tasks.sample import stratified_folds

SLACK = 1e-9  # relative to 1 + bound: rounding
REFUSALS = (
    "has a single row, and with folds",
    "rows; without a reference",
    "`folds` must lie between",
    "must be of moderate size for solver='sgd'",
)
WAYS = (
    "packs with rows",
    "pack as target",
    "own half, test",
    "own half, folds",
    "given folds",
    "some test parts",
    "guessed, sgd",
    "certify, Lipschitz",
    "certify, fitted scale",
)
STRUCTURES = ("plain", "plain", "collinear", "constant columns", "constant", "duplicates", "heavy tails", "far away")


class Sizes(NamedTuple):
    """What is drawn from; of numbers the most, less one."""

    classes: int
    features: int
    rows: tuple[int, int, int]  # beside one per class: of few, of more, of many
    units: tuple[int, ...]  # powers of ten
    dtypes: tuple[str, ...]


SMALL = Sizes(7, 25, (8, 80, 400), (-6, 0, 0, 0, 6), ("float32", "float64"))
LARGE = Sizes(61, 201, (60, 600, 3000), (-8, -6, 0, 0, 0, 0, 6, 8), ("float16", "float32", "float64"))


def draw_parts(
    rng: np.random.Generator, name: str, n_classes: int, d: int, *, named: bool, most: Sizes = SMALL
) -> tuple[Task, Task]:
    """Return a fitting part and a test part of a random task, nasty in one of many ways."""
    structure, spread = rng.choice(STRUCTURES), rng.choice([0.0, 0.5, 2.0, 20.0])
    centres, axes = spread * rng.normal(size=(n_classes, d)), rng.normal(size=(d, max(1, d // 3)))
    unit, dtype = 10.0 ** rng.choice(most.units), rng.choice(most.dtypes)
    names = [f"class {k}" for k in rng.permutation(n_classes)] if named else None
    lopsided = rng.random() < 0.3
    parts = []
    for _ in range(2):
        n = n_classes + int(rng.choice([rng.integers(0, n_rows) for n_rows in most.rows], p=[0.4, 0.5, 0.1]))
        prior = rng.dirichlet(np.full(n_classes, 0.3)) if lopsided else np.full(n_classes, 1 / n_classes)
        labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.choice(n_classes, n - n_classes, p=prior)]))
        features = centres[labels] + rng.normal(size=(n, d))
        if structure == "collinear":
            features = features @ axes @ np.linalg.pinv(axes)
        elif structure == "constant columns":
            features[:, ::2] = 3.0
        elif structure == "constant":
            features[:] = 3.0
        elif structure == "duplicates":
            features = features[rng.integers(max(1, n // 4), size=n)]
        elif structure == "heavy tails":
            features = rng.standard_t(1.0, size=(n, d))
        elif structure == "far away":
            features += 1e4
        if dtype == "float16":
            features, unit = np.clip(features, -6e4, 6e4), 1.0  # what it can hold
        parts.append(Task((features * unit).astype(dtype), labels, name, names))
    return parts[0], parts[1]


def draw_options(rng: np.random.Generator, solver: str, n_targets: int, n_references: list[int]) -> dict[str, Any]:
    """Return options of `TaskRelatedness` that do not contradict each other."""
    options: dict[str, Any] = {
        "solver": solver,
        "tau": [0.01, 0.2, 1.0, 10.0, "scaled", "scaled", "auto", [0.1, 1.0]][rng.integers(8)],
        "learn_map": bool(rng.random() < 0.8),
        "standardize": bool(rng.random() < 0.8),
        "scale": bool(rng.random() < 0.7),
        "union": bool(rng.random() < 0.5),
        "seed": int(rng.integers(100)),
    }
    costs = {
        "alternating": ["exact", "exact", "loss", "euclidean"],
        "sgd": [None],
        "statistics": [None, "euclidean", "gamma"],
    }
    options["ground_cost"] = costs[solver][rng.integers(len(costs[solver]))]
    if solver != "sgd":
        options["space"] = [None, None, "target"][rng.integers(3)]
    else:
        options |= {"epochs": int(rng.integers(1, 20)), "batch_size": int(rng.choice([16, 500]))}
    fewest = min(n_references)
    matchings: list[Any] = ["assignment", "assignment", "random", rng.integers(fewest, size=n_targets)]
    if n_targets <= fewest:
        matchings.append("identity")
    if solver != "statistics":
        matchings.append("gradient")
        if len(n_references) == 1:
            matchings.append(rng.dirichlet(np.full(fewest, 0.4), size=n_targets))
    options["matching"] = matchings[rng.integers(len(matchings))]
    return options


def fit_one(k: int, most: Sizes = SMALL) -> tuple[str, list[Any]]:
    """Return what task number k is called in the counts, and its results."""
    rng = np.random.default_rng([20261126, k])
    solver = str(rng.choice(["alternating", "sgd", "statistics"], p=[0.9, 0.04, 0.06]))
    how = str(rng.choice(["fit", "test", "test", "folds", "own half", "certify"]))
    sizes = [int(rng.integers(2, most.classes)) for _ in range(int(rng.choice([1, 1, 2, 3])))]
    n_targets, d = int(rng.integers(2, most.classes)), int(rng.integers(1, most.features))
    dimensions = [d if rng.random() < 0.8 else int(rng.integers(1, most.features)) for _ in sizes]
    draw = functools.partial(draw_parts, rng, named=bool(rng.random() < 0.5), most=most)
    parts = [draw(f"r{i}", size, dims) for i, (size, dims) in enumerate(zip(sizes, dimensions, strict=True))]
    target, test = draw("t", n_targets, d)
    options = draw_options(rng, solver, n_targets, sizes)
    if how == "certify":
        return how, [certify_one(rng, parts[0][0], target)]
    if how == "own half" and solver == "alternating":
        return how, [TaskRelatedness(**options).fit(None, target)]
    references: list[Any] = [first for first, _ in parts]
    tests: Any = [second for _, second in parts] if how == "test" else None
    if solver == "statistics" and rng.random() < 0.5:
        references, tests = [ReferencePack.from_task(each, tau=options["tau"]) for each in references], None
    if solver == "alternating" and rng.random() < 0.1 and n_targets <= min(sizes):
        target = Task(target.features, None, "t", target.class_names or [str(i) for i in range(n_targets)])
    folds = int(rng.integers(2, 6)) if how == "folds" and solver != "statistics" else None
    result = TaskRelatedness(**options).fit(references, target, tests, test if how == "test" else None, folds=folds)
    return f"{how}, {solver}", list(result.references)


def certify_one(rng: np.random.Generator, reference: Task, target: Task) -> Any:
    """Return the bound for a classifier that nobody trained, not linear, behind a map that is not linear either."""
    weights = rng.normal(size=(reference.n_features, reference.n_classes))
    mixing = rng.normal(size=(target.n_features, reference.n_features))
    size = float(np.abs(target.features).max()) or 1.0

    def classifier(features: np.ndarray) -> np.ndarray:
        return np.asarray(5 * np.sin(features / size @ weights))

    return certify(
        reference,
        target,
        classifier,
        lambda features: np.tanh(features / size @ mixing) * size,
        class_map=rng.integers(reference.n_classes, size=target.n_classes),
        ground_cost=["exact", "loss"][rng.integers(2)],  # type: ignore[arg-type]
        scale=float(10 ** rng.uniform(-2, 1)),
    )


def fit_otherwise(k: int) -> tuple[str, list[Any]]:
    """Return what task number k is called, and its results, by ways in that `fit_one` does not take."""
    rng = np.random.default_rng([20261127, k])
    way = str(rng.choice(WAYS))
    solver = "sgd" if way == "guessed, sgd" else "statistics" if way == "pack as target" else "alternating"
    sizes, d = [int(rng.integers(2, 6)) for _ in range(2)], int(rng.integers(1, 20))
    n_targets = int(rng.integers(2, 1 + sizes[0] if way == "guessed, sgd" else 6))
    (first, first_test), (second, _) = (draw_parts(rng, f"r{i}", size, d, named=False) for i, size in enumerate(sizes))
    target, test = draw_parts(rng, "t", n_targets, d, named=False)
    options = draw_options(rng, solver, n_targets, sizes)
    model = TaskRelatedness(**options, covariance_weight=float(rng.choice([0.0, 0.01, 1.0])))
    folds: Any = int(rng.integers(2, 6))
    if way.startswith("certify"):
        return way, [certify_linear(rng, first, target, test if way == "certify, fitted scale" else None, first_test)]
    if way.startswith("own half"):
        kept = {"target_test": test} if way == "own half, test" else {"folds": folds}
        return way, [model.fit(None, target, **kept)]
    if way == "given folds":
        folds = stratified_folds(target.labels, target.features, folds, int(rng.integers(5)))
        return way, list(model.fit(first, target, folds=folds).references)
    if way == "some test parts":
        return way, list(model.fit([first, second], target, [first_test, None], test).references)
    if way == "guessed, sgd":
        target = Task(target.features, None, "t", target.class_names or [str(i) for i in range(n_targets)])
        return way, list(model.fit(first, target, None, test).references)
    tau = options["tau"]
    packs = [ReferencePack.from_task(each, tau=tau, rows=int(rng.choice([5, 50]))) for each in (first, second)]
    if way == "pack as target":
        return way, list(model.fit(packs, ReferencePack.from_task(target, tau=tau)).references)
    model.set_params(space=None, tau="scaled")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        packs[0].save(path, compact=bool(rng.random() < 0.5))
        packs[0] = ReferencePack.load(path)
    measured: dict[str, Any] = {"target_test": test} if rng.random() < 0.5 else {"folds": folds}
    return way, list(model.fit([*packs, first], target, **measured).references)


def certify_linear(
    rng: np.random.Generator, reference: Task, target: Task, test: Task | None, reference_test: Task
) -> Any:
    """Return the Euclidean bound for a linear classifier, or the exact one at a scale fitted on other samples."""
    weights = rng.normal(size=(reference.n_classes, reference.n_features)) / max(np.abs(reference.features).max(), 1e-9)
    tau = float(np.linalg.norm(weights[:, None] - weights, axis=2).max())
    return certify(
        reference,
        target,
        lambda features: features @ weights.T,
        class_map=rng.integers(reference.n_classes, size=target.n_classes),
        lipschitz=tau if test is None else None,
        ground_cost="euclidean" if test is None else "exact",
        scale=1.0 if test is None else (reference_test, test),
    )


def attack(k: int, fit: Any = fit_one) -> dict[str, Any]:
    """Fit task number k; return counts, and the number itself beside whatever went wrong."""
    counts: dict[str, Any] = collections.Counter()
    try:
        kind, results = fit(k)
    except TransferabilityError as error:
        if any(each in str(error) for each in REFUSALS):
            return {"refused, as they must be": 1}
        return {"refused": 1, "failures": [[k, str(error)]]}
    except Exception:  # noqa: BLE001  # a crash is what is looked for
        return {"crashed": 1, "failures": [[k, traceback.format_exc(limit=-3)]]}
    failures = []
    for each in results:
        terms = (each.reference_loss, each.label_mismatch, each.distribution_mismatch)
        counts["bounds"] += 1
        if not np.isfinite(each.bound) or abs(sum(terms) - each.bound) > 1e-9 * (1 + each.bound) or min(terms) < 0:
            counts["terms that do not sum"] += 1
            failures.append([k, f"{kind}: terms {terms}, bound {each.bound}"])
        if getattr(each, "certified", True):
            counts["certified"] += 1
            counts[f"certified: {kind}"] += 1
            if not each.bound >= each.transferred_loss - SLACK * (1 + each.bound):
                counts["below the loss"] += 1
                failures.append([k, f"{kind}: bound {each.bound!r}, loss {each.transferred_loss!r}"])
    return {**counts, "failures": failures}


def quiet() -> None:
    """Count warnings as crashes."""
    warnings.simplefilter("error")


def main() -> None:
    """Run and print the counts as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first task")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--ways", action="store_true", help="ways in that the other tasks do not take")
    parser.add_argument("--large", action="store_true", help="more classes, features and rows")
    parser.add_argument("--seconds", type=float, default=np.inf, help="stop after so many seconds")
    arguments = parser.parse_args()
    total: dict[str, int] = collections.Counter()
    started, failures, done = time.monotonic(), [], 0
    numbers = range(arguments.first, arguments.first + arguments.tasks)
    with multiprocessing.get_context("spawn").Pool(arguments.processes, initializer=quiet) as pool:
        large = functools.partial(fit_one, most=LARGE)
        one = functools.partial(attack, fit=fit_otherwise if arguments.ways else large if arguments.large else fit_one)
        for counts in pool.imap(one, numbers, chunksize=8):
            failures += counts.pop("failures", [])
            total.update(counts)
            done += 1
            if time.monotonic() - started > arguments.seconds:
                pool.terminate()
                break
    for name in ("below the loss", "terms that do not sum", "crashed", "refused"):
        total.setdefault(name, 0)
    print(json.dumps({"tasks": done, **dict(sorted(total.items())), "failures": failures}, indent=2))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
