"""Fig. 12: texts, one reference and several targets: the nearer target has the smaller loss.

python experiments/fig12_text.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import DEFAULT, FOLDS, PAPERS, Run, options
from scipy.stats import spearmanr

from transferability import TransferabilityError

ENCODERS = ("minilm-l6", "paraphrase-minilm-l3", "multilingual-e5-small", "wordllama")
TARGETS = ("agnews_testpart", "trec6", "sst5", "subj", "banking77")
REFERENCE = "clinc150"
FORMS = {"default": (DEFAULT, FOLDS), "paper's form": (PAPERS, None)}  # and folds


def main() -> None:
    """Relate, then compare orders."""
    run = Run("fig12_text", options(__doc__))
    rows: list[dict[str, Any]] = []
    for short in run.chosen(ENCODERS):
        for target in TARGETS[:4] if run.quick else TARGETS:
            for form, (estimator, folds) in FORMS.items():
                try:
                    (found,) = run.relatedness(f"packaged:{short}", target, [REFERENCE], estimator, folds=folds)
                except TransferabilityError as error:
                    print(f"left out {short}: {error}")
                    continue
                about = {"encoder": short, "target": target, "form": form}
                rows.append(about | found | {"probe loss": run.probe(f"packaged:{short}", target)["loss"]})
    verdicts, said = [], []
    for form in FORMS:
        orders = []
        for short in dict.fromkeys(row["encoder"] for row in rows):
            mine = [row for row in rows if (row["encoder"], row["form"]) == (short, form)]
            orders.append(spearmanr([row["bound"] for row in mine], [row["probe loss"] for row in mine])[0])
        verdicts.append(np.mean(orders) > 0.7)
        said.append(
            f"{form}: mean rank correlation of bound and loss of a linear probe over targets {np.mean(orders):+.2f}"
        )
    mine = [row for row in rows if row["form"] == "default" and row["encoder"] == ENCODERS[0]]
    said.append(", ".join(f"{row['target']} {row['bound']:.2f} / {row['probe loss']:.2f}" for row in mine))
    run.claim(
        "Fig. 12: from one text reference, the more related target (AG News) is transferred to better",
        "held" if all(verdicts) else "held in part" if any(verdicts) else "did not hold",
        "; ".join(said),
    )
    run.finish(rows, draw(rows))


def draw(rows: list[dict[str, Any]]) -> Any:
    """Draw bound against loss, one colour for each encoder."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for form, ax in zip(FORMS, figure.subplots(1, 2), strict=True):
        for short in dict.fromkeys(row["encoder"] for row in rows):
            mine = [row for row in rows if (row["encoder"], row["form"]) == (short, form)]
            ax.scatter([row["bound"] for row in mine], [row["probe loss"] for row in mine], label=short, s=16)
        ax.set_xlabel(f"bound, {form}")
        ax.set_ylabel("loss of a linear probe, nats")
    ax.legend(fontsize=6, frameon=False)
    return figure


if __name__ == "__main__":
    main()
