"""Plots into a folder: each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from transferability._identifiers import file_name
from transferability.cli.output import notice, short_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from transferability.ranking.result import Ranking
    from transferability.relatedness.results.summary import RelatednessSummary

__all__ = ["check_plots", "write_ranking_plots", "write_relation_plots"]

Draw = Callable[[], "Axes"]


def check_plots(folder: Path | None) -> Path | None:
    """Return the folder, before anything is computed for it.

    Raises
    ------
    MissingExtraError
        If Matplotlib is not installed.
    OutputError
        If nothing can be written there.
    """
    from transferability._writing import check_output
    from transferability.errors import require_extra

    if folder is None:
        return None
    place = check_output(folder, folder=True, argument="plots")
    require_extra("matplotlib", "plot", "`--plots`")
    return place


def write_ranking_plots(rankings: Sequence[Ranking], folder: Path) -> None:
    """Draw accuracy against cost, the terms, the agreement with the linear probe, and the references."""
    for ranking in rankings:
        drawn: dict[str, Draw] = {}
        if any(record["on_front"] is not None for record in ranking.records):
            drawn["front"] = partial(ranking.plot, kind="front")
        drawn["terms"] = partial(ranking.plot, kind="terms")
        if len(ranking) > 1:
            drawn["agreement"] = partial(ranking.plot, kind="agreement")
        if any(len(entry.relatedness.references) > 1 for entry in ranking):
            drawn["references"] = partial(ranking.plot, kind="references")
        drawn |= _of_result(ranking.best.relatedness, "best-")
        _write(drawn, folder / file_name(ranking.target) if len(rankings) > 1 else folder)


def write_relation_plots(results: Sequence[RelatednessSummary], folder: Path) -> None:
    """Draw the terms by reference, the classes and the points of each target."""
    for result in results:
        drawn: dict[str, Draw] = {"terms": partial(result.plot, kind="terms")} | _of_result(result, "")
        _write(drawn, folder / file_name(result.target) if len(results) > 1 else folder)


def _of_result(result: RelatednessSummary, prefix: str) -> dict[str, Draw]:
    drawn: dict[str, Draw] = {f"{prefix}classes": partial(result.plot, kind="classes")}
    if result.details is not None:
        drawn[f"{prefix}points"] = partial(result.plot, kind="points")
    return drawn


def _write(drawn: Mapping[str, Draw], folder: Path) -> None:
    from transferability._writing import output_errors, temporary_sibling

    for name, draw in drawn.items():
        figure = draw().get_figure(root=True)
        assert figure is not None
        for ending in ("png", "svg"):
            path = folder / f"{name}.{ending}"
            with output_errors(path):
                folder.mkdir(parents=True, exist_ok=True)
            with temporary_sibling(path) as temporary, output_errors(path):
                figure.savefig(temporary, dpi=150, bbox_inches="tight", format=ending)
    notice(f"written: {len(drawn)} plots in {short_path(folder)}")
