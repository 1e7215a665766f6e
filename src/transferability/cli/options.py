"""Options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from transferability.errors import OptionError

__all__ = [
    "BatchSize",
    "DType",
    "Device",
    "GroundCost",
    "JsonFlag",
    "Layer",
    "Limit",
    "Matching",
    "NoCache",
    "Pool",
    "Precision",
    "Seed",
    "TestShare",
    "Unlabelled",
    "Workers",
    "parse_matching",
    "parse_tau",
    "solver_for",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[
    int | None, typer.Option(help="Use at most so many rows of each data set, with its class shares.", min=2)
]
TestShare = Annotated[float, typer.Option(help="Share of each class kept for measuring the bound.", min=0.01, max=0.99)]
Seed = Annotated[int, typer.Option(help="Same seed, same numbers.")]
BatchSize = Annotated[int | None, typer.Option(help="Items the encoder sees at once.", min=1)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. By default the best there is.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep features on disk.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that decode; 0 for none. By default they are started when the encoder waits.", min=0),
]
Layer = Annotated[
    str | None, typer.Option(help="A hidden layer by name or number (negative from the end), or all, in one pass.")
]
Pool = Annotated[
    str | None, typer.Option(help="How positions become one row, where there is a choice: mean, cls, max.")
]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="What the encoder computes in.")]
DType = Annotated[
    Literal["float32", "float16"], typer.Option(help="What the cache keeps; float16 takes half the room.")
]
Unlabelled = Annotated[
    bool, typer.Option("--unlabelled", help="Pretend that the target has no labels. The bound is then not certified.")
]
GroundCost = Annotated[
    str,
    typer.Option(
        help="loss (tight, comparable between encoders), euclidean (the paper's), or gamma (its Eq. 5, by statistics)."
    ),
]
Matching = Annotated[str, typer.Option(help="assignment, identity, random, gradient, or reference classes as 3,0,1.")]


def parse_tau(text: str) -> float | list[float] | str:
    """Read ``auto``, a number, or numbers with commas."""
    if text == "auto":
        return text
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        message = f"`--tau` must be a number, numbers with commas, or auto; got {text!r}."
        raise OptionError(message) from error
    return values[0] if len(values) == 1 else values


def parse_matching(text: str) -> str | list[int]:
    """Read a name, or reference classes with commas."""
    parts = text.split(",")
    if len(parts) > 1 and all(part.strip().isdigit() for part in parts):
        return [int(part) for part in parts]
    return text


def solver_for(ground_cost: str, solver: str = "alternating") -> str:
    """Return the solver, which for gamma can only be the one by statistics."""
    return "statistics" if ground_cost == "gamma" and solver == "alternating" else solver
