"""`transferability extract`: features of a data set, into files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferability.cli.asking import EncoderOption, only
from transferability.cli.options import JsonFlag, with_settings
from transferability.cli.output import notice, print_json, say, show_progress
from transferability.errors import OptionError
from transferability.settings import ExtractionOptions, LoadingOptions, Settings

if TYPE_CHECKING:
    from transferability.features import Features, ShareDone

__all__ = ["extract"]


@with_settings(without=["test_share", "folds", "near_duplicates"])
def extract(
    *,
    argument: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA", help="Data: a path (folder, .csv, .parquet, .npz, .jsonl, …) or PREFIX:NAME."),
    ] = None,
    encoder: EncoderOption = None,
    data: Annotated[str | None, typer.Option("--data", help="Data, in place of the argument.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Feature file to write, .npz or .safetensors; with --layer all a folder. By default "
            "<data>-<encoder>.safetensors in the current folder."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Compute share i of n (i/n) into the cache and write no file, for several machines or shells that see "
            "one cache folder. The same command without --shard then writes the file."
        ),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: this process, or the actors of a Ray cluster.")
    ] = "local",
    settings: Settings,
    json: JsonFlag = False,
) -> None:
    """Extract the features of a data set, with its labels, into a feature file.

    After an interruption the same command continues.

    Example: transferability extract photos --encoder timm:resnet18.a1_in1k --out photos.safetensors
    """
    from transferability._files import SUFFIXES
    from transferability._writing import check_output
    from transferability.datasets import load_dataset
    from transferability.encoders import FEATURES, FeatureFiles, hidden_layers, load_encoder
    from transferability.features import extract_features, extract_share, extract_to_files
    from transferability.features.local import run
    from transferability.features.ray import RayExecutor

    data = only(argument, data, "data")
    layer = settings.layer
    if encoder is None:
        message = "`--encoder` must be given: -e timm:NAME, -e packaged:NAME, …; `transferability encoders` lists some."
        raise OptionError(message)
    if shard and executor == "ray":
        message = "`--shard` must not go with `--executor ray`, which shares the work itself. Leave one of them out."
        raise OptionError(message)
    if out is not None:
        check_output(out, folder=layer == "all", suffixes=() if layer == "all" else SUFFIXES)
    dataset = load_dataset(data, limit=settings.limit, seed=settings.seed)
    one_layer = replace(settings, layer=None if layer == "all" else layer)
    load = partial(load_encoder, encoder, **one_layer.of(LoadingOptions))
    loaded = load()
    layers = hidden_layers(loaded) if layer == "all" and not isinstance(loaded, FeatureFiles) else ()
    if layer == "all" and not layers:
        message = f"`--layer` must not be all for encoder {encoder!r}: it shows no hidden layers. Leave it out."
        raise OptionError(message)
    outputs = (FEATURES, *layers)
    stem = f"{_file_name(dataset.name)}-{_file_name(encoder)}" + (f"-{_file_name(str(layer))}" if layer else "")
    paths = _paths(outputs, stem, out)
    places = paths if shard else {output: check_output(path, suffixes=SUFFIXES) for output, path in paths.items()}

    common = {"schema": 1, "encoder": encoder, "data": data, "rows": len(dataset)}
    with show_progress() as progress:
        report = None if progress is None else lambda done, total: progress(f"{encoder}: {dataset.name}", done, total)
        if isinstance(loaded, FeatureFiles):
            widths = {FEATURES: _copy(extract_features(loaded, dataset), places[FEATURES])}
        elif shard:
            options = settings.of(ExtractionOptions)
            _print_share(extract_share(loaded, dataset, shard, outputs, progress=report, **options), common, json=json)
            return
        else:
            widths = extract_to_files(
                loaded,
                dataset,
                places,
                progress=report,
                **settings.of(ExtractionOptions),
                executor=RayExecutor(load) if executor == "ray" else run,
            )
    if json:
        files = [{"output": output, "file": str(path), "dimensions": widths[output]} for output, path in paths.items()]
        print_json({**common, **({"files": files} if layers else files[0])})
        return
    for output, path in paths.items():
        say(str(path))
        notice(f"{len(dataset):,} rows of {widths[output]:,} features")


def _paths(outputs: Sequence[str], stem: str, out: Path | None) -> dict[str, Path]:
    """Return the file of each output: one named by the user, or in a folder of theirs."""
    if len(outputs) == 1:
        return {outputs[0]: out or Path(f"{stem}.safetensors")}
    folder = Path(stem) if out is None else out
    return {output: folder / f"{_file_name(output)}.safetensors" for output in outputs}


def _print_share(share: ShareDone, common: dict[str, Any], *, json: bool) -> None:
    missing = [(each.start, each.stop) for each in share.missing]
    if json:
        print_json({**common, "shards": share.total, "done": share.done, "missing_rows": missing})
    else:
        say(f"{share.done} of {share.total} shards are there")
        parts = [f"{start:,}–{stop - 1:,}" for start, stop in missing]
        more = f" and {len(parts) - 5} parts more" if len(parts) > 5 else ""
        said = f"missing are rows {', '.join(parts[:5])}{more}"
        notice(said if parts else "the same command without --shard writes the file")


def _copy(features: Features, path: Path) -> int:
    from transferability.features import write_features

    write_features(path, features.features, features.labels, features.class_names, features.ids, features.targets)
    return int(features.features.shape[1])


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
