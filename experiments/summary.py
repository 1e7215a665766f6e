"""Prints every claim, its verdict and its numbers from the results folder, as the table of docs/experiments.md.

python experiments/summary.py
"""

from __future__ import annotations

import json
from pathlib import Path

ORDER = ("fig3_terms", "fig4", "table1", "fig5_share", "table2", "fig678", "fig12_text", "fig13_tau", "ours")


def main() -> None:
    """Take the full run of each experiment where there is one, else the quick one."""
    folder = Path(__file__).parent / "results"
    print("| claim | verdict | numbers | run |\n| --- | --- | --- | --- |")
    for name in ORDER:
        path = next((p for p in (folder / f"{name}.json", folder / f"{name}-quick.json") if p.exists()), None)
        if path is None:
            print(f"| {name} | not run | | |")
            continue
        found = json.loads(path.read_text())
        for each in found["claims"]:
            cells = (each["claim"], f"**{each['verdict']}**", each["numbers"], f"`{name}.py`, {found['mode']}")
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")


if __name__ == "__main__":
    main()
