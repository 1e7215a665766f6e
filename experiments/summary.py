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
    "finetune_zoo", "fig3_terms", "fig4", "table1", "ablation", "confirm_zoo", "fig5_share", "table2", "pseudo_labels",
    "fig678", "fig12_text", "fig13_tau", "ours",
)  # fmt: skip
PARTS = ("all targets", "choice", "verdict", "ConvNets alone")
CRITERIA = {  # as the page names them
    "default: transferred accuracy": "**transferred accuracy, closest reference (criterion of `rank`)**",
    "default: largest transferred accuracy": "transferred accuracy, largest of the references",
    "default: transferred loss": "transferred loss, closest reference",
    "default": "**bound, closest reference**",
    "default: mean of the panel": "bound, mean of the references",
    "default: cifar10 alone": "bound, from CIFAR-10 alone",
    "paper's form: transferred accuracy": "transferred accuracy, the paper's form",
    "paper's form": "bound, the paper's form (Euclidean cost, τ = 0.2, no scale)",
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


GAPS = {
    "kind": "", "form": "reference", "pairs": "pairs", "bound": "bound", "reference_loss": "reference loss",
    "distribution_mismatch": "distribution mismatch", "transferred_loss": "transferred loss",
    "probe loss": "loss of a linear probe", "gap": "mean gap of the bound to it", "largest gap": "largest",
    "below probe": "bound below it",
}  # fmt: skip
JOINT = {
    "classifier": "reference classifier", "bound": "bound", "loss": "transferred loss", "accuracy": "accuracy",
    "lower bound than the default": "pairs with a smaller bound than the default's",
    "pearson": "agreement: Pearson", "kendall": "Kendall",
}  # fmt: skip
TAU = {
    "tau": "τ · √d", "bound": "bound", "loss": "transferred loss", "accuracy": "accuracy",
    "smallest_bound": "pairs with the smallest bound there",
}  # fmt: skip


def main() -> None:
    """Read, and write between the marks of the page."""
    found = {name: each for name in ORDER if (each := read(name)) is not None}
    page = PAGE.read_text("utf-8")
    parts = {
        "summary": claims(found),
        "gaps": means(found["fig3_terms"]["means"], GAPS),
        "agreement": agreement(found["table1"]),
        "joint": means(plain("joint_classifier"), JOINT),
        "tau": means(plain("tau_scale"), TAU),
        "times": times(found),
    }
    for mark, rows in parts.items():
        page = re.sub(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", lambda m, r=rows: m[1] + r + m[2], page, flags=re.S)
    PAGE.write_text(page, "utf-8")


def read(name: str) -> dict[str, Any] | None:
    """Return the results of an experiment; None if it was not run."""
    paths = (HERE / "results" / f"{each}.json" for each in (name, f"{name}-quick"))
    return next((json.loads(path.read_text("utf-8")) for path in paths if path.exists()), None)


def plain(name: str) -> list[dict[str, Any]]:
    """Return the rows of an experiment that makes no claims."""
    rows: list[dict[str, Any]] = json.loads((HERE / "results" / f"{name}.json").read_text("utf-8"))["rows"]
    return rows


def means(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Return means as they are, with two digits, or three where differences are small."""
    digits = 2 if "gap" in columns else 3

    def shown(value: Any) -> str:
        whole = not isinstance(value, float) or (value >= 1 and value.is_integer())
        return f"{value:{'' if isinstance(value, str) else 'g'}}" if whole else f"{value:.{digits}f}"

    return table(columns.values(), [[shown(row[key]) for key in columns] for row in rows])


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
    rows.append(("sum", "", f"{together:.0f}"))
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
