"""Fig. 4 and 10: what the reference does.

(a) ConvNets trained on each reference, all pairs of reference and target: where the bound is smaller, so is
the target loss. (b) An encoder before and after fine-tuning on the reference: related targets gain, and the bound says
so. The paper's USPS is scikit-learn's digits here, its SVHN is MNIST-M.

    python experiments/fig4.py --data FOLDER [--quick]
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from _common import DEFAULT, FOLDS, PAPERS, TUNING, Run, options
from _zoo import encoder_from, network_of
from scipy.stats import pearsonr
from threadpoolctl import threadpool_limits

from transferability.datasets import load_dataset
from transferability.pipeline import Settings, prepare
from transferability.validation.finetune import FineTuner

TRAINED_ON = {
    "conv-mnist": "mnist", "conv-fashion": "fashion_mnist", "conv-mnist-m": "mnist_m_cifar", "conv-digits": "digits",
}  # fmt: skip
FORMS = {"default": (DEFAULT, FOLDS), "paper's form": (PAPERS, None)}  # and folds
START = "conv-cifar10"


def main() -> None:
    """Both parts."""
    run = Run("fig4", options(__doc__))
    digits = load_dataset("packaged:digits")
    run.add("digits", prepare(digits, Settings(limit=run.n_fit + 900)))
    rows = pairs(run) + before_and_after(run)
    run.finish(rows, draw(rows))


def pairs(run: Run) -> list[dict[str, Any]]:
    """Relate, for (a), every target under a network of every reference."""
    run.add_encoder("conv-digits", tuned(run, "conv-random", "digits"))
    rows = []
    for name, reference in TRAINED_ON.items():
        for target in TRAINED_ON.values():
            if target == reference:
                continue
            for form, (estimator, folds) in FORMS.items():
                (found,) = run.relatedness(name, target, [reference], estimator, folds=folds)
                about = {"part": "a", "encoder": name, "target": target, "form": form}
                rows.append(about | found | {"probe loss": run.probe(name, target)["loss"]})
    verdicts, said = [], []
    for form in FORMS:
        mine = [row for row in rows if row["form"] == form]
        r = pearsonr([row["bound"] for row in mine], [row["probe loss"] for row in mine])[0]
        best = {
            reference: min((row for row in mine if row["reference"] == reference), key=lambda row: row["bound"])[
                "target"
            ]
            for reference in TRAINED_ON.values()
        }
        near = best["mnist"] != "fashion_mnist" and best["mnist_m_cifar"] != "fashion_mnist"
        verdicts.append(r > 0.5 and near)
        said.append(f"{form}: r = {r:+.2f} over {len(mine)} pairs, nearest target of each reference {best}")
    run.claim(
        "Fig. 4a/10: a smaller bound goes with a smaller target loss; digits are nearer to digits than clothes are",
        "held" if all(verdicts) else "held in part" if any(verdicts) else "did not hold",
        "; ".join(said),
    )
    return rows


def tuned(run: Run, name: str, reference: str) -> Any:
    """Return an encoder of the zoo after fine-tuning on a reference."""
    network = copy.deepcopy(network_of(name, run.given.data, run.given.cache, run.quick))
    encoder = encoder_from(f"{name} tuned on {reference}", network, run.given.device)
    part = run.part(reference)
    tuner = FineTuner(encoder, part.dataset, part.fit_rows, part.test_rows, TUNING)
    with threadpool_limits(1, "blas"):
        found = tuner.train(tuner.choose(), 0)
    print(f"{encoder.name}: accuracy {found.accuracy:.3f}", flush=True)
    return encoder


def before_and_after(run: Run) -> list[dict[str, Any]]:
    """Return, for (b), bound and loss on related targets, before and after."""
    rows = []
    for reference in ("mnist", "mnist_m_cifar"):
        after = f"tuned-{reference}"
        run.add_encoder(after, tuned(run, START, reference))
        for target in ("digits", "mnist", "mnist_m_cifar", "fashion_mnist"):
            if target == reference:
                continue
            for stage, name in (("before", START), ("after", after)):
                (found,) = run.relatedness(name, target, [reference])
                about = {"part": "b", "stage": stage, "encoder": name, "target": target}
                rows.append(about | found | {"probe loss": run.probe(name, target)["loss"]})
    related = [row for row in rows if row["target"] != "fashion_mnist"]

    def gains(key: str) -> list[float]:
        before, after = ([row[key] for row in related if row["stage"] == stage] for stage in ("before", "after"))
        return [a - b for a, b in zip(before, after, strict=True)]

    bound, loss = gains("bound"), gains("probe loss")
    both = np.mean([a > 0 and b > 0 for a, b in zip(bound, loss, strict=True)])
    run.claim(
        "Fig. 4b: fine-tuning on a reference lowers bound and loss of related targets",
        "held" if both == 1 else "held in part" if both >= 0.5 else "did not hold",
        f"bound fell on {sum(g > 0 for g in bound)} and loss on {sum(g > 0 for g in loss)} of {len(bound)} related "
        f"pairs; mean fall {np.mean(bound):.2f} and {np.mean(loss):.2f} nats",
    )
    return rows


def draw(rows: list[dict[str, Any]]) -> Any:
    """Draw bounds and losses as matrices, and the two stages as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    names = list(TRAINED_ON.values())
    for key, ax in zip(("bound", "probe loss"), axes, strict=False):
        matrix = np.full((len(names), len(names)), np.nan)
        for row in rows:
            if row["part"] == "a" and row["form"] == "default":
                matrix[names.index(row["reference"]), names.index(row["target"])] = row[key]
        ax.imshow(matrix, cmap="cividis")
        for (i, j), value in np.ndenumerate(matrix):
            ax.text(j, i, "" if np.isnan(value) else f"{value:.2f}", ha="center", va="center", color="white")
        ax.set_xticks(range(len(names)), names, rotation=30, fontsize=7)
        ax.set_yticks(range(len(names)), names, fontsize=7)
        ax.set_title(f"(a) {key}, default", fontsize=9)
    mine = [row for row in rows if row["part"] == "b"]
    labels = [f"{row['reference'][:7]}→{row['target'][:7]} {row['stage']}" for row in mine]
    axes[2].barh(labels, [row["bound"] for row in mine], color="#56B4E9", label="bound")
    axes[2].scatter([row["probe loss"] for row in mine], labels, color="black", s=12, label="loss of a linear probe")
    axes[2].tick_params(labelsize=6)
    axes[2].legend(fontsize=7, frameon=False)
    axes[2].set_title("(b) before and after fine-tuning on the reference", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
