"""Pairs of probe and fine-tuned accuracy that expected accuracies rest on."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import NamedTuple

__all__ = ["N_ROWS", "KnownAccuracy", "published_accuracies"]

N_ROWS = 1000
"""Rows that accuracies are taken to be measured on where they do not say."""


class KnownAccuracy(NamedTuple):
    """An encoder on a target, of which both accuracies are known.

    Attributes
    ----------
    target, encoder : str
    probe, fine_tuned : float
        Shares.
    probe_rows, rows : int
        That they were measured on, copies counted once.
    """

    target: str
    encoder: str
    probe: float
    fine_tuned: float
    probe_rows: int = N_ROWS
    rows: int = N_ROWS


@cache
def published_accuracies() -> tuple[KnownAccuracy, ...]:
    """Return the pairs of the experiment with packaged encoders of pictures (`experiments/known_accuracies.py`)."""
    text = files("transferability.ranking").joinpath("known_accuracies.json").read_text("utf-8")
    return tuple(KnownAccuracy(**pair) for pair in json.loads(text)["pairs"])
