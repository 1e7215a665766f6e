"""`transferability cache`: list, check and remove cached features."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferability.cli.command import Group
from transferability.cli.options import JsonFlag
from transferability.cli.output import EXIT_FAILED, notice, print_json, print_table, say
from transferability.errors import OptionError

if TYPE_CHECKING:
    from transferability.features.cache_admin import Kept

__all__ = ["cache"]

cache = typer.Typer(
    name="cache",
    cls=Group,
    help="List, check and remove cached features. The folder is TRANSFERABILITY_CACHE where that is set.",
    no_args_is_help=True,
)

Keys = Annotated[list[str] | None, typer.Argument(help="First characters of keys, as `cache ls` shows them.")]


@cache.command("ls")
def list_entries(json: JsonFlag = False) -> None:
    """List cached features, the least recently used first; entries of another version are counted.

    Example: transferability cache ls
    """
    from transferability.features import FeatureCache, cache_admin

    store = FeatureCache()
    entries, others = cache_admin.contents(store), cache_admin.unreadable(store)
    if json:
        kept = [each.to_dict() for each in entries]
        head = {"schema": 1, "folder": str(store.folder), "bytes": cache_admin.size(store), "entries": kept}
        print_json({**head, "unreadable": _counted(others)})
        return
    rows = [
        (
            each.key[:12],
            each.encoder if each.output == "features" else f"{each.encoder}/layer={each.output}",
            each.data,
            f"{each.rows:,} × {each.n_features or '?'} {each.dtype}",
            f"{each.shards} of {each.all_shards}",
            _size(each.bytes),
            datetime.fromtimestamp(each.used, UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        )
        for each in entries
    ]
    print_table(
        f"{store.folder}: {_size(cache_admin.size(store))}",
        ("key", "encoder", "data", "features", "shards", "size", "last used"),
        rows,
        left=3,
    )
    _tell_of(others, "not listed")


@cache.command("size")
def show_size(json: JsonFlag = False) -> None:
    """Print the size of the cache.

    Example: transferability cache size
    """
    from transferability.features import FeatureCache, cache_admin

    store = FeatureCache()
    n_bytes = cache_admin.size(store)
    if json:
        print_json({"schema": 1, "folder": str(store.folder), "bytes": n_bytes})
    else:
        say(_size(n_bytes))


@cache.command()
def verify(keys: Keys = None, json: JsonFlag = False) -> None:
    """Compare cached files with their checksums and remove damaged ones.

    Removed files are recomputed when they are needed. Exit status 1 if any was damaged. Entries of another version, or
    with a damaged manifest, are counted and not checked: this version never reads them.

    Example: transferability cache verify
    """
    from transferability.features import FeatureCache, cache_admin

    store = FeatureCache()
    entries = cache_admin.find(store, keys) if keys else cache_admin.contents(store)
    others = [] if keys else cache_admin.unreadable(store)
    damaged = cache_admin.verify(entries)
    n_files = sum(each.shards for each in entries)
    if json:
        said = {"schema": 1, "files": n_files, "damaged": [str(path) for path in damaged]}
        print_json({**said, "unreadable": _counted(others)})
    else:
        for path in damaged:
            say(str(path))
        notice(f"{n_files:,} files, {len(damaged)} damaged" + (" and removed" if damaged else ""))
        _tell_of(others, "not checked")
    if damaged:
        raise typer.Exit(EXIT_FAILED)


@cache.command("rm")
def remove(
    keys: Keys = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all entries.")] = False,
    json: JsonFlag = False,
) -> None:
    """Remove entries by the first characters of their keys.

    Example: transferability cache rm 3f2a 91bc
    """
    from transferability.features import FeatureCache, cache_admin

    store = FeatureCache()
    if bool(keys) == everything:
        message = "`key` must be the beginnings of keys, or --all in their place; got "
        raise OptionError(message + ("both." if keys else "neither. List them: transferability cache ls."))
    if everything:
        n_entries, n_bytes = cache_admin.clear(store)
    else:
        entries = cache_admin.find(store, keys or [])
        n_entries, n_bytes = len(entries), cache_admin.remove(entries)
    _say_removed(n_entries, n_bytes, json=json)


@cache.command()
def prune(
    max_size: Annotated[
        str,
        typer.Option(
            envvar="TRANSFERABILITY_CACHE_SIZE",
            help="Maximum size of the cache: 500MB, 20GB. TRANSFERABILITY_CACHE_SIZE sets it for every run.",
        ),
    ],
    json: JsonFlag = False,
) -> None:
    """Remove the least recently used entries until the cache fits --max-size.

    Example: transferability cache prune --max-size 20GB
    """
    from transferability.features import FeatureCache, cache_admin

    removed = cache_admin.prune(FeatureCache(), cache_admin.parse_size(max_size))
    _say_removed(len(removed), sum(each.bytes for each in removed), json=json)
    others = [each for each in removed if not each.readable]
    if others and not json:
        notice(f"{len(others):,} of them were of another version, or had a damaged manifest.")


def _say_removed(n_entries: int, n_bytes: int, *, json: bool) -> None:
    if json:
        print_json({"schema": 1, "removed": n_entries, "bytes": n_bytes})
    else:
        say(f"{n_entries} removed, {_size(n_bytes)}")


def _counted(entries: Collection[Kept]) -> dict[str, Any]:
    """Return how many entries there are that this version does not read, with their files and bytes."""
    return {
        "entries": len(entries),
        "files": sum(each.shards for each in entries),
        "bytes": sum(each.bytes for each in entries),
    }


def _tell_of(entries: Collection[Kept], what: str) -> None:
    """Say that there are entries that this version does not read."""
    if entries:
        counted = _counted(entries)
        of_them = f"{counted['entries']:,} more ({_size(counted['bytes'])})"
        notice(
            f"{what}: {of_them}, of another version or with a damaged manifest. `cache prune` removes these first, "
            "`cache rm --all` removes all."
        )


def _size(n_bytes: int) -> str:
    """Return bytes as people read them."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
