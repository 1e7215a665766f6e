"""`transferability extract`: features of a data set, into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transferability.cli.options import BatchSize, Device, JsonFlag, Limit, NoCache, Seed
from transferability.cli.output import notice, print_json, show_progress

__all__ = ["extract"]


def extract(
    encoder: Annotated[str, typer.Option(help="timm:NAME, hf:ORG/NAME, st:NAME, torchvision:NAME, onnx:FILE, …")],
    data: Annotated[str, typer.Option(help="folder:DIR, csv:FILE, parquet:FILE, npz:FILE, packaged:NAME, …")],
    out: Annotated[
        Path | None, typer.Option(help="A .npz or .safetensors file; by default <data>-<encoder>.safetensors here.")
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    device: Device = None,
    no_cache: NoCache = False,
    json: JsonFlag = False,
) -> None:
    """Extract the features of a data set, with its labels, into a feature file.

    Example: transferability extract --encoder timm:resnet18.a1_in1k --data folder:photos --out photos.safetensors
    """
    from transferability.datasets import load_dataset
    from transferability.encoders import load_encoder
    from transferability.features import extract_features, write_features

    dataset = load_dataset(data, limit=limit, seed=seed)
    loaded = load_encoder(encoder, device=device)
    with show_progress() as progress:
        report = None if progress is None else lambda done, total: progress(f"{encoder}: {dataset.name}", done, total)
        features = extract_features(loaded, dataset, batch_size=batch_size, cache=not no_cache, progress=report)
    path = out or Path(f"{_file_name(dataset.name)}-{_file_name(encoder)}.safetensors")
    write_features(
        path,
        features.features,
        labels=features.labels,
        class_names=features.class_names,
        ids=features.ids,
    )
    n, d = features.features.shape
    if json:
        print_json({"schema": 1, "file": str(path), "encoder": encoder, "data": data, "rows": n, "dimensions": d})
    else:
        typer.echo(str(path))
        notice(f"{n:,} rows of {d:,} features")


def _file_name(text: str) -> str:
    return "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
