"""Labelled data and an encoder → a reference pack, to be used and given away in place of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from transferability.datasets import Dataset
from transferability.encoders import Encoder, FeatureFiles, load_encoder
from transferability.features import extract_features
from transferability.pack_sources import mark_of
from transferability.pipeline import Progress, Settings, describe_run, prepare
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.pack import ReferencePack
from transferability.statistics.classes import CovarianceForm

__all__ = ["make_pack"]


def make_pack(
    data: str | Dataset,
    encoder: str | Encoder | FeatureFiles | None,
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
    loaded = load_encoder(encoder, device=settings.device) if isinstance(encoder, str) else encoder
    split = prepare(data, settings)
    what = f"{'features' if loaded is None else loaded.name}: {split.name}"
    report = None if progress is None else lambda done, total: progress(what, done, total)
    features = extract_features(
        loaded, split.dataset, batch_size=settings.batch_size, cache=settings.cache, progress=report
    )
    fit, test = split.tasks(features)
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
