"""Names of licences: what package metadata and model cards write, as SPDX identifiers."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

__all__ = ["licence_name"]

_LONGEST = 40
_NO_LICENCE = ("UNKNOWN", "None", "")
_SPDX = {
    "apache 2": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "apache software license": "Apache-2.0",
    "bsd 3-clause": "BSD-3-Clause", "mit license": "MIT", "the mit license": "MIT",
    "dinov3-license": "LicenseRef-DINOv3",
}  # fmt: skip


def licence_name(text: Any) -> str | None:
    """Return the SPDX identifier of a licence; of one that is not known, its first line.

    Examples
    --------
    >>> [licence_name(text) for text in ("apache-2.0", "The MIT License (MIT)", "cc-by-nc-4.0", "ours")]
    ['Apache-2.0', 'MIT', 'CC-BY-NC-4.0', 'ours']
    """
    if not isinstance(text, str) or text.strip() in _NO_LICENCE:
        return None
    line = text.strip().splitlines()[0].strip()
    in_brackets = re.search(r"\(([^()]+)\)$", line)  # "The MIT License (MIT)"
    for name in (line, in_brackets[1] if in_brackets else line):
        with suppress(InvalidLicenseExpression):
            return str(canonicalize_license_expression(_SPDX.get(name.lower(), name)))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
