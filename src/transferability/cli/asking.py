"""What a command is asked about: its data and encoders, as arguments or as options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from transferability.errors import OptionError

__all__ = [
    "EncoderOption",
    "EncodersOption",
    "ReferencesOption",
    "Targets",
    "Zoo",
    "complete_encoder",
    "only",
    "several",
]

_SHOWN = 5  # data sets that are named in a message


def complete_encoder(incomplete: str) -> list[str]:
    """Return what a shell may complete an encoder to: prefixes, then packaged encoders and those of the zoos."""
    from transferability.encoders.packaged import packaged_encoders
    from transferability.encoders.registry import families
    from transferability.zoos import SIZES, load_zoo

    names = [f"{prefix}:" for prefix in families()]
    names += [f"packaged:{name}" for name in packaged_encoders()]
    names += [entry.identifier for size in SIZES for entry in load_zoo(size)]
    found = [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    exact = [name for name in found if ":" in incomplete or name.endswith(":")]
    return exact or found


def complete_zoo(incomplete: str) -> list[str]:
    """Return the zoos; files are completed by the shell."""
    from transferability.zoos import SIZES

    return [size for size in SIZES if size.startswith(incomplete)]


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET", help="Target data: a path (folder, .csv, .parquet, .npz, .jsonl, …) or PREFIX:NAME."
    ),
]
EncodersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--encoder",
        "-e",
        help="Encoder: timm:NAME, hf:ORG/NAME, st:NAME, packaged:NAME, onnx:FILE, …; NAME may have wildcards, and "
        "SHORT=… before it names it. Repeat for several. By default a zoo.",
        autocompletion=complete_encoder,
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder", "-e", help="Encoder: timm:NAME, hf:ORG/NAME, st:NAME, packaged:NAME, onnx:FILE, …",
        autocompletion=complete_encoder,
    ),
]  # fmt: skip
ReferencesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--reference",
        "-r",
        help="Reference: labelled data or pack:FILE; repeat for several. By default the target's own other half.",
    ),
]
Zoo = Annotated[
    str | None,
    typer.Option(
        help="Encoders of a list: tiny, small, base, large, or a TOML file. By default, without --encoder, tiny on a "
        "CPU and small with a GPU.",
        autocompletion=complete_zoo,
    ),
]


def several(argument: Sequence[str] | None, option: Sequence[str] | None, name: str = "target") -> list[str]:
    """Return the data that are named, as arguments or by an option.

    Raises
    ------
    OptionError
        If there are none.
    """
    found = [*(argument or ()), *(option or ())]
    if not found:
        such = "a path such as photos/ or reviews.csv, or PREFIX:NAME such as packaged:digits."
        such = "the folder that `rank --out` wrote, or its ranking.json." if name == "ranking" else such
        message = f"`{name}` must be given: {such}"
        raise OptionError(message)
    return found


def only(argument: Sequence[str] | None, option: str | None, name: str = "target") -> str:
    """Return the one data set that is named, as the argument or by the option.

    Raises
    ------
    OptionError
        If there is none, or more than one.
    """
    found = several(argument, None if option is None else [option], name)
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        message = f"`{name}` must be one data set; got {len(found)}: {shown}. "
        parents = {str(Path(each).parent) for each in found}
        if len(parents) == 1 and parents != {"."} and all(map(os.path.exists, found)):
            raise OptionError(message + f"For all that is in {parents.pop()} name that folder, without /*.")
        raise OptionError(message + "For further encoders and references repeat the option: -e ONE -e ANOTHER.")
    return found[0]
