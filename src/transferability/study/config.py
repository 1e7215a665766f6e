"""What a study is to compute, read from a TOML file.

::

    encoders = ["timm:resnet18.a1_in1k", "packaged:efficientnet-*", "mini=st:/models/mini"]
    zoo = "tiny"                     # optional: its encoders that take the first target's items and are available here
    references = ["packaged:mnist", "folder:other-photos"]  # optional: by default each target's own other half
    packs = true                     # optional: without references, installed packs stand beside the own half
    targets = ["folder:photos", "packaged:digits"]
    scores = ["logme", "leep"]       # optional; or "all"
    results = "study.sqlite"         # optional: by default beside this file, with its name

    [settings]                       # as the options of `transferability rank`
    limit = 2000

    [relatedness]                    # as the arguments of `TaskRelatedness`
    tau = "scaled"

Paths are relative to the folder in which the command runs.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferability._writing import check_output
from transferability.encoders.registry import is_wildcard
from transferability.errors import DatasetError, NoSuchFileError, OptionError, nearest_names, no_such_file
from transferability.pipeline import Settings, choose_encoders, load_part
from transferability.pipeline.measure import score_columns
from transferability.relatedness.estimator import TaskRelatedness

__all__ = ["Study", "check_types", "load_study"]

_NEVER_FROM_A_FILE = ("trust_remote_code",)  # whoever runs a study says so, and not whoever has written it
_KEYS = ("encoders", "zoo", "references", "packs", "targets", "scores", "results", "settings", "relatedness")


@dataclass(frozen=True)
class Study:
    """What is to be computed.

    Attributes
    ----------
    encoders, references, targets : tuple of str
        Identifiers. A target that is among the references too is left out of its own references. Without references
        each target's own other half is its reference.
    scores : tuple of str
    results : Path
        The SQLite file.
    settings : Settings
    relatedness : TaskRelatedness
    packs : bool
        Whether installed packs join, where there are no references.
    notes : tuple of str
        What was chosen of a zoo or by wildcards, and what could not be had.
    """

    encoders: tuple[str, ...]
    references: tuple[str, ...]
    targets: tuple[str, ...]
    scores: tuple[str, ...]
    results: Path
    settings: Settings
    relatedness: TaskRelatedness
    packs: bool = True
    notes: tuple[str, ...] = ()

    def panel(self, target: str) -> tuple[str, ...]:
        """Return the references of a target."""
        return tuple(each for each in self.references if each != target)


def load_study(path: str | os.PathLike[str]) -> Study:
    """Read a study from a TOML file.

    Raises
    ------
    NoSuchFileError
        If the file is not there.
    DatasetError
        If the file cannot be read or is no TOML.
    OptionError
        For an unknown key, a value of another type or range, an empty list, or a target that is the only reference.
    UnknownNameError
        If there is no score of a name.
    """
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        message = f"{no_such_file(path)} Write one; `study --help` shows what is in it."
        raise NoSuchFileError(message) from error
    except OSError as error:
        message = f"study file {path} cannot be read: {error.strerror}. Write one; `study --help` shows what is in it."
        raise DatasetError(message) from error
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, and of numbers of thousands of digits
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        message = f"study file {path} is not valid TOML: {reason}. Put texts in quotes and lists in brackets."
        raise DatasetError(message) from error
    _check_keys(given, _KEYS, str(path))
    settings = _settings(_table(given, "settings"))
    scores = given.get("scores", ())
    scores = (scores,) if isinstance(scores, str) else _names(scores, "scores")
    score_columns(scores)
    results = given.get("results", str(path.with_suffix(".sqlite")))
    if not isinstance(results, str):
        message = f"`results` must be the path of a file, in quotes; got {results!r}."
        raise OptionError(message)
    targets = _names(given.get("targets", ()), "targets", required=True)
    encoders, notes = _encoders(given, targets, settings)
    study = Study(
        encoders=encoders,
        references=_names(given.get("references", ()), "references"),
        targets=targets,
        scores=scores,
        results=_results(results),
        settings=settings,
        relatedness=_relatedness(_table(given, "relatedness"), settings.seed),
        packs=_flag(given, "packs"),
        notes=notes,
    )
    for target in study.targets if study.references else ():
        if not study.panel(target):
            message = f"`references` must hold one that is not the target; for {target!r} there is no other. Add one."
            raise OptionError(message)
    return study


def _encoders(
    given: Mapping[str, Any], targets: Sequence[str], settings: Settings
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the encoders, wildcards and zoo written out for the items of the first target, and notes on the choice."""
    zoo = given.get("zoo")
    if zoo is not None and not isinstance(zoo, str):
        message = f"`zoo` must be tiny, small, base, large, or the path of a TOML file, in quotes; got {zoo!r:.200}."
        raise OptionError(message)
    named = _names(given.get("encoders", ()), "encoders", required=zoo is None)
    if zoo is None and not any(map(is_wildcard, named)):
        return named, ()
    choice = choose_encoders(named, zoo, load_part(targets[0], settings))
    return tuple(map(str, choice.encoders)), choice.notes


