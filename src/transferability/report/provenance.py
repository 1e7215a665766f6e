"""How a result was made: versions, machine, settings, in JSON values."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["plain", "provenance"]

# Module: distribution. Those that are loaded had a say in the numbers.
_LIBRARIES = {
    "transferability": "transferability",
    "numpy": "numpy",
    "scipy": "scipy",
    "ot": "POT",
    "sklearn": "scikit-learn",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "sentence_transformers": "sentence-transformers",
    "open_clip": "open-clip-torch",
    "onnxruntime": "onnxruntime",
    "datasets": "datasets",
    "d3pm": "d3pm",
    "PIL": "pillow",
}


def provenance(settings: Mapping[str, Any], estimator: Mapping[str, Any], data: list[dict[str, Any]]) -> dict[str, Any]:
    """Return versions, machine and settings.

    Parameters
    ----------
    settings, estimator : mapping
        Options of the run and of the estimator.
    data : list of dict
        What is worth knowing of each data set.
    """
    versions = {"python": platform.python_version()}
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            try:
                versions[distribution] = importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:  # loaded from somewhere else than an installation
                versions[distribution] = "unknown"
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "versions": versions,
        "settings": {name: plain(value) for name, value in settings.items()},
        "estimator": {name: plain(value) for name, value in estimator.items()},
        "data": data,
    }


def plain(value: Any) -> Any:
    """Return a JSON value that says the same, or the text of what JSON cannot say."""
    if isinstance(value, str | int | float | bool) or value is None:
        return value if value == value and value not in (float("inf"), float("-inf")) else str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return str(value)
