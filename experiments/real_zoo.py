"""Which criterion predicts fine-tuned accuracy on nine real encoders of different families: last layer and all layers.

    python experiments/real_zoo.py --data FOLDER [--features KEPT] [--rows 1000] [--jobs 2] [--reuse]

FOLDER holds ``real_zoo/ENCODER.npz`` (last-layer features and labels of 1,000 rows by data-set name) and
``finetuned_truth.json`` (test accuracy after end-to-end fine-tuning on the same rows). KEPT is the folder that
``real_zoo_features.py`` wrote: features of all layers of the first of these rows. ``--reuse`` takes what the results of
before have, all layers too where KEPT is not given, and computes what they lack: a new criterion then costs minutes.

Four parts, each with every measure of agreement (`_agreement.py`) per target, intervals over encoders, and the noise
ceiling: last-layer criteria on all rows (task-relatedness and every score of the registry); what fine-tuning the same
encoders on the other targets says, alone and beside these; all-layer criteria and, on the same rows, those of the last
layer (`_layer_criteria.py`); and the choice among the latter by leave-one-target-out.
Agreement is also given with a truth that is never below a probe of the frozen features: where fine-tuning ended below
its own start, the recipe failed and not the encoder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _agreement import MEASURES, Cells, Truth, agreement, ceiling, paired_intervals, read_truth
from _consensus import consensus, track_record
from _layer_criteria import all_layer_criteria, last_layer_criteria, spread
from real_zoo_features import ENCODERS, TARGETS, load_layers
from scipy.special import softmax

from transferability import Relatedness, Task, TaskRelatedness, scores
from transferability.datasets import folds, split
from transferability.encoders import load_encoder

REFERENCES = ("cifar10", "mnist", "fashion_mnist", "sign_digits")
RESULTS = Path(__file__).parent / "results" / "real_zoo.json"
LOWER = ("bound", "loss", "pactran_gaussian", "pactran_dirichlet", "pactran_gamma")
PROBE = "linear probe"
CONSENSUS = {
    "last and all layers, ridge": ["last layer: ridge", "all layers: ridge"],
    "LogME of the last, ridge of all layers": ["last layer: LogME", "all layers: ridge"],
    "these and kNN of the upper half": ["last layer: LogME", "all layers: ridge", "upper half: mean kNN"],
}
RECORD = "fine-tuned on the other targets"
BESIDE_THE_RECORD = ("reference: transferred accuracy", PROBE, "n_leep", "logme", "knn")


def last_layer(path: Path, target: str, rows: int, n_parameters: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what last-layer criteria say of one encoder and target ; what is known is not computed."""
    with np.load(path) as archive:
        tasks = {
            name: Task(archive[name][:rows].astype(np.float64), archive[f"{name}_labels"][:rows], name=name)
            for name in {target, *REFERENCES}
        }
    said: dict[str, Any] = {"encoder": path.stem, "target": target, **known}
    if "reference" not in known:
        said |= to_references(tasks, target)
    if "own half: bound" not in known:
        parts = folds(tasks[target].labels, 5, 0)
        said |= numbers_of("own half", TaskRelatedness().fit(None, tasks[target], folds=parts))
    missing = [name for name in scores.available() if name not in known]
    return said | (scores_of(tasks[target], tasks[said["reference"]], n_parameters, missing) if missing else {})


def to_references(tasks: Mapping[str, Task], target: str) -> dict[str, Any]:
    """Return transferred accuracy, loss and bound of the closest reference, and a linear probe."""
    task = tasks[target]
    parts = folds(task.labels, 5, 0)
    others = [tasks[name] for name in REFERENCES if name != target]
    halves = [split(other.labels, 0.3, 0) for other in others]
    references = [other.subset(fit) for other, (fit, _) in zip(others, halves, strict=True)]
    tests = [other.subset(test) for other, (_, test) in zip(others, halves, strict=True)]
    closest = TaskRelatedness().fit(references, task, tests, folds=parts)
    probe = scores.cross_fitted_probe(task.features, task.labels, parts)
    said = {"reference": closest.reference} | numbers_of("reference", closest)
    return said | {f"{PROBE}: loss": probe.loss, PROBE: probe.accuracy}


def numbers_of(name: str, result: Relatedness) -> dict[str, Any]:
    """Return bound, transferred loss and accuracy."""
    numbers = {"bound": result.bound, "loss": result.transferred_loss, "accuracy": result.transferred_accuracy}
    return {f"{name}: {'' if key == 'bound' else 'transferred '}{key}": each for key, each in numbers.items()}


def scores_of(task: Task, reference: Task, n_parameters: int, names: Sequence[str]) -> dict[str, float]:
    """Return scores of the registry, the closest reference's classifier in the place of a source classifier."""
    result = TaskRelatedness().fit(reference, task)
    logits = result.reference_classifier.logits(result.transform.reference_scaler.apply(task.features))
    inputs = scores.ScoreInputs(task.features, task.labels, softmax(logits, axis=1), reference, n_parameters)
    return {name: float(value) for name, value in scores.compute_many(names, inputs)[0].items()}


