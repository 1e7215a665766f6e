"""Does fine-tuning a shortlist briefly find the best encoder? What `rank --confirm 3` does, on the zoo of `_zoo.py`.

    python experiments/confirm_zoo.py --data FOLDER [--quick] [--encoders NAME ...] [--stored-truth]

On each target the three encoders of the largest transferred accuracy are fine-tuned by the recipe of `--confirm`, and
the first of its order is picked. Regret: how many points the fine-tuned accuracy of the pick, by `finetune_zoo.py`
with its own recipe and seeds, is below the best of the zoo. Beside it the regret of the first of the ranking, and of
the best of the three, which no confirmation of these can be better than.
The CPU seconds are of the ranking alone.
"""

from __future__ import annotations

import json

import numpy as np
from _common import Run, options
from _zoo import PANEL, TARGETS
from finetune_zoo import SEEDS, accuracies

from transferability.validation.confirm import confirm

SHORTLIST = 3
NEAR = 0.5  # points


def transferred_accuracy(run: Run, name: str, target: str) -> float:
    """Return the accuracy for the closest reference: what `rank` sorts by."""
    found = run.relatedness(name, target, [each for each in PANEL if each != target])
    return float(min(found, key=lambda each: each["bound"])["transferred_accuracy"])


def one_target(run: Run, target: str) -> dict[str, object]:
    """Return what was picked on a target, and the regrets in points."""
    said = {name: transferred_accuracy(run, name, target) for name in run.names}
    true = {name: 100 * float(np.mean(accuracies(run, name, target, SEEDS))) for name in run.names}
    shortlist = sorted(said, key=said.__getitem__, reverse=True)[:SHORTLIST]
    found = confirm({name: run.encoder(name) for name in shortlist}, run.part(target), store=run.store)
    picked = found.entries[0].encoder
    best = max(true.values())
    return {
        "target": target, "shortlist": shortlist, "picked": picked,
        "confirmed": {each.encoder: each.accuracy for each in found.entries},
        "fine-tuned": {name: true[name] / 100 for name in shortlist},
        "regret of the pick": best - true[picked],
        "regret of the first": best - true[shortlist[0]],
        "regret of the best of three": best - max(true[name] for name in shortlist),
    }  # fmt: skip


def main() -> None:
    """Confirm on every target, and say how often the pick is near the best."""
    run = Run("confirm_zoo", options(__doc__))
    rows = []
    for target in TARGETS:
        rows.append(one_target(run, target))
        print(json.dumps(rows[-1]), flush=True)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key.startswith("regret")}
    near = sum(row["regret of the pick"] <= NEAR for row in rows)
    run.claim(
        f"Ours: fine-tuning the first {SHORTLIST} briefly finds an encoder within {NEAR} points of the best",
        "held" if near == len(rows) else "held in part" if near >= 0.8 * len(rows) else "did not hold",
        f"on {near} of {len(rows)} targets; mean "
        + ", ".join(f"{key} {value:.1f}" for key, value in means.items())
        + " points",
    )
    run.finish(rows)


if __name__ == "__main__":
    main()
