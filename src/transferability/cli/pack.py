"""`transferability pack`: statistics of labelled data in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from transferability.cli.asking import only
from transferability.cli.options import JsonFlag, parse_tau, with_settings
from transferability.cli.output import notice, print_json, say, show_progress
from transferability.settings import Settings

__all__ = ["pack"]


@with_settings()
def pack(
    *,
    argument: Annotated[
        list[str] | None, typer.Argument(metavar="DATA", help="Labelled data: a path, or PREFIX:NAME.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Labelled data, in place of the argument.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", "-e", help="Encoder: timm:NAME, hf:ORG/NAME, …; leave out for feature files."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. By default <data>-<encoder>.pack.safetensors in the current folder."),
    ] = None,
    tau: Annotated[
        str,
        typer.Option(
            help="Lipschitz constants of the classifiers: a number, several with commas, scaled (32 / √d), or auto."
        ),
    ] = "auto",
    covariance: Annotated[
        Literal["low-rank", "shared", "full"],
        typer.Option(help="Covariances to keep: a sketch per class and one shared, one shared, or all."),
    ] = "low-rank",
    rank: Annotated[int, typer.Option(help="Columns of each sketch, for low-rank.", min=1)] = 16,
    rows: Annotated[
        int,
        typer.Option(help="Rows of each class whose logits are kept, for a certified bound; 0 for none.", min=0),
    ] = 50,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Write half precision and one covariance of rank 16: a hundredth of the size."),
    ] = False,
    settings: Settings,
    json: JsonFlag = False,
) -> None:
    """Make a reference pack: statistics and classifiers of labelled data under one encoder, without samples.

    `rank` and `relate` take it as --reference pack:FILE or --target pack:FILE, for data that are too large or too
    private to copy.

    Example: transferability pack photos --encoder timm:resnet18.a1_in1k --out photos.pack.safetensors
    """
    from transferability._identifiers import file_name
    from transferability._writing import check_output
    from transferability.pipeline import make_pack

    data = only(argument, data, "data")
    place = check_output(".", folder=True) if out is None else check_output(out)
    with show_progress() as progress:
        made = make_pack(
            data,
            encoder,
            tau=parse_tau(tau),  # type: ignore[arg-type]
            covariance=covariance,
            rank=rank,
            rows=rows,
            settings=settings,
            progress=progress,
        )
    path = out or Path(f"{file_name(made.name)}-{file_name(encoder or 'features')}.pack.safetensors")
    written = made.save(place / path.name if out is None else place, compact=compact)
    if json:
        print_json(
            {
                "schema": 1,
                "file": str(path),
                "encoder": None if made.encoder is None else made.encoder._asdict(),
                "data": data,
                "rows": len(made),
                "classes": made.n_classes,
                "dimensions": made.n_features,
                "covariance": "compact" if compact else made.statistics.form,
                "rows_of_logits": made.n_rows,
                "bytes": written.stat().st_size,
                "tau": [head.tau for head in made.heads],
            }
        )
    else:
        say(str(path))
        notice(f"{made!r}, {written.stat().st_size / 1e6:.2g} MB")
        if made.n_rows:
            notice(f"It holds the logits of {made.n_rows:,} rows; --rows 0 leaves them out.")
