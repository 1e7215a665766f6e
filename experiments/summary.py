"""Writes what the results folder holds into docs/experiments.md: claims, how each criterion agrees, CPU seconds.

python experiments/summary.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "experiments.md"
ORDER = (
    "finetune_zoo", "fig3_terms", "fig4", "table1", "mend", "fig5_share", "table2", "fig678", "fig12_text",
    "fig13_tau", "ours",
)  # fmt: skip
PARTS = ("all targets", "choice", "verdict", "ConvNets alone")
CRITERIA = {  # as the page names them; those of the results of former defaults, too
    "default, five folds: accuracy of h′": "**accuracy of h′, default of `rank`**",
    "default, one split: accuracy of h′": "accuracy of h′, default, one split",
    "τ 0.2: accuracy of h′": "accuracy of h′, exact cost, τ = 0.2",
    "loss cost: accuracy of h′": "accuracy of h′, loss cost",
    "paper's form: accuracy of h′": "accuracy of h′, the paper's form",
    "default, five folds: loss of h′": "loss of h′, default of `rank`",
    "default, five folds": "**bound, default of `rank`**",
    "default, one split": "bound, default, one split",
    "τ 0.2": "bound, exact cost, τ = 0.2",
    "loss cost": "bound, loss cost",
    "paper's form": "bound, the paper's form (Euclidean cost, τ = 0.2, no scale)",
    "loss, τ 4/√d: accuracy of h′": "**accuracy of h′, τ = 4/√d (default of `rank`)**",
    "loss, τ 0.2: accuracy of h′": "accuracy of h′, τ = 0.2",
    "loss, τ auto: accuracy of h′": "accuracy of h′, τ auto",
    "loss, τ 16/√d: accuracy of h′": "accuracy of h′, τ = 16/√d",
    "loss, τ 4/√d: loss of h′": "loss of h′, τ = 4/√d",
    "loss, τ 0.2: loss of h′": "loss of h′, τ = 0.2",
    "loss, τ auto: loss of h′": "loss of h′, τ auto",
    "loss, τ 2/√d": "bound, τ = 2/√d",
    "loss, τ 4/√d": "**bound, τ = 4/√d**",
    "loss, τ 8/√d": "bound, τ = 8/√d",
    "loss, τ 0.2": "bound, τ = 0.2",
    "loss, τ auto": "bound, τ auto",
    "Euclidean, τ 4/√d": "bound, Euclidean cost, τ = 4/√d",
    "Euclidean, τ 0.2": "bound, Euclidean cost, τ = 0.2 (the paper's form)",
    "linear_probe": "linear probe",
    "h_score_shrunk": "H-score, shrunk",
    "logme": "LogME",
    "sfda": "SFDA",
    "knn": "kNN",
    "n_leep": "N-LEEP",
    "pactran_gaussian": "PACTran, Gaussian",
    "otce": "OTCE",
    "leep": "LEEP",
    "nce": "NCE",
    "size": "size (static baseline)",
}


def main() -> None:
    """Read, and write between the marks of the page."""
    found = {name: each for name in ORDER if (each := read(name)) is not None}
    page = PAGE.read_text("utf-8")
    for mark, rows in (("summary", claims(found)), ("agreement", agreement(found["table1"])), ("times", times(found))):
        page = re.sub(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m, r=rows: m[1] + r + m[2], page, flags=re.S)
    PAGE.write_text(page, "utf-8")


def read(name: str) -> dict[str, Any] | None:
    """Return the results of an experiment; None if it was not run."""
    paths = (HERE / "results" / f"{each}.json" for each in (name, f"{name}-quick"))
    return next((json.loads(path.read_text("utf-8")) for path in paths if path.exists()), None)


def claims(found: dict[str, dict[str, Any]]) -> str:
    """Return every claim with its verdict and numbers."""
    rows = [
        (each["claim"], f"**{each['verdict']}**", each["numbers"], f"`{name}.py`, {result['mode']}")
        for name, result in found.items()
        for each in result["claims"]
    ]
    return table(("claim", "verdict", "numbers", "run"), rows)


def agreement(result: dict[str, Any]) -> str:
    """Return Pearson's r and Kendall's τ of each criterion with fine-tuned accuracy, by part."""
    rows, known = [], {each["criterion"] for part in PARTS for each in result["agreement"][part]}
    for criterion, name in CRITERIA.items():
        if criterion not in known:
            continue
        cells = []
        for part in PARTS:
            row = next((each for each in result["agreement"][part] if each["criterion"] == criterion), None)
            values = None if row is None else [row[key]["value"] for key in ("pearson", "kendall")]
            cells.append("" if values is None else " / ".join(f"{value:+.2f}".replace("-", "−") for value in values))
        rows.append((name, *cells))
    return table(("", *PARTS), rows)


def times(found: dict[str, dict[str, Any]]) -> str:
    """Return the CPU seconds of what each experiment rests on, and of whole runs where they were timed."""
    rows = []
    for name, each in found.items():
        used = (f"{each[key]:.0f}" if each.get(key) else "" for key in ("cpu_seconds", "wall_seconds"))
        rows.append((f"`{name}.py`", *used))
    together = sum(each.get(key) or 0 for each in found.values() for key in ("cpu_seconds", "wall_seconds"))
    rows.append(("all of these, one core", "", f"{together:.0f}"))
    for mode in ("", "-quick"):
        path = HERE / "results" / f"times{mode}.json"
        if path.exists():
            for name, each in json.loads(path.read_text("utf-8")).items():
                used = (f"{each['cpu_seconds']:.0f}", f"{each['wall_seconds']:.0f}")
                rows.append((f"`run.py{' --quick' if mode else ''}`: {name}", *used))
    return table(("", "CPU seconds", "seconds"), rows)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return Markdown."""
    lines = [tuple(head)]
    lines += [("---",) * len(lines[0]), *map(tuple, rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    main()
