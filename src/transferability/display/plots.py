"""Plots. Each takes rows and `ax=None`, returns the axes, and touches no global setting.

The rows of each come from `display.tables`. Colours are Okabe and Ito's; marks differ in shape too. Legends and names
of points lie beside the axes, on nothing. Save as a vector:
``result.plot().figure.savefig("terms.svg")``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transferability.display.columns import title_of
from transferability.display.formats import TERMS, elide, number
from transferability.display.layout import spread
from transferability.errors import TaskError, require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "plot_agreement",
    "plot_classes",
    "plot_convergence",
    "plot_front",
    "plot_matrix",
    "plot_points",
    "plot_tau",
    "plot_terms",
    "plot_validation",
]

Rows = Sequence[Mapping[str, Any]]
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#000000")
_LONGEST_NAME = 28
_LINE = 0.19  # inches, of a name beside the axes
_BESIDE = 2.3  # inches, for what lies beside the axes


def plot_terms(rows: Rows, ax: Axes | None = None, *, target: str = "") -> Axes:
    """Stack the three terms of each row and mark the losses that they bound (as the paper's Fig. 3).

    The ring is the transferred loss; the end of the bar is the bound on it, on the rows measured. The diamond is the
    loss of a classifier trained on the target.
    """
    ax = _axes(ax, 1.8 + 1.1 * len(rows) + _BESIDE, 3.6)
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
    ax.set_title(f"target: {_short(target)}" if target else "", parse_math=False)
    return _finish(ax, legend=True)


def plot_classes(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the terms of each target class, with its reference class."""
    rows = rows[::-1]
    ax = _axes(ax, 5.2 + _BESIDE, 1.4 + 0.28 * len(rows))
    base = [0.0] * len(rows)
    for name, label, colour in TERMS:
        widths = [float(row[name]) for row in rows]
        ax.barh(range(len(rows)), widths, left=base, height=0.66, label=label, color=colour)
        base = [low + width for low, width in zip(base, widths, strict=True)]
    labels = [f"{_short(row['target_class'])}  ←  {_short(row['reference_class'] or '–')}" for row in rows]
    ax.set_yticks(range(len(rows)), labels, parse_math=False)
    ax.set_xlabel("part of the bound, nats")
    return _finish(ax, legend=True)


def plot_points(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw reference points (rings) and target points before (crosses) and after the map (dots)."""
    if not rows:
        message = (
            "`result.details` must hold points; got None. Use `rank` or `relate`, or `relatedness.details.describe`."
        )
        raise TaskError(message)
    ax = _axes(ax, 4.4 + _BESIDE, 4.2)
    names = sorted({row["target_class"] for row in rows} - {None})
    colours = {name: _PALETTE[k % len(_PALETTE)] for k, name in enumerate(names)}
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


def plot_tau(rows: Rows, ax: Axes | None = None, *, chosen: float) -> Axes:
    """Draw the held-out bound by τ, and mark the τ that was taken."""
    ax = _axes(ax, 4.0 + 1.2, 3.0)
    ax.plot([row["tau"] for row in rows], [row["held_out_bound"] for row in rows], marker="o", color=_PALETTE[0])
    ax.axvline(chosen, color="black", linewidth=0.8, linestyle=":", label=f"τ = {chosen:.3g}")
    ax.set_xscale("log")
    ax.set_xlabel("τ")
    ax.set_ylabel("held-out bound, nats")
    return _finish(ax, legend=True)


def plot_convergence(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the mean cost of the matched pairs, round by round."""
    ax = _axes(ax, 4.0, 3.0)
    ax.plot([row["round"] for row in rows], [row["cost"] for row in rows], marker="o", color=_PALETTE[0])
    ax.set_xlabel("round")
    ax.set_ylabel("mean cost of matched pairs, nats")
    return _finish(ax)


def plot_agreement(rows: Rows, ax: Axes | None = None, *, criterion: str, truth: str) -> Axes:
    """Draw a score against the accuracy it should predict, one point per encoder (see `agreement_table`)."""
    ax = _axes(ax, 4.4 + _BESIDE, max(3.6, 0.9 + _LINE * len(rows)))
    ax.scatter([row["value"] for row in rows], [row["accuracy"] for row in rows], color=_PALETTE[0], s=28)
    _name_points(ax, [(row["encoder"], row["value"], row["accuracy"]) for row in rows])
    ax.set_xlabel(title_of(criterion))
    ax.set_ylabel(truth)
    return _finish(ax)


def plot_front(rows: Rows, ax: Axes | None = None, *, cost: str) -> Axes:
    """Draw transferred accuracies, with their intervals, against a cost; the front is joined by a line.

    Parameters
    ----------
    rows : sequence of mapping
        As `ranking.rows.front_table` returns them: encoder, cost, accuracy, low, high, on_front.
    ax : Axes, optional
    cost : str
        Label of the horizontal axis.
    """
    ax = _axes(ax, 4.6 + _BESIDE, max(3.6, 0.9 + _LINE * len(rows)))
    for row in rows:
        colour = _PALETTE[0] if row["on_front"] else "#777777"
        error = None
        if row["low"] is not None:
            error = [[row["accuracy"] - row["low"]], [row["high"] - row["accuracy"]]]
        ax.errorbar(
            row["cost"], row["accuracy"], yerr=error, fmt="o", color=colour, markersize=5, elinewidth=0.8,
            markerfacecolor=colour if row["on_front"] else "white",
        )  # fmt: skip
    front = sorted((row["cost"], row["accuracy"]) for row in rows if row["on_front"])
    ax.plot([x for x, _ in front], [y for _, y in front], color=_PALETTE[0], linewidth=1)
    costs = [row["cost"] for row in rows]
    if costs and min(costs) > 0 and max(costs) > 10 * min(costs):
        ax.set_xscale("log")
    _name_points(ax, [(row["encoder"], row["cost"], row["accuracy"]) for row in rows])
    ax.set_xlabel(cost)
    ax.set_ylabel("transferred accuracy")
    return _finish(ax)


def plot_validation(rows: Rows, ax: Axes | None = None, *, criterion: str, truth: str) -> Axes:
    """Draw a score against the accuracies that training gave, one point per encoder, one colour and mark per target."""
    ax = _axes(ax, 4.4 + 1.6, 3.6)
    for k, target in enumerate(dict.fromkeys(row["target"] for row in rows)):
        part = [row for row in rows if row["target"] == target]
        colour, marker = _PALETTE[k % len(_PALETTE)], "osD^vP*X"[k % 8]
        xs, ys = [row["value"] for row in part], [row["accuracy"] for row in part]
        ax.scatter(xs, ys, color=colour, marker=marker, s=24, label=_short(target))
    ax.set_xlabel(title_of(criterion))
    ax.set_ylabel(truth)
    return _finish(ax, legend=True)


def plot_matrix(rows: Rows, ax: Axes | None = None) -> Axes:
    """Draw the bounds of `matrix_table` as a heat map: encoders, or targets, by references; dark is near."""
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


def _name_points(ax: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write the names of points in a column beside the axes, joined to their points by a line."""
    if not points:
        return
    figure = ax.get_figure(root=True)
    assert figure is not None
    ax.margins(0.08)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    shares = [(y - low) / ((high - low) or 1.0) for _, _, y in points]
    height = ax.get_position().height * figure.get_size_inches()[1]
    places = spread(shares, _LINE / height, 0.02, 0.98)
    for (name, x, y), place in zip(points, places, strict=True):
        ax.annotate(
            _short(name), (x, y), fontsize=8, xytext=(1.04, place), textcoords="axes fraction", va="center",
            parse_math=False, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#999999", "shrinkB": 3},
        )  # fmt: skip


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    require_extra("matplotlib", "plot", "plotting")
    if ax is not None:
        return ax
    from matplotlib.figure import Figure  # no pyplot: a library must not open windows or keep figures

    return Figure(figsize=(width, height), layout="constrained").subplots()


def _finish(ax: Axes, *, legend: bool = False) -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    if legend and ax.get_legend_handles_labels()[0]:
        # Beside the axes: on bars and points a legend hides what it explains.
        ax.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
    return ax


def _short(name: Any) -> str:
    return elide(" ".join(str(name).split()), _LONGEST_NAME)
