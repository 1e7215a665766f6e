"""What lies in folders: pictures by their suffix, in sorted order, and a count of everything else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PICTURE_SUFFIXES", "LeftOut", "entries_of", "identity", "is_picture", "pictures_below"]

# What Pillow reads and people keep pictures in. Left to others: EPS and WMF, which other programs draw, and stubs.
# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".apng", ".avif", ".avifs", ".bmp", ".dds", ".dib", ".gif", ".ico", ".j2c", ".j2k", ".jfif", ".jif", ".jp2",
    ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".pjp", ".pjpeg", ".png", ".pnm",
    ".ppm", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp",
})
# fmt: on
_OF_SYSTEMS = frozenset({"__MACOSX", "@eaDir", "lost+found", "Thumbs.db", "desktop.ini"})


@dataclass
class LeftOut:
    """What a listing passes over."""

    hidden: int = 0
    broken: list[str] = field(default_factory=list)  # links that lead nowhere, pipes, devices
    loops: list[str] = field(default_factory=list)  # links to a folder that holds them
    others: Counter[str] = field(default_factory=Counter)  # by suffix

    def __bool__(self) -> bool:
        return bool(self.hidden or self.broken or self.loops or self.others)

    def add(self, other: LeftOut) -> None:
        """Add what another listing passed over."""
        self.hidden += other.hidden
        self.broken += other.broken
        self.loops += other.loops
        self.others += other.others

    def __str__(self) -> str:
        parts = []
        if self.others:
            kinds = ", ".join(f"{suffix or 'no suffix'}: {n:,}" for suffix, n in self.others.most_common(5))
            parts.append(f"{_count(self.others.total(), 'file')} that no picture suffix names ({kinds})")
        if self.hidden:
            parts.append(_count(self.hidden, "hidden file"))
        if self.broken:
            parts.append(f"{_count(len(self.broken), 'broken link')} ({_first(self.broken)})")
        if self.loops:
            parts.append(f"{_count(len(self.loops), 'link')} back to a folder above ({_first(self.loops)})")
        return "; ".join(parts)


def is_picture(name: str) -> bool:
    """Tell a picture by its suffix."""
    return _suffix(name) in PICTURE_SUFFIXES


def entries_of(folder: Path, within: str, left_out: LeftOut) -> list[tuple[str, bool]]:
    """Return pictures and folders in a folder, sorted, and of each whether it is a folder.

    Files are never asked, links are. What is neither is added to `left_out`; `within` is the folder as the root sees
    it, with a slash at its end.
    """
    kept = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _OF_SYSTEMS:
                left_out.hidden += 1
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a link to itself
                is_folder = is_file = False
            if is_folder or (is_file and is_picture(entry.name)):
                kept.append((entry.name, is_folder))
            elif is_file:
                left_out.others[_suffix(entry.name)] += 1
            else:
                left_out.broken.append(f"{within}{entry.name}")
    return sorted(kept)


def pictures_below(
    folder: Path, within: str, left_out: LeftOut, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Yield the paths of pictures at any depth; links are followed, but for those to a folder that holds them."""
    here = identity(folder)
    if here in above:
        left_out.loops.append(within.rstrip("/"))
        return
    for name, is_folder in entries_of(folder, within, left_out):
        if is_folder:
            yield from pictures_below(folder / name, f"{within}{name}/", left_out, above | {here})
        else:
            yield f"{within}{name}"


def identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from all others, whatever path leads to it."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each of millions is slow


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _first(names: list[str]) -> str:
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
