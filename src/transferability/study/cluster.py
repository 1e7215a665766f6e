"""Cells of a study on the actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from transferability.pipeline.cluster import spread
from transferability.study.cells import compute, measurement
from transferability.study.inventory import Inventory, is_certain

__all__ = ["cells_on_ray"]

Missing = Callable[..., dict[str, str]]


@dataclass
class _Cells:
    """What an actor does: it loads an encoder, says what the keys of its cells are, and computes those it is told."""

    inventory: Inventory
    _loaded: Any = field(default=None, init=False)
    _keys: dict[str, str] = field(default_factory=dict, init=False)

    def open(self, encoder: str) -> tuple[dict[str, str], bool]:
        self._loaded = None  # two models need not fit into memory together
        self._loaded = self.inventory.load(encoder)
        self._keys = self.inventory.keys(encoder, self._loaded)
        return self._keys, is_certain(self._loaded)

    def run(self, encoder: str, target: str) -> tuple[str, dict[str, Any], float]:
        wanted = {target: self._keys[target]}
        measure = measurement(self.inventory, None)
        ((_, key, result, seconds),) = compute(self.inventory, measure, encoder, self._loaded, wanted)
        return key, result, seconds


def cells_on_ray(inventory: Inventory, missing: Missing) -> Iterator[tuple[str, str, str, dict[str, Any], float]]:
    """Yield (encoder, target, key, result, seconds) of the cells that are missing, as they are done.

    Raises
    ------
    TransferabilityError
        As `pipeline.cluster.spread`.
    """
    encoders = inventory.study.encoders
    device = inventory.study.settings.device
    keys: dict[int, dict[str, str]] = {}

    def plan(group: int, opened: tuple[dict[str, str], bool]) -> list[str]:
        keys[group], certain = opened
        return [*missing(encoders[group], keys[group], certain=certain)]

    for found in spread(_Cells(inventory), encoders, plan, on_gpu=None if device is None else "cuda" in device):
        encoder = encoders[found.group]
        if found.error is None:
            yield encoder, found.task, *found.result
            continue
        reason = {"reason": str(found.error)}
        # Without its keys, of an encoder that was lost whenever it was loaded, nothing can be found again.
        known = keys.get(found.group, {target: f"{encoder} {target}" for target in inventory.study.targets})
        for target in known if found.task is None else (found.task,):
            yield encoder, target, known[target], reason, 0.0
