"""How commands read their words: options of all commands behind the name too, and no option as the value of another."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from transferability.cli.output import results_alone
from transferability.errors import OptionError, nearest_names

__all__ = ["Command", "Commands", "Group"]

_SHARED = ("--quiet", "-q", "--debug")


class Group(TyperGroup):
    """A group that says which commands it has, and what a path in the place of one means."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:  # type: ignore[override]
        """Return the command that is named.

        Raises
        ------
        OptionError
            If there is none of that name, with the nearest; a path is what `rank` takes.
        """
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = nearest_names(name, self.list_commands(ctx))
            fix = f"Write: transferability rank {name}" if os.path.exists(name) else near  # noqa: PTH110 - any text
            fix = "Write: transferability --help" if name == "help" else fix
            message = f"there is no command {name!r}. {fix}"
            raise OptionError(message)
        return super().resolve_command(ctx, args)


class Commands(Group):
    """Commands that take the options of all of them behind their name too: `rank photos --quiet`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Move them to the front, where click looks for them; what follows `--` is no option."""
        end = args.index("--") if "--" in args else len(args)
        before = args[:end]
        shared = [word for word in before if word in _SHARED]
        return super().parse_args(ctx, [*shared, *(word for word in before if word not in _SHARED), *args[end:]])


class Command(TyperCommand):
    """A command whose options refuse another option for a value (`--csv --wide`), and a second one.

    While it runs, stdout is for its results alone.
    """

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; what a Ray of its own has to say of lost workers is said before its stdout is given back."""
        with results_alone():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                from transferability.cli.interrupts import say_what_is_kept

                say_what_is_kept(str(ctx.info_name), ctx.params)
                raise
            finally:
                ray = sys.modules.get("ray")
                if ray is not None and ray.is_initialized():
                    ray.shutdown()

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Look at the values before any of them is converted.

        Raises
        ------
        OptionError
            Naming the option that lacks its value, or has several.
        """
        if not ctx.resilient_parsing:
            parsed: dict[str, Any]
            parsed, _, order = self.make_parser(ctx).parse_args(args=list(args))
            options = [each for each in self.params if each.param_type_name == "option"]
            spellings = {word for each in options for word in each.opts}
            for option in options:
                single = not getattr(option, "multiple", False) and not getattr(option, "is_flag", False)
                if single and order.count(option) > 1:
                    message = (
                        f"`{option.opts[0]}` must be given once; got it {order.count(option)} times, and {self.name} "
                    )
                    raise OptionError(message + "takes one. Leave out the others.")
                given = parsed.get(str(option.name))
                if given == "" and single:
                    message = (
                        f"`{option.opts[0]}` must have a value; got an empty one. Is a variable of the shell empty?"
                    )
                    raise OptionError(message)
                for value in given if isinstance(given, list) else [given]:
                    if isinstance(value, str) and (value.startswith("--") or value in spellings):
                        raise OptionError(_lacks_value(option.opts[0], value, known=value in spellings))
        return super().parse_args(ctx, args)


def _lacks_value(option: str, value: str, *, known: bool) -> str:
    what = "the next option" if known else "which looks like an option"
    return f"`{option}` must have a value; got {value!r}, {what}. Write {option} VALUE, or ./{value} if it is a file."
