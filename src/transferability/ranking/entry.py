"""One encoder of a ranking: its relatedness, its scores, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from transferability._array import BoolArray, FloatArray
from transferability._criteria import BOUND, QUANTITIES, TRANSFERRED_LOSS, Quantity
from transferability.display.columns import column_named
from transferability.ranking.expectations import ProbedEncoder, expectations
from transferability.ranking.expected import ExpectedAccuracy, KnownAccuracy
from transferability.relatedness.results.summary import RelatednessSummary

__all__ = ["EncoderCost", "LinearProbe", "Ranked", "ScoreColumn", "Skipped"]


@dataclass(frozen=True)
class ScoreColumn:
    """A score that takes part in a ranking."""

    name: str
    higher_is_better: bool


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier trained on the target's features, its ridge chosen by folds, on rows it has not seen."""

    accuracy: float
    loss: float  # nats


@dataclass(frozen=True)
class EncoderCost:
    """What an encoder costs on this machine; None where it is not known.

    Attributes
    ----------
    items_per_second : float or None
        Measured while it encoded, reading and preprocessing included; of features that the cache holds, as measured
        when they were extracted.
    dimension : int or None
        Number of features.
    input_size : str or None
        What it reads: "224 × 224", "128 tokens".
    peak_memory : int or None
        Bytes: the largest memory of the process while it was loaded and encoded, or of the GPU where it ran on one.
    licence : str or None
        Of the weights.
    load_seconds, extraction_seconds, fit_seconds : float or None
        To load it, to extract features, and to fit and measure on them. They sum to the seconds of the entry.
    """

    items_per_second: float | None = None
    dimension: int | None = None
    input_size: str | None = None
    peak_memory: int | None = None
    licence: str | None = None
    load_seconds: float | None = None
    extraction_seconds: float | None = None
    fit_seconds: float | None = None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any] | None) -> EncoderCost:
        """Return the cost that a record says."""
        known = {} if record is None else {name: record.get(name) for name in cls.__dataclass_fields__}
        return cls(**known)


@dataclass(frozen=True, eq=False)
class Ranked:
    """One encoder of a ranking.

    Attributes
    ----------
    encoder : str
    n_parameters : int or None
    relatedness : RelatednessSummary
        Of the closest reference. From `rank` it is the `Relatedness` itself, with its transformation.
    scores : dict of str to float
        Of the literature, where they say something here.
    notes : dict of str to str
        Why a score says nothing here, or was computed on guessed labels; what happened to texts.
    seconds : float
        In all.
    cache_keys : sequence of dict
        Data and key of the features, where they are kept.
    probe : LinearProbe or None
        None without labels or samples of the target.
    cost : EncoderCost
    identifier : str or None
        What loads the encoder, where it was loaded by one; it is called by another name perhaps.
    fine_tunable : bool or None
        Whether its weights can be trained: not those of functions and of features that are computed already. None where
        only trying tells, as of ONNX graphs.
    base_encoder, layer : str or None
        Of a hidden layer the name of the encoder, and which layer it is; None where the row is of the encoder itself.
    model_hash : str or None
        The same of two names of one model; None of what has no weights.
    """

    encoder: str
    n_parameters: int | None
    relatedness: RelatednessSummary
    scores: dict[str, float]
    notes: dict[str, str]
    seconds: float
    cache_keys: Sequence[dict[str, str]] = ()
    probe: LinearProbe | None = None
    cost: EncoderCost = EncoderCost()
    identifier: str | None = None
    fine_tunable: bool | None = None
    base_encoder: str | None = None
    layer: str | None = None
    model_hash: str | None = None

    def expected(self, known: Sequence[KnownAccuracy] | None) -> ExpectedAccuracy | None:
        """Return the accuracy to be expected after fine-tuning, from its linear probe; None where there is none."""
        return expectations([self.probed], None, known, pictures=True)[0]

    @property
    def probed(self) -> ProbedEncoder:
        """What expected accuracies are made of; copies among the rows of the probe count once."""
        measured, copies = self.relatedness.transferred_correct, self.relatedness.first_copies
        n_rows = None if measured is None else len(measured) if copies is None else len(np.unique(copies))
        accuracy = self.probe.accuracy if self.probe is not None and 0 <= self.probe.accuracy <= 1 else None
        return ProbedEncoder(self.encoder, accuracy, n_rows, self.fine_tunable, self.base_encoder, self.model_hash)

    def value(self, criterion: str) -> float:
        """Return what a ranking sorts by; nan where it is not known.

        Parameters
        ----------
        criterion : str
            "transferred_accuracy", "transferred_loss", "bound", a score, or another column that has a direction.
        """
        if criterion in QUANTITIES:
            value = getattr(self.relatedness, criterion)
        elif criterion in self.scores:
            value = self.scores[criterion]
        else:
            column = column_named(criterion)
            value = None if column is None else column.value(self.to_dict())
        return math.nan if value is None else float(value)

    @property
    def is_held_out(self) -> bool:
        """Whether it was measured on rows that nothing was fitted on: a training accuracy says nothing of others."""
        return self.relatedness.evaluated_on != "fit"

    def per_sample(self, quantity: Quantity) -> FloatArray | BoolArray | None:
        """Return each target sample's part of a quantity, shape (n,); their mean is the quantity. None where unknown.

        Of the transferred accuracy: whether the transferred classifier is right on the sample.
        """
        result = self.relatedness
        if quantity == BOUND:
            return result.bound_per_sample
        return result.transferred_losses if quantity == TRANSFERRED_LOSS else result.transferred_correct

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        relatedness = self.relatedness.to_dict()
        del relatedness["standing"]  # of it alone: a ranking shares confidence over its list
        return {
            "encoder": self.encoder,
            "base_encoder": self.base_encoder or self.encoder,
            "layer": self.layer,
            "model_hash": self.model_hash,
            "identifier": self.identifier,
            "n_parameters": self.n_parameters,
            "seconds": self.seconds,
            "scores": self.scores,
            "notes": self.notes,
            "cache_keys": list(self.cache_keys),
            "probe": None if self.probe is None else asdict(self.probe),
            "probe_rows": self.probed.n_rows,
            "fine_tunable": self.fine_tunable,
            "cost": asdict(self.cost),
            "relatedness": relatedness,
        }


@dataclass(frozen=True)
class Skipped:
    """An encoder that could not be ranked, and why."""

    encoder: str
    reason: str
