"""Options that several commands share, so that they read alike everywhere."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer

from transferability.errors import OptionError
from transferability.relatedness.choices import GROUND_COSTS, SOLVERS, help_of
from transferability.settings import Settings

__all__ = [
    "GroundCost",
    "JsonFlag",
    "Matching",
    "NoPacks",
    "NoScale",
    "Solver",
    "Sort",
    "Tau",
    "Union",
    "Unlabelled",
    "Wide",
    "parse_folds",
    "parse_matching",
    "parse_tau",
    "solver_for",
    "with_settings",
]

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Sort = Annotated[
    str | None,
    typer.Option(
        help="Sort by a column (accuracy, loss, bound, probe, items_per_second, n_parameters, …) or a score, which is "
        "then computed. By default the transferred accuracy where the target has samples with labels, else the bound."
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
        help=f"Ground cost of the transport: {help_of(GROUND_COSTS)}. By default exact; loss by "
        "statistics; euclidean for sgd."
    ),
]
Solver = Annotated[str, typer.Option(help=f"Solver: {help_of(SOLVERS)}.")]
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
Matching = Annotated[
    str,
    typer.Option(help="Class matching: assignment, identity, random, gradient, or reference classes such as 3,0,1."),
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


def solver_for(ground_cost: str | None, references: Sequence[str] | None, solver: str = "alternating") -> str:
    """Return the solver; for a cost that knows no samples the default is the one by statistics.

    Raises
    ------
    OptionError
        If what was asked for compares statistics, and there is no reference.
    """
    cost = GROUND_COSTS.get(ground_cost or "")
    by_cost = cost is not None and cost.samples is None and solver == "alternating"
    if references or not (by_cost or solver == "statistics"):
        return "statistics" if by_cost else solver
    asked = f"--ground-cost {ground_cost}" if by_cost else "--solver statistics"
    message = (
        f"`{asked}` must go with --reference: it compares statistics of two data sets, and without a reference the "
    )
    raise OptionError(message + "rows of the target are measured one by one. Name a reference, or leave it out.")


def with_settings(
    *, only: Collection[str] | None = None, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, in the place of its parameter `settings`, the options that `Settings` declares.

    Typer reads options off the signature of what it is given, so that is what changes.

    Parameters
    ----------
    only, without : collection of str
        Fields that the command has, or has not; the others keep their defaults.
    """
    options = {
        name: _option(each, hint)
        for name, each, hint in _declared()
        if name not in without and (only is None or name in only)
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        given: list[inspect.Parameter] = []
        for each in inspect.signature(command, eval_str=True).parameters.values():
            given += options.values() if each.name == "settings" else [each]

        def run(**values: Any) -> None:
            chosen = {name: values.pop(option.name) for name, option in options.items()}
            command(settings=_settings(chosen), **values)

        run.__name__, run.__module__, run.__doc__ = command.__name__, command.__module__, command.__doc__
        run.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in given}
        return run

    return decorate


def _declared() -> list[tuple[str, dataclasses.Field[Any], Any]]:
    """Return name, field and type of everything that commands offer of `Settings`."""
    hints = get_type_hints(Settings)
    return [(each.name, each, hints[each.name]) for each in dataclasses.fields(Settings) if "help" in each.metadata]


def _option(declared: dataclasses.Field[Any], hint: Any) -> inspect.Parameter:
    """Return the option of a field. What may be a number or a word is read as a text."""
    name, default, about = declared.name, declared.default, declared.metadata
    if hint is bool:
        name, default = f"no_{name}" if default else name, False
        option = typer.Option(f"--{name.replace('_', '-')}", help=about["help"])
    else:
        option = typer.Option(help=about["help"], min=about["min"], max=about["max"])
    kinds = get_args(hint)
    if str in kinds or any(get_origin(each) is Literal for each in kinds):
        hint = str | None if type(None) in kinds else str
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[hint, option])


def _settings(chosen: dict[str, Any]) -> Settings:
    """Return settings of what a command was given."""
    if "cache" in chosen:
        chosen["cache"] = not chosen["cache"]
    if "folds" in chosen:
        chosen["folds"] = parse_folds(chosen["folds"])
    return Settings(**chosen)
