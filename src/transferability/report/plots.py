"""Plots. Each takes result objects and `ax=None`, returns the axes, and touches no global setting.

The data of each are a table of `report.tables`. Colours are Okabe and Ito's; marks differ in shape too. Save as a
vector: ``result.plot().figure.savefig("terms.svg")``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from transferability._criteria import in_words
from transferability.errors import TaskError, require_extra
from transferability.report.tables import (
    TERMS,
    agreement_table,
    convergence_table,
    matrix_table,
    points_table,
    tau_table,
    terms_table,
)
from transferability.report.words import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferability.ranking.result import Ranking
    from transferability.relatedness.result import Relatedness
    from transferability.validation.result import Validation

__all__ = [
    "plot_agreement",
    "plot_classes",
    "plot_convergence",
    "plot_matrix",
    "plot_points",
    "plot_tau",
    "plot_terms",
    "plot_validation",
]

_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#000000")
_LONGEST_NAME = 28


def plot_terms(results: Sequence[Relatedness], ax: Axes | None = None, *, names: Sequence[str] | None = None) -> Axes:
    """Stack the three terms of each result and mark the losses that they bound (as the paper's Fig. 3).

    The ring is the transferred loss; the end of the bar is the bound on it, on the rows measured. The diamond is the
    loss of a classifier trained on the target.
    """
    rows = terms_table(results, names)
    ax = _axes(ax, 1.8 + 1.1 * len(rows), 3.6)
    base = [0.0] * len(rows)
    for name, label, colour in TERMS:
        heights = [float(row[name]) for row in rows]
        ax.bar(range(len(rows)), heights, bottom=base, width=0.6, label=label, color=colour)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    for name, label, marker in (
        ("transferred_loss", "transferred loss", "o"),
        ("transferability", "loss of a trained classifier", "D"),
    ):
        known = [(x, row[name]) for x, row in enumerate(rows) if row[name] is not None]
        if known:
            xs, ys = [x for x, _ in known], [y for _, y in known]
            ax.scatter(xs, ys, marker=marker, color="black", s=22, zorder=3, label=label)
    ax.set_xticks(range(len(rows)), [_short(row["name"]) for row in rows], rotation=30, ha="right", parse_math=False)
    ax.set_ylabel("nats")
    ax.set_title(f"target: {_short(results[0].target)}" if results else "", parse_math=False)
    return _finish(ax, legend=True)


def plot_classes(result: Relatedness, ax: Axes | None = None) -> Axes:
    """Draw the terms of each target class, with its reference class."""
    rows = result.per_class()[::-1]
    ax = _axes(ax, 5.2, 1.4 + 0.28 * len(rows))
    base = [0.0] * len(rows)
    for name, label, colour in TERMS:
        widths = [float(row[name]) for row in rows]
        ax.barh(range(len(rows)), widths, left=base, height=0.66, label=label, color=colour)
        base = [low + width for low, width in zip(base, widths, strict=True)]
    labels = [f"{_short(row['target_class'])}  ←  {_short(row['reference_class'] or '–')}" for row in rows]
    ax.set_yticks(range(len(rows)), labels, parse_math=False)
    ax.set_xlabel("part of the bound, nats")
    return _finish(ax, legend=True)


def plot_points(result: Relatedness, ax: Axes | None = None) -> Axes:
    """Draw reference points (rings) and target points before (crosses) and after the map (dots)."""
    rows = points_table(result)
    if not rows:
        message = (
            "`result.details` must hold points; got None. Use `rank` or `relate`, or `relatedness.details.describe`."
        )
        raise TaskError(message)
    ax = _axes(ax, 4.4, 4.2)
    colours = {name: _PALETTE[k % len(_PALETTE)] for k, name in enumerate(result.target_class_names)}
    for task, stage, marker, size in (
        ("target", "before", "x", 14),
        ("reference", "after", "o", 26),
        ("target", "after", "o", 9),
    ):
        part = [row for row in rows if (row["task"], row["stage"]) == (task, stage)]
        xs, ys = [row["x"] for row in part], [row["y"] for row in part]
        ink = [colours.get(row["target_class"], "#999999") for row in part]
        if task == "reference":
            ax.scatter(xs, ys, s=size, facecolors="none", edgecolors=ink, linewidths=0.9, label="reference")
        elif part:
            ax.scatter(
                xs, ys, s=size, c=ink, marker=marker, linewidths=0.8, alpha=1 if stage == "after" else 0.35,
                label=f"target, {stage} the map",
            )  # fmt: skip
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_aspect("equal")
    ax.set_title("as the reference's classifier sees them")
    return _finish(ax, legend=True)


def plot_tau(result: Relatedness, ax: Axes | None = None) -> Axes:
    """Draw the held-out bound by τ, and mark the τ that was taken."""
    rows = tau_table(result)
    ax = _axes(ax, 4.0, 3.0)
    ax.plot([row["tau"] for row in rows], [row["held_out_bound"] for row in rows], marker="o", color=_PALETTE[0])
    ax.axvline(result.tau, color="black", linewidth=0.8, linestyle=":", label=f"τ = {result.tau:.3g}")
    ax.set_xscale("log")
    ax.set_xlabel("τ")
    ax.set_ylabel("held-out bound, nats")
    return _finish(ax, legend=True)


def plot_convergence(result: Relatedness, ax: Axes | None = None) -> Axes:
    """Draw the mean cost of the matched pairs, round by round."""
    rows = convergence_table(result)
    ax = _axes(ax, 4.0, 3.0)
    ax.plot([row["round"] for row in rows], [row["cost"] for row in rows], marker="o", color=_PALETTE[0])
    ax.set_xlabel("round")
    ax.set_ylabel("mean cost of matched pairs, nats")
    return _finish(ax)


def plot_agreement(
    ranking: Ranking,
    measured: dict[str, float] | None = None,
    criterion: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a score against the accuracy it should predict, one point per encoder (see `agreement_table`)."""
    rows = agreement_table(ranking, measured, criterion)
    ax = _axes(ax, 4.4, 3.6)
    ax.scatter([row["value"] for row in rows], [row["accuracy"] for row in rows], color=_PALETTE[0], s=28)
    for row in rows:
        ax.annotate(
            _short(row["encoder"]), (row["value"], row["accuracy"]), fontsize=7, xytext=(4, 3),
            textcoords="offset points", parse_math=False,
        )  # fmt: skip
    ax.set_xlabel(in_words(criterion or ranking.criterion))
    ax.set_ylabel("accuracy of the linear probe" if measured is None else "measured accuracy")
    return _finish(ax)


def plot_validation(found: Validation, criterion: str, ax: Axes | None = None) -> Axes:
    """Draw a score against the accuracies that training gave, one point per encoder, one colour and mark per target."""
    ax = _axes(ax, 4.4, 3.6)
    for k, target in enumerate(found.targets):
        values, accuracies = found.pairs(criterion, target)
        colour, marker = _PALETTE[k % len(_PALETTE)], "osD^vP*X"[k % 8]
        ax.scatter(values, accuracies, color=colour, marker=marker, s=24, label=_short(target))
    ax.set_xlabel(in_words(criterion))
    ax.set_ylabel("accuracy after " + ("fine-tuning" if found.method == "finetune" else "linear probing"))
    return _finish(ax, legend=True)


def plot_matrix(results: Ranking | Sequence[Relatedness], ax: Axes | None = None) -> Axes:
    """Draw the bounds as a heat map: encoders, or targets, by references; dark is near."""
    rows = matrix_table(results)
    references = [row["reference"] for row in rows[: max(row["position"] for row in rows) + 1]]
    names = [row["row"] for row in rows[:: len(references)]]
    bounds = [math.nan if row["bound"] is None else row["bound"] for row in rows]
    values = [bounds[k : k + len(references)] for k in range(0, len(bounds), len(references))]
    ax = _axes(ax, 2.0 + 0.9 * len(references), 1.4 + 0.4 * len(names))
    image = ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (image.get_clim()[0] + image.get_clim()[1]) / 2
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            ax.text(j, i, number(value, 2), ha="center", va="center", color="white" if value < middle else "black")
    ax.set_xticks(
        range(len(references)), [_short(each) for each in references], rotation=30, ha="right", parse_math=False
    )
    ax.set_yticks(range(len(names)), [_short(each) for each in names], parse_math=False)
    ax.set_title("bound, nats")
    return ax


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    require_extra("matplotlib", "plot", "plotting")
    if ax is not None:
        return ax
    from matplotlib.figure import Figure  # no pyplot: a library must not open windows or keep figures

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _finish(ax: Axes, *, legend: bool = False) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", frameon=False)
    return ax


def _short(name: Any) -> str:
    text = " ".join(str(name).split())
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
