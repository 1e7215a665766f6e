r"""A reference pack: what is needed of a task to be compared with, without its samples, in one file.

Statistics of each class, the classifiers :math:`h_R` with their losses, the standardisation, and which encoder made the
features. A pack of ImageNet is computed once by somebody and used by everybody; a pack of a private target says how
its classes lie, and none of its samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from transferability._threads import threads_for
from transferability.errors import TaskError
from transferability.relatedness.classifier.tau import PAPER_TAU, first_tau
from transferability.relatedness.packs.encoder_fingerprint import EncoderFingerprint, EncoderMark
from transferability.relatedness.packs.file import PackContents, read_pack, write_pack
from transferability.relatedness.packs.reference_classifier import ReferenceClassifier, ReferenceHead, fit_head, joined
from transferability.relatedness.tasks.checks import as_task, check_count, check_tasks, check_tau
from transferability.relatedness.tasks.sample import Sample
from transferability.relatedness.tasks.standardize import Scaler
from transferability.relatedness.tasks.test_parts import numbered_as
from transferability.statistics.classes import ClassStatistics, CovarianceForm, class_statistics
from transferability.statistics.gaussians import ClassGaussians
from transferability.task import Task

__all__ = ["EncoderFingerprint", "EncoderMark", "ReferenceClassifier", "ReferenceHead", "ReferencePack", "scaler_of"]


@dataclass(frozen=True, eq=False, repr=False)
class ReferencePack:
    """A task without its samples.

    Attributes
    ----------
    name : str
    statistics : ClassStatistics
        Of the features as the encoder gives them, not standardised: this is what merges exactly.
    scaler : Scaler
        The standardisation that `heads` work behind.
    heads : tuple of ReferenceClassifier
        ``h_R`` and its losses, one for each τ. Empty in a pack merged from parts with different classifiers: they are
        then fitted to draws from the class Gaussians wherever they are needed.
    class_names : tuple of str, or None
    encoder : EncoderFingerprint or None
        None for features of unknown make.
    provenance : dict of str to str
        Where the pack comes from: data, versions. Told, never used.
    """

    name: str
    statistics: ClassStatistics
    scaler: Scaler
    heads: tuple[ReferenceClassifier, ...] = ()
    class_names: tuple[str, ...] | None = None
    encoder: EncoderFingerprint | None = None
    provenance: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_task(
        cls,
        task: Task,
        test: Task | None = None,
        *,
        tau: float | Sequence[float] | Literal["scaled", "auto"] = "auto",
        covariance: CovarianceForm = "low-rank",
        rank: int = 16,
        rows: int = 50,
        standardize: bool = True,
        encoder: EncoderFingerprint | None = None,
        provenance: Mapping[str, str] | None = None,
        statistics: ClassStatistics | None = None,
    ) -> ReferencePack:
        """Make a pack of a labelled task.

        Parameters
        ----------
        task : Task
            With labels. The classifiers and the standardisation are fitted on it.
        test : Task, optional
            A further part, which the losses of the classifiers are measured on. The statistics are of both parts.
        tau : float, sequence of float, "scaled" or "auto", default="auto"
            Lipschitz constants of the classifiers, in nats per unit of standardised feature distance; "scaled" means
            32 / √d, and "auto" 0.2 and 1, 1/2, 1/4 times 32 / √d.
        covariance, rank
            As in `class_statistics`. For K classes and d features the file holds 8 (d² + 2 K d) bytes ("shared"), as
            much and 8 K d r ("low-rank"), or 8 K d² ("full").
        rows : int, default=50
            Rows of each class whose logits are kept, drawn from `test`, or held out of `task` where there is none. With
            them a bound on samples of a target is certified. 0 keeps none: statistics and classifiers alone. With more
            than 200 classes fewer rows are kept, so that each classifier has at most two million logits.
        standardize : bool, default=True
        encoder : EncoderFingerprint, optional
        provenance : mapping of str to str, optional
        statistics : ClassStatistics, optional
            Of more samples than fit into memory, of which `task` and `test` are a part: streamed by `class_statistics`
            and `merge`. `covariance` and `rank` are then theirs.

        Raises
        ------
        LabelError, TaskError
            If a part has no labels, or the parts do not fit each other or the statistics.
        OptionError
            If an option is outside its range.

        Examples
        --------
        >>> import numpy as np
        >>> y = np.arange(60) % 2
        >>> x = np.random.default_rng(0).normal(size=(60, 4)) + y[:, None]
        >>> ReferencePack.from_task(Task(x, y, name="toy"), tau=1.0)
        ReferencePack('toy': 60 samples, 4 features, 2 classes, low-rank covariances)
        """
        test = numbered_as(as_task(task), test)
        check_tasks(task, task, test, None)
        if rows != 0:
            check_count(rows, "rows")
        labels = task.require_labels()
        if statistics is None:
            statistics = class_statistics(task.features, labels, covariance=covariance, rank=rank)
            if test is not None:
                further = class_statistics(test.features, test.require_labels(), covariance=covariance, rank=rank)
                statistics = statistics.merge(further)
        elif (statistics.n_classes, statistics.n_features) != (task.n_classes, task.n_features):
            message = (
                f"`statistics` must be of the task's {task.n_classes} classes and {task.n_features} features; "
                f"got {statistics.n_classes} and {statistics.n_features}."
            )
            raise TaskError(message)
        scaler = Scaler.fit(task.features) if standardize else Scaler.identity(task.n_features)
        fit = Sample(scaler.apply(task.features), labels)
        seen = None if test is None else Sample(scaler.apply(test.features), test.require_labels())
        with threads_for(len(task) * task.n_features * task.n_classes):
            heads = [fit_head(fit, seen, each, rows) for each in _taus(tau, task.n_features)]
        return cls(
            name=task.name,
            statistics=statistics,
            scaler=scaler,
            heads=tuple(heads),
            class_names=task.class_names,
            encoder=encoder,
            provenance=dict(provenance or {}),
        )

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.statistics.n_classes

    @property
    def has_rows(self) -> bool:
        """Whether each classifier comes with rows that it has not seen, for a certified bound on samples."""
        return bool(self.heads) and all(head.held_out is not None for head in self.heads)

    @property
    def n_features(self) -> int:
        """Dimension of the features."""
        return self.statistics.n_features

    @property
    def n_rows(self) -> int:
        """Number of rows whose logits the pack holds."""
        held_out = self.heads[0].held_out if self.heads else None
        return 0 if held_out is None else len(held_out.labels)

    def __len__(self) -> int:
        return self.statistics.n_samples

    def __repr__(self) -> str:
        return (
            f"ReferencePack({self.name!r}: {len(self):,} samples, {self.n_features:,} features, "
            f"{self.n_classes} classes, {self.statistics.form} covariances)"
        )

    def gaussians(self) -> ClassGaussians:
        """Return one Gaussian for each class, in standardised features."""
        return ClassGaussians.of(self.statistics, self.scaler.mean, self.scaler.scale)

    def merge(self, other: ReferencePack) -> ReferencePack:
        """Return the pack of both parts together, such as two shards of one data set.

        The statistics are exactly those of all samples. Classifiers are kept where both parts have the same, and left
        out otherwise; the standardisation is then that of all samples.

        Raises
        ------
        TaskError
            If the parts come from different encoders, or differ in classes, features or form.
        """
        ours, theirs = (
            self.encoder or EncoderFingerprint("unknown", None),
            other.encoder or EncoderFingerprint("unknown", None),
        )
        if not ours.fits(theirs):
            message = f"packs to merge must come from one encoder; got {ours} and {theirs}."
            raise TaskError(message)
        if self.class_names != other.class_names:
            message = f"packs to merge must name the same classes; {self.name!r} and {other.name!r} do not."
            raise TaskError(message)
        statistics = self.statistics.merge(other.statistics)
        if _same_heads(self, other):
            shares = self.statistics.counts / np.maximum(statistics.counts, 1)
            heads = tuple(
                one._replace(
                    losses=shares * one.losses + (1 - shares) * another.losses,
                    held_out=joined(one.held_out, another.held_out),
                )
                for one, another in zip(self.heads, other.heads, strict=True)
            )
            return dataclasses.replace(self, statistics=statistics, heads=heads)
        scaler = self.scaler
        if np.isfinite(scaler.limit):  # standardised: on the whole now, whichever part came first
            scaler = scaler_of(statistics)
        return dataclasses.replace(self, statistics=statistics, scaler=scaler, heads=())

    def save(self, path: str | Path, *, compact: bool = False) -> Path:
        """Write the pack to a safetensors file, whole or not at all.

        Parameters
        ----------
        path : str or Path
        compact : bool, default=False
            Half precision, one number for the width of each class, and a pooled covariance of rank 16 beside its
            diagonal, as the form "shared": a hundredth of the size. It no longer merges exactly.

        Raises
        ------
        OutputError
            If the file cannot be written.
        OptionError
            If values have no place in half precision.
        """
        fields = PackContents(*(getattr(self, name) for name in PackContents._fields))
        return write_pack(fields, Path(path), compact=compact)

    @classmethod
    def load(cls, path: str | Path) -> ReferencePack:
        """Read what `save` wrote.

        Raises
        ------
        DatasetError
            If there is no such file.
        FileDamagedError
            If the file is truncated, of another schema, or holds values that cannot be.
        """
        return cls(*read_pack(Path(path)))


def scaler_of(statistics: ClassStatistics) -> Scaler:
    """Return the standardisation that the statistics themselves call for."""
    mean, deviation = statistics.mean(), statistics.deviation()
    magnitude = np.where(mean == 0, 1.0, np.abs(mean))
    return Scaler(mean, np.where(deviation > 1e-12 * magnitude, deviation, magnitude))


def _taus(tau: float | Sequence[float] | Literal["scaled", "auto"], n_features: int) -> list[float]:
    checked = check_tau(tau)
    if isinstance(checked, float):
        return [checked]
    if isinstance(checked, tuple):
        return sorted(set(checked))
    first = first_tau(checked, n_features)
    return [first] if checked == "scaled" else sorted({PAPER_TAU, first, first / 2, first / 4})


def _same_heads(a: ReferencePack, b: ReferencePack) -> bool:
    """Whether both packs have the same classifiers, at least one, behind the same standardisation."""
    if not a.heads or len(a.heads) != len(b.heads):
        return False
    pairs = [(a.scaler.mean, b.scaler.mean), (a.scaler.scale, b.scaler.scale)]
    for (ours, *_), (theirs, *_) in zip(a.heads, b.heads, strict=True):
        pairs += [(ours.weights, theirs.weights), (ours.intercept, theirs.intercept)]
    return all(np.array_equal(*pair) for pair in pairs)
