"""`transferability encoders`: what can be ranked here, and what would have to be fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferability.cli.options import JsonFlag
from transferability.cli.output import notice, print_json, print_table, show_progress
from transferability.errors import UnknownNameError

if TYPE_CHECKING:
    from transferability.encoders.family import Presence
    from transferability.zoos import Entry

__all__ = ["encoders"]

_MOST_FACTS = 60  # models that are asked about one by one to be listed, about a third of a second each
_STATES = {"installed": "installed", "cached": "cached", "local": "a file here", "download": "to download"}


def encoders(
    pattern: Annotated[
        str | None,
        typer.Argument(
            help="Zoo (tiny, small, base, large, a TOML file), prefix (packaged:), or identifier with wildcards "
            "('timm:vit_*'). By default all zoos, packaged encoders and the models in the hub's cache."
        ),
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Only what loads without a network.")] = False,
    json: JsonFlag = False,
) -> None:
    """List encoders: what is installed or cached here, and what would be downloaded, with sizes.

    Example: transferability encoders tiny

    Example: transferability encoders 'timm:vit_*'
    """
    from transferability._hub import hub_problem
    from transferability.encoders.registry import presence_of

    listed = [(entry, presence_of(entry.identifier)) for entry in _entries(pattern)]
    shown = [(entry, presence) for entry, presence in listed if presence.here or not here]
    problem = hub_problem()
    if json:
        rows = [_record(entry, presence) for entry, presence in shown]
        print_json({"schema": 1, "hub": "reachable" if problem is None else problem, "encoders": rows})
        return
    columns = ["encoder", "zoo", "data", "family", "parameters", "input", "gmacs", "size", "licence", "here"]
    print_table("Encoders", columns, [_row(entry, presence) for entry, presence in shown], left=4)
    if problem is not None:
        notice(f"nothing can be downloaded: {problem}.")
    missing = [presence.install for _, presence in shown if presence.state == "missing"]
    for command in dict.fromkeys(missing):
        notice(f"{missing.count(command)} not installed: {command}")
    notice("size: of the weights, in float32 where they are not here; gmacs: 10⁹ multiplications for one item.")


def _entries(pattern: str | None) -> list[Entry]:
    """Return what a pattern means."""
    from transferability.encoders._reach import cached_repositories
    from transferability.encoders.packaged import packaged_encoders
    from transferability.encoders.registry import expand, families
    from transferability.zoos import SIZES, Entry, entry_of, load_zoo

    packaged = [f"packaged:{name}" for name in packaged_encoders()]
    if pattern is None:
        entries = {entry.identifier: entry for size in SIZES for entry in load_zoo(size)}
        cached = [_cached_identifier(name, folder) for name, folder in cached_repositories()]
        return list((entries | {name: Entry(name) for name in [*packaged, *cached] if name not in entries}).values())
    if ":" not in pattern:
        if pattern not in SIZES and not pattern.endswith(".toml"):
            message = (
                f"`pattern` must be a zoo ({', '.join(SIZES)}), a TOML file, or begin with a prefix; got {pattern!r}. "
            )
            raise UnknownNameError(message + f"Prefixes: {', '.join(families())}.")
        return list(load_zoo(pattern))
    if pattern == "packaged:":
        return [entry_of(name) or Entry(name) for name in packaged]
    prefix, _, spec = pattern.partition(":")
    if prefix not in families():
        message = f"`pattern` must start with a known prefix; got {pattern!r}. Prefixes: {', '.join(families())}."
        raise UnknownNameError(message)
    if spec:
        names = expand(pattern)
        entries_named = [entry_of(name) or Entry(name) for name in names]
        return _with_facts(entries_named) if len(names) <= _MOST_FACTS else entries_named
    found = [entry for size in SIZES for entry in load_zoo(size) if entry.identifier.startswith(pattern)]
    if not found:
        message = f"`pattern` must be {families()[prefix].usage}, with wildcards perhaps; got {pattern!r}."
        raise UnknownNameError(message)
    return found


def _with_facts(entries: list[Entry]) -> list[Entry]:
    """Return entries with what timm's architectures, or the hub, say."""
    found = []
    with show_progress() as progress:
        for number, entry in enumerate(entries):
            found.append(_with_fact(entry))
            if progress is not None:
                progress("asking", number + 1, len(entries))
    return found


def _with_fact(entry: Entry) -> Entry:
    from dataclasses import replace

    from transferability.zoos.entries import from_hub

    prefix, _, spec = entry.identifier.partition(":")
    if prefix != "timm" or entry.parameters is not None:
        return from_hub(entry)
    from transferability.encoders.timm import facts

    parameters, size, licence = facts(spec)
    return replace(entry, modality="image", parameters=parameters, input=size, licence=licence)


def _cached_identifier(name: str, folder: Any) -> str:
    """Return how a model in the hub's cache is loaded."""
    if name.startswith("timm/"):
        return f"timm:{name.removeprefix('timm/')}"
    return f"{'st' if (folder / 'modules.json').is_file() else 'hf'}:{name}"


def _row(entry: Entry, presence: Presence) -> list[str]:
    size = presence.size or entry.bytes
    return [
        entry.identifier,
        entry.zoo or "–",
        entry.modality or "–",
        entry.family or "–",
        "–" if entry.parameters is None else f"{entry.parameters / 1e6:.1f} M",
        "–" if entry.input is None else f"{entry.input:,}",
        "–" if entry.gmacs is None else f"{entry.gmacs:.2f}",
        "–" if size is None else f"{max(1, round(size / 1e6)):,} MB",
        entry.licence or "–",
        _STATES.get(presence.state, "not installed"),
    ]


def _record(entry: Entry, presence: Presence) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(entry), "state": presence.state, "install": presence.install or None, "bytes": presence.size}
