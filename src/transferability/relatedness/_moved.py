"""Modules by the names they had before version 0.2: what was pickled or imported by these still loads."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = "transferability.relatedness."
MOVED = {
    "affine_map": "maps.affine_map",
    "certainty": "labels.certainty",
    "details": "results.describe",
    "encoder_mark": "packs.encoder_fingerprint",
    "feature_map": "maps.feature_map",
    "label_transform": "labels.label_transform",
    "lipschitz": "classifier.lipschitz",
    "matching": "labels.matching",
    "pack": "packs.pack",
    "pack_head": "packs.reference_classifier",
    "points": "results.visual_summary",
    "result": "results.result",
    "sample": "tasks.sample",
    "standardize": "tasks.standardize",
    "summary": "results.summary",
    "transform": "results.transform",
}
"""Old name: new name. Those whose classes users hold, or that the reference named."""


class _Moved(MetaPathFinder, Loader):
    """Finds a module under its old name; the module is the new one, so that classes are the same."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.removeprefix(_PACKAGE) not in MOVED:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        new = _PACKAGE + MOVED[module.__name__.removeprefix(_PACKAGE)]
        message = f"{module.__name__} is now {new}; the old name goes in version 0.4."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = importlib.import_module(new)


sys.meta_path.append(_Moved())  # asked last, when no file has the name
