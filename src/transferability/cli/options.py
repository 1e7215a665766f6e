"""Options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from transferability.errors import OptionError

if TYPE_CHECKING:
    from transferability.pipeline import Settings

__all__ = [
    "BatchSize",
    "DType",
    "Device",
    "Folds",
    "GroundCost",
    "JsonFlag",
    "Layer",
    "Limit",
    "Matching",
    "NoCache",
    "NoPacks",
    "NoScale",
    "Pool",
    "Precision",
    "Seed",
    "Sort",
    "Tau",
    "TestShare",
    "TrustRemoteCode",
    "Union",
    "Unlabelled",
    "Wide",
    "Workers",
    "parse_folds",
    "parse_matching",
    "parse_tau",
    "solver_for",
    "with_settings",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int | None, typer.Option(help="Maximum rows per data set (stratified). By default all rows.", min=2)]
TestShare = Annotated[float, typer.Option(help="Share of each class kept for measuring.", min=0.01, max=0.99)]
Seed = Annotated[int, typer.Option(help="Seed of every random choice; the same seed gives the same numbers.", min=0)]
BatchSize = Annotated[int | None, typer.Option(help="Items per forward pass. By default chosen by the encoder.", min=1)]
Device = Annotated[str | None, typer.Option(help="Device: cpu, cuda, cuda:1 or mps. By default the fastest available.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Do not read or write the feature cache.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Decoding processes; 0 for none. By default started when the encoder waits for items.", min=0),
]
Layer = Annotated[
    str | None,
    typer.Option(
        help="Hidden layer: a name, a number (negative from the end), or all (one pass). By default the features."
    ),
]
Pool = Annotated[
    str | None, typer.Option(help="Pooling over positions: mean, cls or max. By default the encoder's own.")
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="Number format the encoder computes in.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with hf: and st: models; read it first.")
]
DType = Annotated[
    Literal["float32", "float16"], typer.Option(help="Number format of the feature cache; float16 halves its size.")
]
Sort = Annotated[
    str | None,
    typer.Option(
        help="Sort by transferred_accuracy, transferred_loss, bound, or the name of a score. By default "
        "transferred_accuracy where the target has samples with labels, else bound."
    ),
]
Tau = Annotated[
    str,
    typer.Option(
        help="Lipschitz constant of the reference classifier: a number, several with commas, scaled (32 / √d), or auto."
    ),
]
Unlabelled = Annotated[
    bool, typer.Option("--unlabelled", help="Ignore the target's labels. The bound is then an estimate, not certified.")
]
GroundCost = Annotated[
    str | None,
    typer.Option(
        help="Ground cost of the transport: exact (smallest bound), loss, euclidean (the paper's) or gamma (its Eq. 5, "
        "by statistics). By default exact; loss for packs; euclidean for sgd."
    ),
]
NoPacks = Annotated[
    bool, typer.Option("--no-packs", help="Leave out installed reference packs where no reference is given.")
]
NoScale = Annotated[bool, typer.Option("--no-scale", help="Do not scale the logits of the reference classifier.")]
Union = Annotated[bool, typer.Option("--union", help="Add the union of all references as one more reference.")]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide", help="Show the three terms of the bound, in nats and in points of accuracy, with τ and scale."
    ),
]
Folds = Annotated[
    str,
    typer.Option(help="Folds of the target for cross-fitting; 1 for a single split. auto: 5 below 2,000 rows, else 1."),
]
Matching = Annotated[
    str,
    typer.Option(help="Class matching: assignment, identity, random, gradient, or reference classes such as 3,0,1."),
]
NearDuplicates = Annotated[
    bool, typer.Option("--near-duplicates", help="Keep pictures that look the same on one side of every split.")
]


def parse_tau(text: str) -> float | list[float] | str:
    """Read ``scaled``, ``auto``, a number, or numbers with commas."""
    if text in ("scaled", "auto"):
        return text
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        message = f"`--tau` must be a number, numbers with commas, scaled or auto; got {text!r}."
        raise OptionError(message) from error
    return values[0] if len(values) == 1 else values


def parse_matching(text: str) -> str | list[int]:
    """Read a name, or reference classes with commas."""
    parts = text.split(",")
    if len(parts) > 1 and all(part.strip().isdigit() for part in parts):
        return [int(part) for part in parts]
    return text


def parse_folds(text: str) -> int | Literal["auto"]:
    """Read ``auto`` or a number."""
    if text == "auto":
        return "auto"
    if not text.isdecimal() or len(text) > 9 or int(text) < 1:
        message = f"`--folds` must be a whole number ≥ 1 or auto; got {text!r}."
        raise OptionError(message)
    return int(text)


def solver_for(ground_cost: str | None, solver: str = "alternating") -> str:
    """Return the solver, which for gamma can only be the one by statistics."""
    return "statistics" if ground_cost == "gamma" and solver == "alternating" else solver


def _settings(
    *,
    limit: Limit = None,
    test_share: TestShare = 0.3,
    folds: Folds = "auto",
    seed: Seed = 0,
    near_duplicates: NearDuplicates = False,
    layer: Layer = None,
    pool: Pool = None,
    precision: Precision = "float32",
    dtype: DType = "float32",
    batch_size: BatchSize = None,
    workers: Workers = None,
    device: Device = None,
    no_cache: NoCache = False,
    trust_remote_code: TrustRemoteCode = False,
) -> Settings:
    from transferability.pipeline import Settings

    return Settings(
        limit=limit,
        test_share=test_share,
        folds=parse_folds(folds),
        seed=seed,
        near_duplicates=near_duplicates,
        layer=layer,
        pool=pool,
        precision=precision,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        device=device,
        cache=not no_cache,
        trust_remote_code=trust_remote_code,
    )


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in the place of its parameter `settings`, the options that settings are made of.

    Typer reads options off the signature of what it is given, so that is what changes.
    """
    unread = {"Settings": Any}  # the type of what is replaced, not imported for its name alone
    options = inspect.signature(_settings, eval_str=True, locals=unread).parameters
    given: list[inspect.Parameter] = []
    for each in inspect.signature(command, eval_str=True, locals=unread).parameters.values():
        given += options.values() if each.name == "settings" else [each]

    def run(**values: Any) -> None:
        settings = _settings(**{name: values.pop(name) for name in options})
        command(settings=settings, **values)

    run.__name__, run.__module__, run.__doc__ = command.__name__, command.__module__, command.__doc__
    run.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in given}
    return run
