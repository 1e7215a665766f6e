"""Fine-tunes every encoder of the zoo on every target: the accuracies that table1, fig5 and table2 are held against.

    python experiments/finetune_zoo.py --data FOLDER [--quick] [--encoders NAME ...]

Resumes where it stopped. Seeds are done one after the other, so that what there is can be used at any time.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from _common import TUNING, Run, options
from _zoo import PACKAGED, TARGETS, zoo
from threadpoolctl import threadpool_limits

from transferability.validation.measure import measure

__all__ = ["SEEDS", "accuracies"]

SEEDS = (0, 1)


def accuracies(run: Run, name: str, target: str, seeds: tuple[int, ...]) -> list[float]:
    """Return the test accuracy of each seed; with --stored-truth that of an earlier run, of the seeds it knows."""
    if run.given.stored_truth:
        kept = _stored(run.given.out, name, target)
        if kept:
            return [kept[seed] for seed in seeds if seed in kept] or list(kept.values())
    with threadpool_limits(1, "blas"):
        found = measure(run.encoder(name), run.part(target), seeds=seeds, settings=TUNING, store=run.store)
    return [each.accuracy for each in found]


@cache
def _stored_rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "finetune_zoo.json"
    return json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []


def _stored(folder: Path, name: str, target: str) -> dict[int, float]:
    """Return the accuracies that an earlier run ended with, by seed."""
    rows = [row for row in _stored_rows(folder) if (row["encoder"], row["target"]) == (name, target)]
    return {row["seed"]: row["accuracy"] for row in rows}


def main() -> None:
    """Fine-tune all, seed by seed; the packaged networks, which are slow, last."""
    run = Run("finetune_zoo", options(__doc__))
    names = run.names
    slow = [name for name in names if name in PACKAGED]
    for seeds in (SEEDS[:1], SEEDS)[: 1 if run.quick else 2]:
        for name in [each for each in names if each not in slow] if seeds == SEEDS else names:
            for target in TARGETS:
                print(name, target, *(f"{each:.3f}" for each in accuracies(run, name, target, seeds)), flush=True)
    settings = json.loads(json.dumps(asdict(TUNING)))  # as JSON has it
    kept = [each for kind in ("finetune", "finetune-choice") for each in run.store.results(kind)]
    rows = [
        {"encoder": each.encoder, "target": each.target} | {key: each.result.get(key) for key in ("seed", "accuracy")}
        for each in kept
        if each.kind == "finetune" and each.encoder in zoo(run.quick) and each.result["settings"] == settings
    ]
    run.finish(sorted(rows, key=lambda row: tuple(map(str, row.values()))), wall_seconds=sum(e.seconds for e in kept))


if __name__ == "__main__":
    main()
