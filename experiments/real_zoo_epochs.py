"""Which weights of a run should be kept? The real zoo by the recipe of `--confirm`, measured after every epoch.

    python experiments/real_zoo_epochs.py --data FOLDER [--encoders NAME …] [--targets NAME …] [--table]

FOLDER as for `real_zoo_finetuned.py`, whose results say with which settings an encoder is trained on a target. Twelve
epochs each, one seed; validation and test rows are measured after every epoch, and every run is a line of
`results/real_zoo_epochs.jsonl`. `--table` prints what rules that see the validation rows alone would have kept, and
its accuracy on the test rows: the smallest loss, the smallest after temperature scaling (Guo et al., ICML 2017), the
largest accuracy, with and without an early end, and the last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from real_zoo_features import ENCODERS
from real_zoo_finetuned import RESULTS as SETTINGS
from real_zoo_finetuned import known, split_of
from torch import nn

from transferability.encoders import as_trainable, load_encoder
from transferability.validation.confirm import BRIEF
from transferability.validation.finetune import FineTuner
from transferability.validation.head import loss_and_accuracy
from transferability.validation.settings import Hyperparameters

RESULTS = SETTINGS.with_name("real_zoo_epochs.jsonl")
SCALES = np.logspace(-2, 1, 121)  # inverse temperatures


class Epoch(NamedTuple):
    """What was measured after it."""

    loss: float  # on the validation rows, as the next two
    accuracy: float
    calibrated: float  # the smallest loss of the logits times a number of SCALES
    test_accuracy: float


class Watched(FineTuner):
    """Measures validation and test rows after every epoch."""

    epochs: list[Epoch]

    def _evaluate(self, predict: Any, rows: Any) -> tuple[float, float]:
        logits, labels = self._forward(predict, rows), self._labels[torch.from_numpy(rows)]
        found = loss_and_accuracy(logits, labels)
        if rows is self._parts.validation:
            scaled = min(float(nn.functional.cross_entropy(logits * scale, labels)) for scale in SCALES)
            self.epochs.append(Epoch(*found, scaled, self._evaluate(predict, self._parts.test)[1]))
        return found

    def before(self) -> Epoch:
        """Return what the probe gives; its ridge was chosen by the validation loss, which calibrates it."""
        start = self._start
        return Epoch(start.loss, start.validation_accuracy, start.loss, start.accuracy)


def run(name: str, target: str, chosen: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Train once; return what was measured before and after every epoch."""
    torch.set_num_threads(1)
    part = split_of(data, target, 1000)
    encoder = as_trainable(load_encoder(f"packaged:{name}"))
    tuner = Watched(encoder, part.dataset, part.fit_rows, part.test_rows, BRIEF)
    tuner.epochs = []
    tuner.run(Hyperparameters(**chosen), 0)
    return {"encoder": name, "target": target, "before": tuner.before(), "epochs": tuner.epochs[: BRIEF.epochs]}


def most_accurate(before: Epoch, epochs: Sequence[Epoch], patience: float = math.inf) -> tuple[float, int]:
    """Return the test accuracy of what is kept, and after how many epochs without any progress training ended."""
    kept, loss, accuracy, improved = before, math.inf, 0.0, 0
    for number, epoch in enumerate(epochs, 1):
        kept = max(kept, epoch, key=lambda each: (each.accuracy, -each.loss))
        if epoch.loss < loss or epoch.accuracy > accuracy:
            improved = number
        loss, accuracy = min(loss, epoch.loss), max(accuracy, epoch.accuracy)
        if number - improved >= patience:
            return kept.test_accuracy, number
    return kept.test_accuracy, len(epochs)


def show(runs: Sequence[Mapping[str, Any]]) -> None:
    """Print each rule's accuracy on the test rows, and the epochs that it takes."""
    read = [(Epoch(*each["before"]), [Epoch(*epoch) for epoch in each["epochs"]]) for each in runs]
    of_all = {
        "smallest loss": [(min([b, *e], key=lambda each: each.loss).test_accuracy, len(e)) for b, e in read],
        "smallest loss, calibrated": [
            (min([b, *e], key=lambda each: each.calibrated).test_accuracy, len(e)) for b, e in read
        ],
        "largest accuracy, then smallest loss": [most_accurate(b, e) for b, e in read],
        **{
            f"the same, ended after {n} epochs without progress": [most_accurate(b, e, n) for b, e in read]
            for n in (2, 3, 4)
        },
        "last epoch": [(e[-1].test_accuracy, len(e)) for _, e in read],
    }
    names = [f"{each['encoder']} {each['target']}" for each in runs]
    print(f"{len(runs)} runs: {', '.join(names)}\n\n| kept | test accuracy | epochs |\n| --- | --- | --- |")
    for rule, values in of_all.items():
        accuracy, epochs = np.mean(values, axis=0)
        print(f"| {rule} | {100 * accuracy:.1f} % | {epochs:.1f} |")


def main() -> None:
    """Do the runs that are missing, one after the other, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoders", nargs="*", default=ENCODERS)
    parser.add_argument("--targets", nargs="*")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    done = list(known(RESULTS))
    if options.table:
        show(done)
        return
    there = {(each["encoder"], each["target"]) for each in done}
    settings = {
        (each["encoder"], each["target"]): each["chosen"] for each in known(SETTINGS) if each["recipe"] == "brief"
    }
    for name, target in settings:
        wanted = name in options.encoders and (options.targets is None or target in options.targets)
        if wanted and (name, target) not in there:
            line = run(name, target, settings[name, target], options.data)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(name, target, flush=True)


if __name__ == "__main__":
    main()
