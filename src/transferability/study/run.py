"""Computes what is missing of a study, encoder by encoder, and keeps every piece as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from transferability._validate import check_choice
from transferability.features.workers import keep_workers
from transferability.pipeline import Progress
from transferability.ranking.store import StoredResult
from transferability.study.cells import compute, measurement
from transferability.study.cluster import Missing, cells_on_ray
from transferability.study.config import Study
from transferability.study.inventory import KIND, Cell, Inventory, is_certain
from transferability.study.shares import stores_of

__all__ = ["Results", "run_study"]

Results = dict[tuple[str, str], StoredResult]
"""By encoder and target."""


@keep_workers()
def run_study(
    study: Study,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
    tell: Callable[[Cell], None] | None = None,
    watch: Callable[[Results, int], None] | None = None,
    share: str | None = None,
    executor: Literal["local", "ray"] = "local",
) -> Results:
    """Compute what is missing, and return everything.

    Parameters
    ----------
    study : Study
    refresh : bool, default=False
        Compute what is there as well.
    progress : callable (what, done, total), optional
    tell : callable, optional
        Called with each cell as soon as it is kept.
    watch : callable (results, total), optional
        Called with all results so far and the number of cells, before the first is computed and after each.
    share : str, optional
        ``i/n``: only every n-th encoder, from the i-th on, into a file of results of its own beside the study's:
        ``study.i-of-n.sqlite``. A run without `share` takes over what is in these. So no file is written by two
        machines.
    executor : {"local", "ray"}, default="local"
        "ray": on the actors of a Ray cluster, one cell at a time each (`pipeline.cluster`). Results come here and are
        written here.

    Returns
    -------
    dict of (encoder, target) to StoredResult

    Raises
    ------
    TransferabilityError
        If data or the file of results are at fault. An encoder that fails is kept as a failure; the others go on.

    Notes
    -----
    A cell's key is made of contents: of the encoder's weights, code and settings (its `identity()`), of data, labels
    and splits, of feature files and packs, and of all options that change numbers. So each encoder is loaded, also when
    its results are there. One that cannot tell what it depends on, such as a function without a `version`, is computed
    anew each time.
    """
    check_choice(executor, ("local", "ray"), "executor")
    study, store, elsewhere = stores_of(study, share)
    inventory = Inventory(study)
    results: Results = {}
    total = len(study.encoders) * len(study.targets)
    if watch:
        watch(results, total)

    def missing(encoder: str, keys: dict[str, str], *, certain: bool) -> dict[str, str]:
        """Return the keys of the cells of an encoder that are to be computed; those that are there are results."""
        left: dict[str, str] = {}
        for target, key in keys.items():
            found = inventory.find_in([store, *elsewhere], key) if certain and not refresh else None
            if found is None or not inventory.is_done(found):
                left[target] = key
                continue
            if share is None and not inventory.is_done(store.get(key)):
                store.put(key, KIND, encoder, target, found.result, found.seconds, failed=False)
            results[encoder, target] = found
        return left

    cells = cells_on_ray(inventory, missing) if executor == "ray" else _cells_here(inventory, missing, progress)
    for encoder, target, key, result, seconds in cells:
        failed = "reason" in result
        results[encoder, target] = store.put(key, KIND, encoder, target, result, seconds, failed=failed)
        if watch:
            watch(results, total)
        if tell:
            tell(Cell(encoder, target, key, not failed, seconds))
        if progress and executor == "ray":
            progress("cells", len(results), total)
    order = [(encoder, target) for encoder in study.encoders for target in study.targets]
    return {cell: results[cell] for cell in order if cell in results}


def _cells_here(
    inventory: Inventory, missing: Missing, progress: Progress | None
) -> Iterator[tuple[str, str, str, dict[str, Any], float]]:
    """Yield (encoder, target, key, result, seconds) of the cells that are missing."""
    measure = measurement(inventory, progress)
    for encoder in inventory.study.encoders:
        loaded = inventory.load(encoder)
        wanted = missing(encoder, inventory.keys(encoder, loaded), certain=is_certain(loaded))
        for found in compute(inventory, measure, encoder, loaded, wanted):
            yield encoder, *found
