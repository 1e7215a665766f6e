"""Fig. 3 and 9: the target loss against the three stacked terms, per encoder and target, pictures and texts.

Pictures: CIFAR-10 is the reference (the paper's is ImageNet), the zoo of `_zoo.py`. Texts: CLINC150's intents are the
reference (the paper's is DBPedia), packaged encoders. Beside the single reference, with the default of `rank` and in
the paper's form: the references that `rank` may take in its place (the closest of several data sets, their union, the
target's own other half), and, for some of the encoders, CIFAR-10 with many more rows. The loss that a bound should be
near to is that of a linear probe of the target. The bound is one on the transferred loss, not on that of the probe, and
can lie below it: how often is counted.

    python experiments/fig3_terms.py --data FOLDER [--quick]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import PAPERS, Run, options
from _data import target as read
from _zoo import PANEL, TARGETS
from scipy.stats import pearsonr

from transferability import TransferabilityError
from transferability.relatedness.references import OWN_HALF, UNION

KINDS = {  # encoders of texts, targets, the single reference, all references
    "pictures": (TARGETS, "cifar10", PANEL),
    "texts": (("agnews_testpart", "trec6", "sst5", "subj"), "clinc150", ("clinc150",)),
}
TEXT_ENCODERS = ("minilm-l6", "paraphrase-minilm-l3", "multilingual-e5-small", "wordllama")
SINGLE, FORM = "single reference", "paper's form"
CLOSEST, BEST = "closest data set", "closest of all"
MANY, MANY_ROWS = "single reference of 5,000 rows", 5000
WITH_MANY = ("conv-random", "conv-cifar10", "conv-cifar10-adversarial", "conv-cifar10-rotation")
GAPS = {"pictures": 0.4, "texts": 0.25}  # nats
SHOWN = (SINGLE, MANY, CLOSEST, UNION, OWN_HALF, BEST, FORM)


def main() -> None:
    """Relate every target to its references under every encoder."""
    run = Run("fig3_terms", options(__doc__))
    encoders = {"pictures": run.names, "texts": [f"packaged:{name}" for name in run.chosen(TEXT_ENCODERS)]}
    run.add(MANY, read(run.given.data, "cifar10", MANY_ROWS // (2 if run.quick else 1), run.n_test))
    rows: list[dict[str, Any]] = []
    for kind, (targets, reference, panel) in KINDS.items():
        for name in encoders[kind]:
            for target in targets:
                if target == reference:
                    continue
                try:
                    found = related(run, name, target, reference, [each for each in panel if each != target])
                except TransferabilityError as error:
                    print(f"left out {name} on {target}: {error}")
                    continue
                about = {"kind": kind, "encoder": name, "target": target, "probe loss": run.probe(name, target)["loss"]}
                rows += [about | {"form": form} | result for form, result in found.items()]
                print(name, target, *(f"{form} {each['bound']:.2f}" for form, each in found.items()), flush=True)
    table = []
    for kind in KINDS:
        mine = [row for row in rows if row["kind"] == kind]
        table += [means(kind, form, chosen) for form in SHOWN if (chosen := [r for r in mine if r["form"] == form])]
        judge(run, kind, mine)
    for line in table:
        print(*(f"{value:.3f}" if isinstance(value, float) else value for value in line.values()))
    run.finish(rows, draw(rows), means=table)


def related(run: Run, name: str, target: str, reference: str, panel: list[str]) -> dict[str, dict[str, Any]]:
    """Return what each choice of the reference gives."""
    single = dict(zip(panel, run.relatedness(name, target, panel), strict=True))
    (own,) = run.relatedness(name, target, [None])
    (paper,) = run.relatedness(name, target, [reference], PAPERS, folds=None)
    found = {
        SINGLE: single[reference],
        CLOSEST: min(single.values(), key=lambda each: each["bound"]),
        OWN_HALF: own,
        FORM: paper,
    }
    if len(panel) > 1:
        (found[UNION],) = run.relatedness(name, target, [tuple(panel)])
    choice = [found[each] for each in (CLOSEST, UNION, OWN_HALF) if each in found]
    found[BEST] = min(choice, key=lambda each: each["bound"])
    if name in WITH_MANY:
        (found[MANY],) = run.relatedness(name, target, [MANY])
    return found


def means(kind: str, form: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over pairs of encoder and target, and the gap of the bound to the loss of a linear probe."""
    gaps = [row["bound"] - row["probe loss"] for row in rows]
    keys = ("bound", "reference_loss", "label_mismatch", "distribution_mismatch", "transferred_loss", "probe loss")
    numbers = {key: float(np.mean([row[key] for row in rows])) for key in keys}
    return (
        {"kind": kind, "form": form, "pairs": len(rows)}
        | numbers
        | {
            "gap": float(np.mean(gaps)),
            "largest gap": max(gaps),
            "within": correlation_within(rows),
            "below": sum(row["transferred_loss"] > row["bound"] + 1e-9 for row in rows),
            "below probe": sum(gap < 0 for gap in gaps),
        }
    )


def correlation_within(rows: list[dict[str, Any]]) -> float:
    """Return Pearson's r of bound and loss over the targets of an encoder, mean over encoders."""
    found = []
    for name in dict.fromkeys(row["encoder"] for row in rows):
        pairs = [(row["bound"], row["probe loss"]) for row in rows if row["encoder"] == name]
        found.append(pearsonr(*zip(*pairs, strict=True))[0])
    return float(np.mean(found))


def judge(run: Run, kind: str, rows: list[dict[str, Any]]) -> None:
    """Is the gap small, and do bound and loss go together?"""
    verdicts, said = [], []
    for form in (SINGLE, BEST, FORM):
        line = means(kind, form, [row for row in rows if row["form"] == form])
        verdicts.append(line["within"] > 0.5 and line["gap"] <= GAPS[kind] and line["below"] == 0)
        said.append(
            f"{form}: mean gap to a linear probe's loss {line['gap']:.2f} nats, at most {line['largest gap']:.2f}, "
            f"correlation over targets within an encoder {line['within']:+.2f}, bound below the transferred loss "
            f"{line['below']} of {line['pairs']} times, below the probe's loss {line['below probe']} times"
        )
    run.claim(
        f"Fig. 3/9: the bound is within {GAPS[kind]} nats of the target loss, and smaller where it is smaller [{kind}]",
        "held" if all(verdicts[:2]) else "held in part" if any(verdicts) else "did not hold",
        "; ".join(said),
    )


def draw(rows: list[dict[str, Any]]) -> Any:
    """Stack the terms, one panel per encoder."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["form"] == SINGLE]
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
        ax.scatter(range(len(mine)), [row["probe loss"] for row in mine], color="black", marker="D", s=14)
        ax.set_xticks(range(len(mine)), [row["target"][:7] for row in mine], rotation=40, fontsize=7)
        ax.set_title(name.removeprefix("packaged:"), fontsize=8)
    for ax in axes[len(encoders) :]:
        ax.set_visible(False)
    return figure


if __name__ == "__main__":
    main()
