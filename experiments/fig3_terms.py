"""Fig. 3 and 9: the target loss against the three stacked terms, per encoder and target, pictures and texts.

Pictures: CIFAR-10 is the reference (the paper's is ImageNet), the zoo of `_zoo.py`. Texts: CLINC150's intents are the
reference (the paper's is DBPedia), packaged encoders. Bounds are the default of `rank` and the paper's form.

    python experiments/fig3_terms.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import DEFAULT, PAPERS, Run, options
from _zoo import TARGETS
from scipy.stats import pearsonr

from transferability import TransferabilityError

TEXT_ENCODERS = ("minilm-l6", "paraphrase-minilm-l3", "multilingual-e5-small", "wordllama")
TEXT_TARGETS = ("agnews_testpart", "trec6", "sst5", "subj")
FORMS = {"default": DEFAULT, "paper's form": PAPERS}


def main() -> None:
    """Relate every target to one reference under every encoder."""
    run = Run("fig3_terms", options(__doc__))
    jobs = [(name, target, "cifar10") for name in run.names for target in TARGETS if target != "cifar10"]
    texts = run.chosen(TEXT_ENCODERS)
    jobs += [(f"packaged:{name}", target, "clinc150") for name in texts for target in TEXT_TARGETS]
    rows: list[dict[str, Any]] = []
    for name, target, reference in jobs:
        for form, estimator in FORMS.items():
            try:
                (found,) = run.relatedness(name, target, [reference], estimator)
            except TransferabilityError as error:
                print(f"left out {name} on {target}: {error}")
                continue
            rows.append({"encoder": name, "target": target, "form": form} | found)
        print(f"{name:30} {target:20} bound {rows[-2]['bound']:.2f} paper's form {rows[-1]['bound']:.2f}", flush=True)
    for kind, reference in (("pictures", "cifar10"), ("texts", "clinc150")):
        judge(run, kind, [row for row in rows if row["reference"] == reference])
    run.finish(rows, draw(rows))


def judge(run: Run, kind: str, rows: list[dict[str, Any]]) -> None:
    """Is the gap small, and do bound and loss go together?"""
    verdicts, said = [], []
    for form in FORMS:
        mine = [row for row in rows if row["form"] == form]
        gaps = [row["bound"] - row["transferability"] for row in mine]
        encoders = dict.fromkeys(row["encoder"] for row in mine)
        per_encoder = [
            pearsonr(*zip(*[(r["bound"], r["transferability"]) for r in mine if r["encoder"] == name], strict=True))[0]
            for name in encoders
        ]
        broken = sum(row["transferred_loss"] > row["bound"] + 1e-9 for row in mine)
        together = float(np.mean(per_encoder))
        verdicts.append(together > 0.5 and np.mean(gaps) < 1 and broken == 0)
        said.append(
            f"{form}: mean gap to the loss of h_T {np.mean(gaps):.2f} nats (largest {max(gaps):.2f}), correlation over "
            f"targets within an encoder {together:+.2f}, bound below the transferred loss {broken} of {len(mine)} times"
        )
    held = "held" if all(verdicts) else "held in part" if any(verdicts) else "did not hold"
    run.claim(
        f"Fig. 3/9: the bound is near the target loss, and smaller where it is smaller [{kind}]", held, "; ".join(said)
    )


def draw(rows: list[dict[str, Any]]) -> Any:
    """Stack the terms, one panel per encoder."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["form"] == "default"]
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    height = -(-len(encoders) // 6)
    figure = Figure(figsize=(15, 2.4 * height), layout="constrained")
    axes = figure.subplots(height, 6, sharey=True, squeeze=False).ravel()
    for name, ax in zip(encoders, axes, strict=False):
        mine = [row for row in rows if row["encoder"] == name]
        base = np.zeros(len(mine))
        for term, colour in (
            ("reference_loss", "#0072B2"), ("label_mismatch", "#E69F00"), ("distribution_mismatch", "#56B4E9")
        ):  # fmt: skip
            ax.bar(range(len(mine)), [row[term] for row in mine], bottom=base, color=colour, width=0.6)
            base += [row[term] for row in mine]
        ax.scatter(range(len(mine)), [row["transferability"] for row in mine], color="black", marker="D", s=14)
        ax.set_xticks(range(len(mine)), [row["target"][:7] for row in mine], rotation=40, fontsize=7)
        ax.set_title(name.removeprefix("packaged:"), fontsize=8)
    for ax in axes[len(encoders) :]:
        ax.set_visible(False)
    return figure


if __name__ == "__main__":
    main()