def _results(place: str) -> Path:
    path = Path(place).expanduser()
    if not os.path.isfile(path):  # noqa: PTH113 - for names that cannot be, False
        # One that is there may be read where nothing can be written.
        check_output(path, argument="results")
    return path


def _check_keys(given: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in given:
        if key not in known:
            message = f"{where} must hold keys that there are; got {key!r}. {nearest_names(key, list(known))}"
            raise OptionError(message)


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        message = f"`{name}` must be a table: write [{name}] on a line of its own and its keys below; got {table!r}."
        raise OptionError(message)
    return table


def _names(values: Any, name: str, *, required: bool = False) -> tuple[str, ...]:
    if not (isinstance(values, list | tuple) and all(isinstance(each, str) and each for each in values)) or (
        required and not values
    ):
        message = f'`{name}` must be a list of identifiers in quotes, such as ["packaged:mnist"]; got {values!r:.200}.'
        raise OptionError(message)
    return tuple(dict.fromkeys(values))


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, True)
    if not isinstance(value, bool):
        message = f"`{name}` must be true or false; got {value!r:.100}."
        raise OptionError(message)
    return value


def _settings(given: Mapping[str, Any]) -> Settings:
    names = [field.name for field in dataclasses.fields(Settings) if field.name not in _NEVER_FROM_A_FILE]
    hints = {name: typing.get_type_hints(Settings)[name] for name in names}
    check_types(given, hints, "settings")
    return Settings(**given)


def _relatedness(given: Mapping[str, Any], seed: int) -> TaskRelatedness:
    hints = typing.get_type_hints(TaskRelatedness.__init__)
    check_types(given, {name: hints[name] for name in inspect.signature(TaskRelatedness).parameters}, "relatedness")
    return TaskRelatedness(**{"seed": seed, **given})


def check_types(given: Mapping[str, Any], hints: Mapping[str, Any], table: str) -> None:
    """Refuse keys that there are not, and values of a file that are not of the types declared."""
    _check_keys(given, hints, f"[{table}]")
    for key, value in given.items():
        if not _fits(value, hints[key]):
            wanted = " or ".join(dict.fromkeys(_in_words(each) for each in _alternatives(hints[key])))
            message = f"`{key}` in [{table}] must be of type {wanted}; got {value!r:.200}."
            raise OptionError(message)


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value read from TOML is of the type that a field or an argument declares."""
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if origin is Sequence:
        (inner,) = typing.get_args(hint)
        return isinstance(value, list) and all(_fits(each, inner) for each in value)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, each) for each in typing.get_args(hint))
    if hint is int:
        return type(value) is int and abs(value) < 2**63
    return type(value) in ((int, float) if hint is float else (hint,))


def _alternatives(hint: Any) -> list[Any]:
    """Return the types of a union, or of a union of its own, that TOML can write."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    known = [*typing.get_args(hint)] if union else [hint]
    return [each for each in known if each is not type(None) and typing.get_origin(each) is not np.ndarray]


def _in_words(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if typing.get_origin(hint) is Sequence:
        return f"list of {_in_words(typing.get_args(hint)[0])}"
    return str(getattr(hint, "__name__", hint))
