"""What reference packs are worth: against samples, for ordering encoders, and for saying what a target is like.

    python experiments/reference_packs.py --data FOLDER --step samples|ranking|nearest [--rows 200] [--encoder NAME …]

FOLDER holds ``real_zoo/ENCODER.npz`` (last-layer features and labels of 1,000 rows by data-set name) and
``finetuned_truth.json`` (accuracy after fine-tuning). Packs are compact, made of the other data sets; targets are
samples of `--rows` rows, cross-fitted in five folds. `ranking` appends a line for each encoder and target to
``results/reference_packs_ROWS.jsonl``, skips those that are there, and prints what orders encoders as fine-tuning does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, pearsonr

from transferability import ReferencePack, Relatedness, Task, TaskRelatedness
from transferability.datasets import folds, split
from transferability.relatedness.packs.nearest_classes import nearest_classes

TARGETS = ("sign_digits", "omniglot_alphabet", "fashion_mnist", "cifar10", "mnist_m_cifar")
QUANTITIES = (("bound", -1), ("transferred loss", -1), ("transferred accuracy", 1))
REFERENCES = ("mnist", "fashion_mnist", "omniglot_alphabet", "sign_digits")
RESULTS = Path(__file__).parent / "results"


def task_of(path: Path, name: str, rows: int | None = None) -> Task:
    """Return all rows of a data set under an encoder, or so many, balanced."""
    with np.load(path) as archive:
        features, labels = archive[name].astype(np.float64), archive[f"{name}_labels"].astype(np.int64)
    if rows is None:
        return Task(features, labels, name)
    order, n_classes = np.random.default_rng(0).permutation(len(labels)), int(labels.max()) + 1
    chosen = [order[np.flatnonzero(labels[order] == k)[: rows // n_classes]] for k in range(n_classes)]
    kept = np.sort(np.concatenate(chosen))
    return Task(features[kept], labels[kept], name)


def parts_of(task: Task) -> tuple[Task, Task]:
    """Return what the classifier is fitted on, and what it is measured on."""
    fit, test = split(task.require_labels(), 0.3, 0)
    return task.subset(fit), task.subset(test)


def saved(pack: ReferencePack, *, compact: bool) -> tuple[ReferencePack, int]:
    """Return the pack as it comes back from a file, and the size of that."""
    with tempfile.TemporaryDirectory() as folder:
        path = pack.save(Path(folder) / "pack.safetensors", compact=compact)
        return ReferencePack.load(path), path.stat().st_size


def pack_of(task: Task, *, compact: bool = True) -> tuple[ReferencePack, int]:
    """Return a pack of a task as the shipped ones are made."""
    return saved(ReferencePack.from_task(*parts_of(task), tau="scaled", covariance="shared", rows=30), compact=compact)


def numbers(result: Relatedness) -> list[float | None]:
    """Return bound, transferred loss and transferred accuracy."""
    return [result.bound, result.transferred_loss, result.transferred_accuracy]


def in_every_form(path: Path, name: str, target_name: str, rows: int) -> dict[str, list[float | None]]:
    """Return what samples of a reference, its packs and its statistics say of a target."""
    model, estimate = TaskRelatedness(), TaskRelatedness(solver="statistics")
    whole, target = task_of(path, name), task_of(path, target_name, rows)
    (fit, test), halves = parts_of(whole), parts_of(target)
    (full, _), (small, _) = pack_of(whole, compact=False), pack_of(whole)
    parts = folds(target.require_labels(), 5, 0)
    found = {
        "samples": model.fit(fit, target, test, folds=parts),
        "pack, float64": model.fit(full, target, folds=parts),
        "pack, compact": model.fit(small, target, folds=parts),
        "statistics, float64": estimate.fit(full, halves[0], target_test=halves[1]),
        "statistics, compact": estimate.fit(small, halves[0], target_test=halves[1]),
    }
    return {kind: numbers(result) for kind, result in found.items()}


def against_samples(zoo: list[Path], rows: int) -> None:
    """Print a table: the same reference as samples, as a pack with rows, and by statistics."""
    table: dict[str, list[list[float | None]]] = {}
    for path in zoo:
        for name in ("mnist", "fashion_mnist"):
            for target_name in TARGETS:
                if target_name != name:
                    for kind, values in in_every_form(path, name, target_name, rows).items():
                        table.setdefault(kind, []).append(values)
        print(f"{path.stem}: {len(table['samples'])} pairs", flush=True)
    exact = np.array(table["samples"], dtype=float)
    print(f"{'':22}{'bound':>8}{'loss':>8}{'acc %':>8}{'|bound − that of samples|, mean and largest':>46}")
    for kind, found in table.items():
        values = np.array(found, dtype=float)
        apart = np.abs(values[:, 0] - exact[:, 0])
        means = values.mean(axis=0)
        print(f"{kind:22}{means[0]:8.3f}{means[1]:8.3f}{100 * means[2]:8.1f}{apart.mean():34.3f}{apart.max():12.3f}")


def cells_of(zoo: list[Path], rows: int) -> list[dict[str, Any]]:
    """Return, for each encoder and target, what its own half and each pack say of it."""
    file = RESULTS / f"reference_packs_{rows}.jsonl"
    cells = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(cell["encoder"], cell["target"]) for cell in cells}
    for path in zoo:
        missing = [name for name in TARGETS if (path.stem, name) not in done]
        packs = {name: pack_of(task_of(path, name))[0] for name in REFERENCES} if missing else {}
        for name in missing:
            target = task_of(path, name, rows)
            parts = folds(target.require_labels(), 5, 0)
            cell: dict[str, Any] = {"encoder": path.stem, "target": name}
            cell["own"] = numbers(TaskRelatedness().fit(None, target, folds=parts))
            for reference, pack in packs.items():
                if reference != name:
                    cell[reference] = numbers(TaskRelatedness().fit(pack, target, folds=parts))
            cells.append(cell)
            with file.open("a") as stream:
                stream.write(json.dumps(cell) + "\n")
    return cells


def agreement(cells: list[dict[str, Any]], truth: dict[tuple[str, str], float]) -> Iterator[tuple[str, list[float]]]:
    """Yield each way to order encoders, with its mean value, correlations with the truth and regret in points."""
    ways: dict[str, Callable[[dict[str, Any]], list[float]]] = {
        "own half": lambda cell: cell["own"],
        "closest pack": lambda cell: min((cell[name] for name in REFERENCES if name in cell), key=lambda one: one[0]),
        "closest of both": lambda cell: min(cell[name] for name in ("own", *REFERENCES) if name in cell),
    }
    for way, value in ways.items():
        for column, (quantity, sign) in enumerate(QUANTITIES):
            rows = []
            for target in TARGETS:
                here = [cell for cell in cells if cell["target"] == target and (cell["encoder"], target) in truth]
                said = np.array([sign * value(cell)[column] for cell in here])
                true = np.array([truth[cell["encoder"], target] for cell in here])
                regret = 100 * float(true.max() - true[said.argmax()])
                rows.append([sign * said.mean(), pearsonr(said, true)[0], kendalltau(said, true)[0], regret])
            yield f"{way}: {quantity}", [float(each) for each in np.mean(rows, axis=0)]


def truth_of(folder: Path) -> dict[tuple[str, str], float]:
    """Return the mean accuracy over seeds of each encoder and target."""
    runs: dict[tuple[str, str], list[float]] = {}
    for run in json.loads((folder / "finetuned_truth.json").read_text())["runs"]:
        runs.setdefault((run["encoder"], run["target"]), []).append(run["accuracy"])
    return {key: float(np.mean(each)) for key, each in runs.items()}


def tell_apart(zoo: list[Path]) -> None:
    """Print how many held-out rows of the references lie nearest to their own class, by two distances."""
    print(f"{'encoder':24}{'Mahalanobis %':>14}{'Euclidean %':>14}")
    for path in zoo:
        packs = [pack_of(parts_of(task_of(path, name))[0])[0] for name in REFERENCES]  # of the fitting part alone
        means = np.concatenate([pack.statistics.means for pack in packs])
        hits, plain, total, start = 0.0, 0.0, 0, 0
        for name, pack in zip(REFERENCES, packs, strict=True):
            test = parts_of(task_of(path, name))[1]
            labels = test.require_labels()
            for each in nearest_classes(test, packs):
                own = (each.reference, each.reference_class) == (name, each.target_class)
                hits += each.share * float((labels == int(each.target_class)).sum()) if own else 0.0
            steps = (test.features**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * test.features @ means.T
            plain += float((steps.argmin(axis=1) == labels + start).sum())
            total, start = total + len(test), start + pack.n_classes
        print(f"{path.stem:24}{100 * hits / total:14.1f}{100 * plain / total:14.1f}", flush=True)


def main() -> None:
    """Print the tables of one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--step", choices=("samples", "ranking", "nearest"), required=True)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--encoder", action="append", help="of real_zoo; repeat; by default all")
    options = parser.parse_args()
    zoo = sorted((options.data / "real_zoo").glob("*.npz"))
    zoo = [path for path in zoo if not options.encoder or path.stem in options.encoder]
    if options.step == "samples":
        against_samples(zoo, options.rows)
    elif options.step == "nearest":
        tell_apart(zoo)
    else:
        print(f"{'':40}{'mean':>8}{'Pearson':>9}{'Kendall':>9}{'regret':>8}")
        for name, found in agreement(cells_of(zoo, options.rows), truth_of(options.data)):
            print(f"{name:40}{found[0]:8.3f}{found[1]:9.3f}{found[2]:9.3f}{found[3]:8.1f}")


if __name__ == "__main__":
    main()
