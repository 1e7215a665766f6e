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

__all__ = ["stores_of"]


def stores_of(study: Study, share: str | None) -> tuple[Study, ResultStore, list[ResultStore]]:
    """Return the study or the share of it, the file to write to, and those beside it to read.

    Raises
    ------
    OptionError
        If the share is no ``i/n``.
    OutputError, FileDamagedError
        If a file cannot be read or written.
    """
    files = _files_of_shares(study.results)
    if share is None:
        return study, ResultStore(study.results), [ResultStore(path) for path in files]
    number, n_shares = parse_share(share)
    path = study.results
    own = path.with_name(f"{path.stem}.{number}-of-{n_shares}{path.suffix}")
    others = [each for each in (path, *files) if each != own and each.exists()]
    part = replace(study, encoders=study.encoders[number - 1 :: n_shares])
    return part, ResultStore(own), [ResultStore(each) for each in others]


def _files_of_shares(results: Path) -> list[Path]:
    results = results.expanduser()
    form = re.compile(rf"{re.escape(results.stem)}\.\d+-of-\d+{re.escape(results.suffix)}")
    return [path for path in listing(results.parent) if form.fullmatch(path.name)]
