"""Plots. Each takes result objects and `ax=None`, returns the axes, and touches no global setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from transferability.errors import require_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_terms"]

# Okabe and Ito's palette: told apart by colour-blind readers too.
_TERMS = (
    ("reference_loss", "reference loss", "#0072B2"),
    ("label_mismatch", "label mismatch", "#E69F00"),
    ("distribution_mismatch", "distribution mismatch", "#56B4E9"),
)


class _Terms(Protocol):
    @property
    def reference(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def transferred_loss(self) -> float | None: ...
    @property
    def transferability(self) -> float | None: ...


def plot_terms(results: Sequence[_Terms], ax: Axes | None = None) -> Axes:
    """Stack the three terms of each result and mark the losses that they bound (as the paper's Fig. 3)."""
    require_extra("matplotlib", "plot", "plotting")
    if ax is None:
        from matplotlib.figure import Figure

        ax = Figure(figsize=(1.6 + 1.1 * len(results), 3.6), layout="constrained").subplots()
    positions = range(len(results))
    base = [0.0] * len(results)
    for name, label, colour in _TERMS:
        heights = [float(getattr(result, name)) for result in results]
        ax.bar(positions, heights, bottom=base, width=0.6, label=label, color=colour)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    for name, label, marker in (("transferred_loss", "loss of h′", "o"), ("transferability", "loss of h_T", "D")):
        points = [(x, getattr(result, name)) for x, result in enumerate(results)]
        known = [(x, y) for x, y in points if y is not None]
        if known:
            xs, ys = [x for x, _ in known], [y for _, y in known]
            ax.scatter(xs, ys, marker=marker, color="black", s=22, zorder=3, label=label)
    ax.set_xticks(list(positions), [result.reference for result in results], rotation=30, ha="right")
    ax.set_ylabel("nats")
    ax.set_title(f"target: {results[0].target}" if results else "")
    ax.legend(fontsize="small", frameon=False)
    return ax