def last_layer_jobs(
    pool: ProcessPoolExecutor, data: Path, rows: int, truth: Cells, known: Mapping[tuple[str, str], dict[str, Any]]
) -> Iterator[Future[dict[str, Any]]]:
    """Start `last_layer` for every cell of the truth."""
    sizes = {name: load_encoder(f"packaged:{name}", device="cpu").n_parameters or 0 for name in ENCODERS}
    for name, target in truth:
        path = data / "real_zoo" / f"{name}.npz"
        yield pool.submit(last_layer, path, target, rows, sizes[name], known.get((name, target), {}))


def common_rows(folder: Path, truth: Cells) -> dict[str, np.ndarray]:
    """Return the rows that are kept of every encoder, by target."""
    found: dict[str, np.ndarray] = {}
    for name, target in truth:
        with np.load(folder / name / f"{target}.npz") as archive:
            found[target] = np.intersect1d(found.get(target, archive["rows"]), archive["rows"])
    return found


def all_layers(path: Path, rows: np.ndarray) -> dict[str, Any]:
    """Return what criteria of all layers, and of the last on the same rows, say of one encoder and target."""
    kept, labels, blocks = load_layers(path)
    chosen = np.isin(kept, rows)
    labels, blocks = labels[chosen], spread([block[chosen] for block in blocks])
    said = {"encoder": path.parent.name, "target": path.stem, "rows": len(labels)}
    return said | last_layer_criteria(blocks[-1], labels) | all_layer_criteria(blocks, labels)


def criteria_of(found: Sequence[Mapping[str, Any]]) -> dict[str, Cells]:
    """Return values by criterion and cell, turned so that higher means better."""
    names = [name for name in found[0] if name not in ("encoder", "target", "reference", "rows")]
    return {
        name: {
            (cell["encoder"], cell["target"]): (-1 if name.endswith(LOWER) else 1) * cell[name]
            for cell in found
            if name in cell
        }
        for name in names
    }


def rows_of(criteria: Mapping[str, Cells], truth: Cells) -> list[dict[str, Any]]:
    """Return each criterion's agreement, mean and by target, with intervals over encoders; the best Pearson first."""
    intervals = paired_intervals(criteria, truth, TARGETS, ENCODERS)
    rows = []
    for name, values in criteria.items():
        by_target = {target: agreement(values, truth, target, ENCODERS) for target in TARGETS}
        means = {measure: float(np.mean([each[measure] for each in by_target.values()])) for measure in MEASURES}
        rows.append({"criterion": name, **means, "by target": by_target, "intervals": intervals[name]})
    return sorted(rows, key=lambda row: -row["pearson"])


