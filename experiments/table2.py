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

KINDS = {"true": True, "pseudo": False}


def main() -> None:
    """Relate twice, then correlate."""
    run = Run("table2", options(__doc__))
    rows: list[dict[str, Any]] = []
    for name in run.names:
        for target in TARGETS:
            row: dict[str, Any] = {"encoder": name, "target": target}
            row["accuracy"] = float(np.mean(accuracies(run, name, target, SEEDS[:1])))
            panel = [each for each in PANEL if each != target]
            for kind, labelled in KINDS.items():
                found = run.relatedness(name, target, panel, labelled=labelled)
                row[kind] = min(each["bound"] for each in found)
            rows.append(row)
        print(name, flush=True)
    columns = list(KINDS)
    table = {}
    print(f"{'Pearson':20}", *(f"{column:>16}" for column in columns))
    for target in TARGETS:
        mine = [row for row in rows if row["target"] == target]
        table[target] = {
            column: float(pearsonr([r[column] for r in mine], [r["accuracy"] for r in mine])[0]) for column in columns
        }
        print(f"{target:20}", *(f"{r:+16.2f}" for r in table[target].values()))
    true, pseudo = KINDS
    mean = {column: float(np.mean([each[column] for each in table.values()])) for column in columns}
    best = min(each[pseudo] for each in table.values())
    run.claim(
        "Table 2: pseudo-labels do nearly as well where reference and target are related",
        "held" if mean[pseudo] < -0.5 else "held in part" if best < -0.5 else "did not hold",
        f"mean r {mean[true]:+.2f} with true labels, {mean[pseudo]:+.2f} with pseudo-labels; "
        + ", ".join(f"{target} {each[true]:+.2f} / {each[pseudo]:+.2f}" for target, each in table.items()),
    )
    run.finish(rows, draw(table, columns), correlations=table)


def draw(table: dict[str, dict[str, float]], columns: list[str]) -> Any:
    """Draw the correlation of each target, true labels beside guessed ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    ax = figure.subplots()
    places = np.arange(len(table))
    for number, column in enumerate(columns):
        width = 0.8 / len(columns)
        ax.bar(places + (number + 0.5) * width - 0.4, [each[column] for each in table.values()], width, label=column)
    ax.axhline(0, color="0.5", linewidth=0.8)
    ax.set_xticks(places, list(table), fontsize=7)
    ax.set_ylabel("Pearson's r of bound and accuracy")
    ax.legend(fontsize=7)
    return figure


if __name__ == "__main__":
    main()
