"""Files of results of the shares of a study: each share writes its own, the whole study reads all.

SQLite's locks cannot be relied on over network file systems, so that no two machines write one file.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from transferability.features.locks import listing
from transferability.features.shards import parse_share
from transferability.ranking.store import ResultStore
from transferability.study.config import Study

__all__ = ["files_of", "stores_of"]


def files_of(study: Study, share: str | None) -> tuple[Study, Path, list[Path]]:
    """Return the study or the share of it, the file to write to, and those that are beside it.

    Raises
    ------
    OptionError
        If the share is no ``i/n``.
    """
    path = study.results.expanduser()
    files = _files_of_shares(path)
    if share is None:
        return study, path, files
    number, n_shares = parse_share(share)
    own = path.with_name(f"{path.stem}.{number}-of-{n_shares}{path.suffix}")
    others = [each for each in (path, *files) if each != own and each.exists()]
    return replace(study, encoders=study.encoders[number - 1 :: n_shares]), own, others


def stores_of(study: Study, share: str | None) -> tuple[Study, ResultStore, list[ResultStore]]:
    """Return what `files_of` does, with the files opened.

    Raises
    ------
    OptionError
        If the share is no ``i/n``.
    OutputError, FileDamagedError
        If a file cannot be read or written.
    """
    part, own, others = files_of(study, share)
    return part, ResultStore(own), [ResultStore(path) for path in others]


def _files_of_shares(results: Path) -> list[Path]:
    form = re.compile(rf"{re.escape(results.stem)}\.\d+-of-\d+{re.escape(results.suffix)}")
    return [path for path in listing(results.parent) if form.fullmatch(path.name)]
