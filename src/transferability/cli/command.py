"""How commands read their words: options of all commands behind the name too, and no option as the value of another."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from transferability.errors import OptionError

__all__ = ["Command", "Commands"]

_SHARED = ("--quiet", "-q", "--debug")


class Commands(TyperGroup):
    """Commands that take the options of all of them behind their name too: `rank photos --quiet`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Move them to the front, where click looks for them; what follows `--` is no option."""
        end = args.index("--") if "--" in args else len(args)
        before = args[:end]
        shared = [word for word in before if word in _SHARED]
        return super().parse_args(ctx, [*shared, *(word for word in before if word not in _SHARED), *args[end:]])


class Command(TyperCommand):
    """A command whose options refuse another option in the place of their value: `rank photos --csv --wide`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Look at the values before any of them is converted.

        Raises
        ------
        OptionError
            Naming the option that lacks its value.
        """
        if not ctx.resilient_parsing:
            parsed: dict[str, Any] = self.make_parser(ctx).parse_args(args=list(args))[0]
            options = [each for each in self.params if each.param_type_name == "option"]
            spellings = {word for each in options for word in each.opts}
            for option in options:
                given = parsed.get(str(option.name))
                for value in given if isinstance(given, list) else [given]:
                    if isinstance(value, str) and (value.startswith("--") or value in spellings):
                        raise OptionError(_lacks_value(option.opts[0], value, known=value in spellings))
        return super().parse_args(ctx, args)


def _lacks_value(option: str, value: str, *, known: bool) -> str:
    what = "the next option" if known else "which looks like an option"
    return f"`{option}` must have a value; got {value!r}, {what}. Write {option} VALUE, or ./{value} if it is a file."
