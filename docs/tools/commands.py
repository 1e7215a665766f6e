"""Write the page `docs/commands.md` from the help of the commands: `python docs/tools/commands.py`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from transferability.cli.app import app

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).parents[1] / "commands.md"
_START = """# The command

This page lists the commands and options as `--help` prints them; the [glossary](glossary.md) explains the terms.
Results go to stdout, progress and notices to stderr. Exit status: 0 done, 1 failed, 2 wrong usage, 3 finished with some
encoders skipped, or fewer fine-tuned than `--confirm` or `--top` asked for. A known error is one sentence. `--debug`
before the command's name adds the traceback, `--quiet` hides notices.

<!-- docs/tools/commands.py generates this page; edits here are lost. -->
"""


def page() -> str:
    """Return the page."""
    root: Any = typer.main.get_command(app)
    root.name = "transferability"
    return "\n".join([_START, _options(root), *_commands(root, "transferability")])


def _commands(group: Any, path: str) -> list[str]:
    parts: list[str] = []
    for name, command in group.commands.items():
        full = f"{path} {name}"
        arguments = [each.name.upper() for each in command.params if each.param_type_name == "argument"]
        usage = " ".join([full, *arguments, "[COMMAND]" if hasattr(command, "commands") else "[OPTIONS]"])
        parts += [f"## {full}\n", f"`{usage}`\n", _paragraphs(command.help), _options(command)]
        if hasattr(command, "commands"):
            parts += [part.replace("## ", "### ", 1) for part in _commands(command, full)]
    return parts


def _paragraphs(text: str) -> str:
    """Return help as Markdown, with its example as a block to copy."""
    parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n|\f", text.strip())]
    shown = []
    for part in parts:
        if part.startswith("Example: transferability "):
            shown.append(f"Example:\n\n```text\n{part.removeprefix('Example: ')}\n```\n")
        else:
            shown.append(part + "\n")
    return "\n".join(shown)


def _options(command: Any) -> str:
    types = get_type_hints(inspect.unwrap(command.callback)) if command.callback else {}
    rows = [
        _row(each, types.get(each.name)) for each in command.params if each.help and not getattr(each, "hidden", False)
    ]
    return "\n".join(["| option | |", "| --- | --- |", *rows, ""]) if rows else ""


def _row(parameter: Any, kind: Any) -> str:
    optional = parameter.param_type_name == "option"
    name = " ".join(f"`{each}`" for each in parameter.opts) if optional else f"`{parameter.name.upper()}`"
    facts = []
    if get_origin(kind) is Literal:
        facts.append(" or ".join(f"`{each}`" for each in get_args(kind)))
    if parameter.required:
        facts.append("**required**")
    elif parameter.default is not None and parameter.default is not False:
        facts.append(f"default `{parameter.default}`")
    text = " ".join([*parameter.help.split(), *([f"({'; '.join(facts)})"] if facts else [])])
    return f"| {name} | {text.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
