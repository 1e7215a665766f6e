"""Modules by the names they had before: what was pickled or imported by these still loads."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_PACKAGE = "transferability."
MOVED = {
    "ranking.bounded_means": "statistics.bounded_means",
    "ranking.intervals": "statistics.intervals",
    "relatedness.affine_map": "relatedness.maps.affine_map",
    "relatedness.certainty": "relatedness.labels.certainty",
    "relatedness.details": "relatedness.results.describe",
    "relatedness.encoder_mark": "relatedness.packs.encoder_fingerprint",
    "relatedness.feature_map": "relatedness.maps.feature_map",
    "relatedness.label_transform": "relatedness.labels.label_transform",
    "relatedness.lipschitz": "relatedness.classifier.lipschitz",
    "relatedness.matching": "relatedness.labels.matching",
    "relatedness.pack": "relatedness.packs.pack",
    "relatedness.pack_head": "relatedness.packs.reference_classifier",
    "relatedness.points": "relatedness.results.visual_summary",
    "relatedness.result": "relatedness.results.result",
    "relatedness.sample": "relatedness.tasks.sample",
    "relatedness.standardize": "relatedness.tasks.standardize",
    "relatedness.summary": "relatedness.results.summary",
    "relatedness.transform": "relatedness.results.transform",
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
