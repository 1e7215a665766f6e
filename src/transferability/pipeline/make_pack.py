"""Labelled data and an encoder → a reference pack, to be used and given away in place of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from transferability.datasets import Dataset
from transferability.errors import OptionError
from transferability.pipeline.data import AnyEncoder, Progress, Settings, prepare
from transferability.pipeline.describe import describe_run
from transferability.pipeline.extraction import Extraction, load
from transferability.pipeline.packs import mark_of
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.pack import ReferencePack
from transferability.statistics.classes import CovarianceForm
from transferability.task import Task

__all__ = ["make_pack"]


def make_pack(
    data: str | Dataset,
    encoder: AnyEncoder | None,
    *,
    tau: float | Sequence[float] | Literal["auto"] = "auto",
    covariance: CovarianceForm = "low-rank",
    rank: int = 16,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> ReferencePack:
    """Make the reference pack of a data set under one encoder.

    Parameters
    ----------
    data : str or Dataset
        Labelled.
    encoder : str, Encoder, or None
        None for data that are features already (`features:FILE`).
    tau, covariance, rank
        As in `ReferencePack.from_task`.
    settings : Settings, optional
        The classifiers are fitted on the fitting rows, their losses measured on the others; statistics are of all rows.
    progress : callable (what, done, total), optional

    Raises
    ------
    TransferabilityError
        If the data, the encoder or an option are at fault.
    """
    settings = settings or Settings()
    if settings.layer == "all":
        message = "`layer` must be one layer here: a pack is of one encoder. Make one pack for each layer."
        raise OptionError(message)
    loaded = None if encoder is None else load(encoder, settings)
    split = prepare(data, settings)
    extraction = Extraction([loaded], probabilities=False, settings=settings, progress=progress)
    ((fit, test, _),) = extraction.panel(loaded, [split], every=True)
    assert isinstance(fit, Task)  # of a split
    made = describe_run(TaskRelatedness(seed=settings.seed), settings)
    return ReferencePack.from_task(
        fit,
        test,
        tau=tau,
        covariance=covariance,
        rank=rank,
        encoder=mark_of(loaded),
        provenance={"data": split.name, "made": made["at"]} | {k: str(v) for k, v in made["versions"].items()},
    )
