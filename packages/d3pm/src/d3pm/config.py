"""A recipe: one TOML file read into frozen dataclasses. An unknown key is an error, never ignored."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from d3pm.conventions import Conventions
from d3pm.errors import ConfigError
from d3pm.generation import GenerationConfig
from d3pm.objective import Objective
from d3pm.sections import build_section, refuse_moved, refuse_unknown
from d3pm.settings import DataConfig, EvaluateConfig, ProcessConfig, TrainConfig

__all__ = ["Config", "DataConfig", "EvaluateConfig", "ProcessConfig", "TrainConfig", "load_recipe", "recipe_names"]


@dataclass(frozen=True)
class Config:
    """A whole recipe. `net` holds the keyword arguments of the net its `kind` names, and `head` and `skip`."""

    data: DataConfig = field(default_factory=DataConfig)
    process: ProcessConfig = field(default_factory=ProcessConfig)
    net: dict[str, Any] = field(default_factory=lambda: {"kind": "unet"})
    conventions: Conventions = field(default_factory=Conventions)
    loss: Objective = field(default_factory=Objective)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    sample: GenerationConfig = field(default_factory=GenerationConfig)

    def to_dict(self) -> dict[str, Any]:
        """Return nested dictionaries of TOML's values: what is None is left out."""
        sections = dataclasses.asdict(self)
        sections["sample"] = {key: value for key, value in sections["sample"].items() if value is not None}
        return sections

    @staticmethod
    def from_dict(values: dict[str, Any], source: str = "recipe") -> Config:
        """Build a configuration, refusing unknown keys and values of another type."""
        if not isinstance(values, dict):
            message = f"`{source}` must be tables of settings; got {type(values).__name__}."
            raise ConfigError(message)
        sections: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(Config)}
        refuse_moved(values, source)
        refuse_unknown(values, sections, source)
        built: dict[str, Any] = {}
        for name, section in values.items():
            if not isinstance(section, dict):
                message = f"`{name}` in {source} must be a table: [{name}]."
                raise ConfigError(message)
            kind = type(sections[name]())
            built[name] = dict(section) if kind is dict else build_section(kind, section, f"[{name}] of {source}")
        return Config(**built)


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(
        entry.name[:-5] for entry in resources.files("d3pm.recipes").iterdir() if entry.name.endswith(".toml")
    )


def load_recipe(name: str, overrides: tuple[str, ...] = ()) -> Config:
    """Return the recipe of a file, or of a name from `recipe_names`, with `section.key=value` overrides on top.

    Raises
    ------
    ConfigError
        If there is no such recipe, or it holds an unknown key.
    """
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            message = f"`recipe` must be a TOML file or one of {', '.join(recipe_names())}; no file {name}."
            raise ConfigError(message)
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            message = f"`recipe` must be a TOML file in UTF-8; {name} is not, from byte {error.start} on."
            raise ConfigError(message) from error
    elif name in recipe_names():
        text = (resources.files("d3pm.recipes") / f"{name}.toml").read_text(encoding="utf-8")
    else:
        close = difflib.get_close_matches(name, recipe_names(), n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        message = f"`recipe` must be a TOML file or one of {', '.join(recipe_names())}; got {name!r}.{hint}"
        raise ConfigError(message)
    try:
        values = tomllib.loads(text)
        for override in overrides:
            _override(values, override)
    except tomllib.TOMLDecodeError as error:
        message = f"`recipe` {name} must be TOML; {error}."
        raise ConfigError(message) from error
    return Config.from_dict(values, name)


def _override(values: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not separator or not dot:
        message = f"`--set` must read section.key=value; got {override!r}."
        raise ConfigError(message)
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # an unquoted string
    table = values.setdefault(section, {})
    if not isinstance(table, dict):
        message = f"`{section}` in the recipe must be a table, [{section}], for --set {override}; got {table!r}."
        raise ConfigError(message)
    table[name] = parsed