def chosen_without_a_target(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Choose, for each target, the criterion of the largest mean Pearson on the others; say what it reaches there."""
    choice = {}
    for target in TARGETS:
        others = [each for each in TARGETS if each != target]
        best = max(rows, key=lambda row: sum(row["by target"][other]["pearson"] for other in others))
        choice[target] = {"criterion": best["criterion"], **best["by target"][target]}
    means = {measure: float(np.mean([each[measure] for each in choice.values()])) for measure in MEASURES}
    return {"by target": choice, "mean": means}


def without_an_encoder(criteria: Mapping[str, Cells], truth: Cells) -> dict[str, dict[str, float]]:
    """Return each criterion's mean Pearson with one encoder left out: whose place it gets wrong."""
    return {
        name: {
            left_out: float(
                np.mean(
                    [
                        agreement(values, truth, target, [each for each in ENCODERS if each != left_out])["pearson"]
                        for target in TARGETS
                    ]
                )
            )
            for left_out in ENCODERS
        }
        for name, values in criteria.items()
    }


def agreements(found: list[dict[str, Any]], truth: dict[tuple[str, str], float]) -> Iterator[dict[str, Any]]:
    """Yield each criterion's agreement with the truth: the mean over targets of correlations and regret (a share)."""
    for name, values in criteria_of(found).items():
        parts = [agreement(values, truth, target, ENCODERS) for target in TARGETS]
        means = {measure: float(np.mean([part[measure] for part in parts])) for measure in MEASURES}
        regret = means["regret of the first"] / 100
        yield {"criterion": name, "pearson": means["pearson"], "kendall": means["kendall"], "regret": regret}


def floored(truth: Cells, found: Sequence[Mapping[str, Any]]) -> tuple[dict[tuple[str, str], float], list[str]]:
    """Return the truth, never below the cross-fitted probe of the frozen features, and the cells that this raises."""
    probe = {(cell["encoder"], cell["target"]): cell[PROBE] for cell in found}
    raised = [f"{encoder}, {target}" for encoder, target in truth if probe[encoder, target] > truth[encoder, target]]
    return {cell: max(value, probe[cell]) for cell, value in truth.items()}, raised


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| | Pearson | 95 % | Kendall | weighted | regret | of three | {' | '.join(TARGETS)} |")
    print("| --- |" + " --- |" * (6 + len(TARGETS)))
    for row in rows:
        low, high = row["intervals"]["pearson"]
        parts = " | ".join(f"{each['pearson']:.2f} / {each['kendall']:.2f}" for each in row["by target"].values())
        ordered = f"{row['kendall']:.2f} | {row['weighted kendall']:.2f}"
        regrets = f"{row['regret of the first']:.1f} | {row['regret of three']:.1f}"
        print(
            f"| {row['criterion']} | {row['pearson']:.2f} | {low:.2f} – {high:.2f} | {ordered} | {regrets} | {parts} |"
        )


def ceilings(truth: Truth) -> dict[str, Any]:
    """Return the noise between seeds and the agreement that it leaves, by target and in the mean."""
    by_target = {target: ceiling(truth, target, ENCODERS) for target in TARGETS}
    means = {measure: float(np.mean([each[measure] for each in by_target.values()])) for measure in MEASURES}
    return {"mean": means, "by target": by_target, "deviation": {target: truth.noise(target) for target in TARGETS}}


def summarise(full: Truth, found: Sequence[dict[str, Any]], of_layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return all tables of the cells of the last layer and of all layers."""
    truth = full.means
    corrected, raised = floored(truth, found)
    summary: dict[str, Any] = {"ceiling": ceilings(full), "below their probe": raised}
    for name in ("reference", "own half"):
        gaps = [cell[f"{name}: bound"] - cell[f"{PROBE}: loss"] for cell in found]
        summary[f"gap of the bound to the probe's loss, {name}"] = float(np.mean(gaps))
    last = criteria_of(found)
    record = {RECORD: track_record(truth)}
    for name in BESIDE_THE_RECORD:
        record[f"{RECORD}, and {name}"] = consensus({**record, **last}, [RECORD, name])[0]
    tables = {"last layer": last, "with accuracies of other targets": record}
    if of_layers:
        criteria = criteria_of(of_layers)
        for title, names in CONSENSUS.items():
            criteria[f"{title}, means"], criteria[f"{title}, ranks"] = consensus(criteria, names)
        tables["all layers"] = criteria
    for title, criteria in tables.items():
        summary[title] = rows_of(criteria, truth)
        summary[f"{title}, truth not below a probe"] = rows_of(criteria, corrected)
    if of_layers:
        summary["rows of all layers"] = sorted({cell["rows"] for cell in of_layers})
        summary["without an encoder"] = without_an_encoder(tables["all layers"], truth)
        summary["leave one target out"] = chosen_without_a_target(summary["all layers"])
        summary["below a ridge on all layers of fewer rows"] = [
            f"{cell['encoder']}, {cell['target']}"
            for cell in of_layers
            if cell["all layers: ridge, accuracy"] > truth[cell["encoder"], cell["target"]]
        ]
    return summary | {"cells": found, "cells of all layers": of_layers}


def show_all(summary: Mapping[str, Any]) -> None:
    """Print the tables, and what else there is to say."""
    for title in ("last layer", "with accuracies of other targets", "all layers"):
        if title in summary:
            show(title, summary[title])
            floor = f"{title}, truth not below a probe"
            show(f"{floor} of the frozen features", summary[floor])
    print("\nbelow their probe:", "; ".join(summary["below their probe"]))
    print("below all layers of fewer rows:", "; ".join(summary.get("below a ridge on all layers of fewer rows", [])))
    print("ceiling:", summary["ceiling"]["mean"])
    for name in ("last layer: LogME", "all layers: ridge") if "all layers" in summary else ():
        parts = ", ".join(f"{encoder} {value:.2f}" for encoder, value in summary["without an encoder"][name].items())
        print(f"{name}, mean Pearson without {parts}")
    print("chosen by leave-one-target-out:", json.dumps(summary.get("leave one target out"), indent=1))


def main() -> None:
    """Run everything and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--reuse", action="store_true")
    options = parser.parse_args()
    full = read_truth(options.data, ENCODERS)
    truth = full.means
    before = json.loads(RESULTS.read_text()) if options.reuse else {"cells": [], "cells of all layers": []}
    known = {(cell["encoder"], cell["target"]): cell for cell in before["cells"]}
    rows = common_rows(options.features, truth) if options.features else {}
    layered = truth if options.features else {}
    with ProcessPoolExecutor(options.jobs) as pool:
        layer_jobs = [
            pool.submit(all_layers, options.features / name / f"{target}.npz", rows[target]) for name, target in layered
        ]
        jobs = list(last_layer_jobs(pool, options.data, options.rows, truth, known))
        found, of_layers = ([job.result() for job in each] for each in (jobs, layer_jobs))
    of_layers = of_layers or before["cells of all layers"]
    summary = {"rows": options.rows} | summarise(full, found, of_layers)
    RESULTS.write_text(json.dumps(summary, indent=1) + "\n")
    show_all(summary)


if __name__ == "__main__":
    main()
