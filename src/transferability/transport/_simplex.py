"""POT's network simplex, loaded alone: `import ot` also imports torch where that is installed (seconds, 750 MB)."""

from __future__ import annotations

import sys
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from transferability._array import FloatArray

__all__ = ["network_simplex"]

_OPTIMAL = 1  # POT's ProblemType
_ALONE = "transferability.transport._pot"  # the package that the extension takes for its own while it is loaded


def network_simplex(
    a: FloatArray, b: FloatArray, cost: FloatArray, start: tuple[FloatArray, FloatArray], *, max_iterations: int
) -> tuple[FloatArray, bool]:
    """Return a transport plan of shape (m, n), and whether it is optimal.

    A plan that is not optimal (the search stopped early) may miss its marginals.

    Parameters
    ----------
    a, b : array of float64 of shape (m,) and (n,)
        Masses with the same sum up to rounding.
    cost : array of float64 of shape (m, n), C-contiguous
    start : pair of arrays of shape (m,) and (n,)
        Potentials from which the search starts.
    max_iterations : int
    """
    b = b * (a.sum() / b.sum())  # the simplex takes the last rounding error for an infeasible problem
    rows, columns = a > 0, b > 0  # and refuses points without mass
    whole = bool(rows.all() and columns.all())
    if not whole:
        cost = np.ascontiguousarray(cost[np.ix_(rows, columns)])
    part, _, _, _, status = _compiled().emd_c(
        a[rows], b[columns], cost, max_iterations, 1, start[0][rows], start[1][columns]
    )
    if whole:
        return part, status == _OPTIMAL
    plan = np.zeros((len(a), len(b)))
    plan[np.ix_(rows, columns)] = part
    return plan, status == _OPTIMAL


@cache
def _compiled() -> ModuleType:
    """Return POT's compiled module: from its file where that works, else by importing all of POT."""
    if "ot.lp" in sys.modules:
        return _imported()
    try:
        return _loaded_alone()
    except (ImportError, AttributeError):
        return _imported()


def _imported() -> ModuleType:
    from ot.lp import emd_wrap

    module: ModuleType = emd_wrap
    return module


def _loaded_alone() -> ModuleType:
    """Load the extension without the packages around it, of which it needs one function, and that only in 1-D."""
    package = find_spec("ot")
    if package is None or not package.submodule_search_locations:
        message = "POT is not installed."
        raise ImportError(message)
    found = PathFinder.find_spec("emd_wrap", [str(Path(each) / "lp") for each in package.submodule_search_locations])
    spec = found and found.origin and spec_from_file_location(f"{_ALONE}.lp.emd_wrap", found.origin)
    if not spec or spec.loader is None:
        message = "POT has no compiled network simplex where it is expected."
        raise ImportError(message)
    # The module is the one that a later `import ot` gets, so what stands in for `ot.utils` passes calls on to it.
    utilities = ModuleType(f"{_ALONE}.utils")
    vars(utilities)["dist"] = _dist
    sys.modules[utilities.__name__] = utilities
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name in (utilities.__name__, "ot.lp.emd_wrap"):  # the extension enters itself under its own name
            sys.modules.pop(name, None)
    return module


def _dist(*arguments: Any, **options: Any) -> Any:
    from ot.utils import dist

    return dist(*arguments, **options)
