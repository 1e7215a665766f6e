"""What fine-tuning the first encoders of a ranking gave, beside what the ranking said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from transferability.statistics.intervals import ConfidenceInterval, clopper_pearson

__all__ = ["Confirmation", "Confirmed"]


@dataclass(frozen=True)
class Confirmed:
    """One encoder, fine-tuned on the target.

    Attributes
    ----------
    encoder : str
        The whole of it: also of an encoder that is ranked by a hidden layer, all weights are trained.
    accuracy : float or None
        Of the fine-tuned encoder on the test rows; None where it could not be fine-tuned. Where only a later round
        failed, that of the round before.
    probe_accuracy : float or None
        On the same rows, of the linear probe that fine-tuning began from.
    epochs : int
        Allowed in the last round that it took part in.
    finished : bool
        Whether it took part in the last round; others were behind on the validation rows before.
    learning_rate : float or None
        Chosen on the validation rows.
    seconds : float
        Of all its training, whenever that was done.
    note : str
        What must be said: why it could not be fine-tuned, or that it ended below its probe. Empty where nothing must.
    ranked_as : str or None
        Its row in the ranking, the first of several, where that is called otherwise: a hidden layer.
    best_epoch : int or None
        After which the weights were kept; 0 where no epoch was better than the linear probe on the validation rows, so
        that the accuracy is that of the probe. None in files of earlier versions.
    """

    encoder: str
    accuracy: float | None
    probe_accuracy: float | None = None
    epochs: int = 0
    finished: bool = False
    learning_rate: float | None = None
    seconds: float = 0.0
    note: str = ""
    ranked_as: str | None = None
    best_epoch: int | None = None

    @property
    def row(self) -> str:
        """Name of its row in the ranking."""
        return self.ranked_as or self.encoder

    @property
    def layer(self) -> str:
        """Name of the layer that it is ranked by; empty where that is the encoder itself."""
        return self.row.removeprefix(self.encoder).removeprefix("/layer=")


@dataclass(frozen=True)
class Confirmation:
    """The first encoders of a ranking, fine-tuned in rounds; the most accurate of the last round first.

    Attributes
    ----------
    target : str
    n_test : int
        Rows that accuracies were measured on, and nothing was trained on.
    entries : tuple of Confirmed
        Those of the last round first, by accuracy; those that could not be fine-tuned last.
    rounds : tuple of int
        Epochs of each round.
    n_different : int or None
        Of the rows, those that are no copies of others, which intervals count; None where none is one.
    n_ranked : int or None
        How many encoders these are the first of, where a ranking that has seen the test rows chose them. None where
        nothing on these rows did.
    """

    target: str
    n_test: int
    entries: tuple[Confirmed, ...]
    rounds: tuple[int, ...]
    n_different: int | None = None
    n_ranked: int | None = None

    @property
    def best(self) -> Confirmed | None:
        """The most accurate of those that were fine-tuned; None where none could be.

        It says nothing of encoders that cannot be fine-tuned, which may be more accurate as they are.
        """
        return next((each for each in self.entries[:1] if each.accuracy is not None), None)

    @cached_property
    def intervals(self) -> tuple[ConfidenceInterval | None, ...]:
        """Where each accuracy lies on new data, 95 % for all at once: see `intervals_of`."""
        return self.intervals_of(0.95)

    def intervals_of(self, confidence: float) -> tuple[ConfidenceInterval | None, ...]:
        """Return where each accuracy lies on new data, with a confidence that holds for all at once (Clopper-Pearson).

        All are those that were fine-tuned, or every encoder of the ranking that chose them. A ranking has measured its
        encoders on these rows, and of a long list of like ones the first are those that were lucky on them. Whichever
        it names, the interval holds, because those of all others would have held too.
        """
        n_shared = max(1, self.n_ranked or 0, self._n_tuned)
        n_rows = self.n_different or self.n_test
        return tuple(
            None
            if each.accuracy is None
            else clopper_pearson(round(each.accuracy * n_rows), n_rows, confidence=confidence, n_shared=n_shared)
            for each in self.entries
        )

    @property
    def _n_tuned(self) -> int:
        return sum(each.accuracy is not None for each in self.entries)

    def of(self, encoder: str) -> Confirmed | None:
        """Return what is known of an encoder, by its name or that of its row in the ranking."""
        return next((each for each in self.entries if encoder in (each.encoder, each.row)), None)

    @property
    def in_words(self) -> str:
        """One or two sentences that rest on fine-tuned accuracies alone."""
        best = self.best
        if best is None or best.accuracy is None:
            return "No encoder could be fine-tuned: the ranking is not confirmed."
        interval = self.intervals[0]
        assert interval is not None
        layer = "" if best.ranked_as is None else f", ranked by its layer {best.layer},"
        shared = (
            "" if interval.n_shared == self._n_tuned else f", shared over the {interval.n_shared:,} that were ranked"
        )
        early = "" if best.finished else f" after {best.epochs} epochs"
        text = f"Fine-tuned on {self.target}, {best.encoder}{layer}"
        if best.best_epoch == 0:
            text = f"Fine-tuning on {self.target} did not improve {best.encoder}{layer or ','} a linear classifier on "
            text += "whose features"
        text += f" is right in {best.accuracy:.1%} of {self.n_test:,} rows that it was not trained on{early} "
        text += f"(95 % interval {interval.low:.1%} to {interval.high:.1%}{shared})"
        others = [each for each in self.entries[1:] if each.accuracy is not None]
        if others:
            second = max(others, key=lambda each: each.accuracy or 0.0)
            text += f", {second.encoder} in {second.accuracy:.1%}"
            text += "" if second.finished else f" after {second.epochs} epochs"
        return text + "."

    def frame(self) -> list[dict[str, Any]]:
        """Return one row for each encoder; `pandas.DataFrame` takes it as it is."""
        ends = [(None, None) if each is None else (each.low, each.high) for each in self.intervals]
        return [
            asdict(entry) | {"accuracy_low": low, "accuracy_high": high}
            for entry, (low, high) in zip(self.entries, ends, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        entries = [
            asdict(each) | {"interval": None if interval is None else [interval.low, interval.high]}
            for each, interval in zip(self.entries, self.intervals, strict=True)
        ]
        return {
            "target": self.target,
            "n_test": self.n_test,
            "n_different": self.n_different,
            "n_ranked": self.n_ranked,
            "rounds": list(self.rounds),
            "best": None if self.best is None else self.best.encoder,
            "in_words": self.in_words,
            "entries": entries,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Confirmation:
        """Return what `to_dict` wrote."""
        names = {field.name for field in fields(Confirmed)}
        entries = [
            Confirmed(**{name: value for name, value in each.items() if name in names}) for each in values["entries"]
        ]
        counts = {name: values.get(name) for name in ("n_different", "n_ranked")}
        return cls(values["target"], values["n_test"], tuple(entries), tuple(values["rounds"]), **counts)
