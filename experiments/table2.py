"""Table 2: task-relatedness with the target's true labels and with pseudo-labels, against fine-tuned accuracy.

python experiments/table2.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Run, options
from _zoo import PANEL, TARGETS
from finetune_zoo import SEEDS, accuracies
from scipy.stats import pearsonr

from transferability import TaskRelatedness

ESTIMATOR = TaskRelatedness(tau=0.2)


def main() -> None:
    """Relate twice, then correlate."""
    run = Run("table2", options(__doc__))
    rows: list[dict[str, Any]] = []
    for name in run.names:
        for target in TARGETS:
            row: dict[str, Any] = {"encoder": name, "target": target}
            row["accuracy"] = float(np.mean(accuracies(run, name, target, SEEDS[:1])))
            for kind, labelled in (("true", True), ("pseudo", False)):
                found = run.relatedness(
                    name, target, [each for each in PANEL if each != target], ESTIMATOR, labelled=labelled
                )
                row[kind] = min(each["bound"] for each in found)
            rows.append(row)
        print(name, flush=True)
    table = {}
    print(f"{'Pearson':20}{'true labels':>14}{'pseudo-labels':>16}")
    for target in TARGETS:
        mine = [row for row in rows if row["target"] == target]
        table[target] = [
            pearsonr([r[kind] for r in mine], [r["accuracy"] for r in mine])[0] for kind in ("true", "pseudo")
        ]
        print(f"{target:20}{table[target][0]:+14.2f}{table[target][1]:+16.2f}")
    true, pseudo = np.mean(list(table.values()), axis=0)
    run.claim(
        "Table 2: pseudo-labels do nearly as well where reference and target are related",
        "held"
        if pseudo < -0.5
        else "held in part"
        if min(each[1] for each in table.values()) < -0.5
        else "did not hold",
        f"mean r {true:+.2f} with true labels, {pseudo:+.2f} with pseudo-labels; "
        + ", ".join(f"{target} {a:+.2f} / {b:+.2f}" for target, (a, b) in table.items()),
    )
    run.finish(rows, correlations=table)


if __name__ == "__main__":
    main()
