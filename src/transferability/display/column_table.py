"""The columns of a ranking: the one place where each is named, formatted and explained.

Terminal, Markdown, HTML, notebooks, CSV files, trackers, JSON and the docs show these columns; `--sort` takes every one
that has a direction. To add a column, add it here: its value is read from an entry of `Ranking.to_dict()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from transferability.display.formats import FORMATS

__all__ = ["COLUMNS", "Column", "Entry", "at"]

Entry = Mapping[str, Any]
"""An entry of the list `ranking` in `Ranking.to_dict()`."""
Level = Literal["main", "wide", "data"]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    key : str
        Its name in JSON, frames, CSV files and `--sort`.
    title : str
        Its name in tables.
    format : str
        Key of `display.formats.FORMATS`.
    explanation : str
        One sentence.
    value : callable
        From an entry to its value, None where unknown.
    higher_is_better : bool or None
        Direction for sorting; None where there is none.
    level : {"main", "wide", "data"}
        Shown in every table, in wide tables and details only, or in frames, CSV files and JSON only.
    in_frame : bool
        False for what other columns hold already.
    """

    key: str
    title: str
    format: str
    explanation: str
    value: Callable[[Entry], Any]
    higher_is_better: bool | None = None
    level: Level = "wide"
    in_frame: bool = True

    @property
    def is_text(self) -> bool:
        """Whether it is text, set to the left."""
        return self.format == "text"

    def show(self, entry: Entry) -> str:
        """Return the value of an entry as text."""
        return FORMATS[self.format](self.value(entry))


def at(*path: str) -> Callable[[Entry], Any]:
    """Return what reads a value of an entry by the keys that lead to it; None where one is missing."""

    def value(entry: Entry) -> Any:
        found: Any = entry
        for name in path:
            found = None if found is None else found.get(name)
        return found

    return value


def _end(name: str, position: int, within: str = "intervals") -> Callable[[Entry], Any]:
    def value(entry: Entry) -> Any:
        ends = (entry.get(within) or {}).get(name)
        return None if ends is None else ends[position]

    return value


_HELD_OUT = "on rows that neither classifier nor map was fitted on"
COLUMNS: tuple[Column, ...] = (
    Column("place", "#", "place", "Place in the ranking.", at("place"), None, "main"),
    Column("encoder", "encoder", "text", "Identifier of the encoder.", at("encoder"), None, "main"),
    Column(
        "reference", "reference", "text", "Reference whose bound is smallest; all numbers of the transfer are its.",
        at("relatedness", "reference"), None, "main",
    ),
    Column(
        "transferred_accuracy", "transferred accuracy", "percent",
        f"Accuracy of the reference's classifier, transferred to the target, {_HELD_OUT}.",
        at("relatedness", "transferred_accuracy"), True, "main",
    ),
    Column(
        "accuracy_of_different_rows", "of different rows", "percent",
        "The same of rows that are no copies of others, which intervals and p best count; empty where no row repeats.",
        at("different_rows", "accuracy"), level="main",
    ),
    Column(
        "transferred_accuracy_interval", "95 % interval", "percent interval",
        "Where the transferred accuracy lies on new data, with 95 % confidence (of folds: about) for all encoders at "
        "once.",
        at("intervals", "transferred_accuracy"), None, "main", in_frame=False,
    ),
    Column(
        "transferred_accuracy_low", "transferred accuracy, low", "percent",
        "Lower end of the 95 % interval of the transferred accuracy.", _end("transferred_accuracy", 0), level="data",
    ),
    Column(
        "transferred_accuracy_high", "transferred accuracy, high", "percent",
        "Upper end of the 95 % interval of the transferred accuracy.", _end("transferred_accuracy", 1), level="data",
    ),
    Column(
        "chance", "chance", "percent",
        "Share of the largest class: the accuracy of always answering that class; empty where labels are guessed.",
        at("relatedness", "chance"), level="wide",
    ),
    Column(
        "probe_accuracy", "linear probe", "percent",
        "Accuracy of a softmax regression trained on the target's features, on the same held-out rows.",
        at("probe", "accuracy"), True, "main",
    ),
    Column(
        "confirmed_accuracy", "fine-tuned", "percent",
        "Accuracy after brief fine-tuning (`rank --confirm`) of the whole encoder, on rows that it was not trained on.",
        at("confirmed", "accuracy"), level="main",
    ),
    Column(
        "confirmed_accuracy_interval", "fine-tuned, 95 % interval", "percent interval",
        "Where the fine-tuned accuracy lies on new data, with 95 % confidence for all encoders of the ranking at once.",
        at("confirmed", "interval"), level="main", in_frame=False,
    ),
    Column(
        "confirmed_accuracy_low", "fine-tuned, low", "percent",
        "Lower end of the 95 % interval of the fine-tuned accuracy.", _end("interval", 0, "confirmed"), level="data",
    ),
    Column(
        "confirmed_accuracy_high", "fine-tuned, high", "percent",
        "Upper end of the 95 % interval of the fine-tuned accuracy.", _end("interval", 1, "confirmed"), level="data",
    ),
    Column(
        "expected_accuracy", "expected fine-tuned", "percent",
        "Expected accuracy after fine-tuning, from the linear probe and from encoders of which both are known; of one "
        "that was fine-tuned here, that accuracy. Empty for what cannot be fine-tuned.",
        at("expected", "value"),
    ),
    Column(
        "expected_accuracy_interval", "90 % interval of it", "percent interval",
        "Where the accuracy of 9 of 10 encoders on targets like those known lies after fine-tuning; of one that was "
        "fine-tuned here, where its accuracy lies on new data with 90 % confidence for all of the ranking at once.",
        at("expected", "interval"), in_frame=False,
    ),
    Column(
        "expected_accuracy_low", "expected fine-tuned, low", "percent",
        "Lower end of the 90 % interval of the expected fine-tuned accuracy.", at("expected", "low"), level="data",
    ),
    Column(
        "expected_accuracy_high", "expected fine-tuned, high", "percent",
        "Upper end of the 90 % interval of the expected fine-tuned accuracy.", at("expected", "high"), level="data",
    ),
    Column(
        "measured_accuracy", "measured accuracy", "percent",
        "Accuracy after fine-tuning, as given with `report --measured`.", at("measured_accuracy"), None, "main",
        in_frame=False,
    ),
    Column(
        "p_best", "p best", "score",
        "P-value of the hypothesis that this encoder is the best of the list on new data; those above 0.05 can be.",
        at("standing", "p_best"),
    ),
    Column(
        "items_per_second", "items/s", "rate",
        "Items that the encoder encodes per second on this machine, reading and preprocessing included.",
        at("cost", "items_per_second"), True, "main",
    ),
    Column(
        "n_parameters", "parameters", "count", "Number of weights of the encoder.", at("n_parameters"), False, "main",
    ),
    Column(
        "on_front", "front", "mark",
        "Whether no other encoder is both more accurate (transferred accuracy) and cheaper (seconds per item; "
        "parameters where those are not known).",
        at("on_front"), None, "main",
    ),
    Column(
        "transferred_loss", "transferred loss", "nats",
        f"Mean cross-entropy of the same transferred classifier, in nats, {_HELD_OUT}.",
        at("relatedness", "transferred_loss"), False,
    ),
    Column(
        "transferred_loss_interval", "95 % interval of the loss", "nats interval",
        "Where the smoothed transferred loss lies on new data, with 95 % confidence (of folds: about) for all encoders "
        "at once.",
        at("intervals", "transferred_loss"), in_frame=False,
    ),
    Column(
        "transferred_loss_low", "transferred loss, low", "nats",
        "Lower end of the 95 % interval of the smoothed transferred loss.", _end("transferred_loss", 0), level="data",
    ),
    Column(
        "transferred_loss_high", "transferred loss, high", "nats",
        "Upper end of the 95 % interval of the smoothed transferred loss.", _end("transferred_loss", 1), level="data",
    ),
    Column(
        "bound", "bound", "nats",
        "Upper bound on the transferred loss on these rows, in nats: the sum of the next three. Where it is not "
        "certified, an estimate.",
        at("relatedness", "bound"), False,
    ),
    Column(
        "bound_interval", "95 % interval of the bound", "nats interval",
        "How much the bound varies with the sample, approximately; it says nothing of new data.",
        at("intervals", "bound"), in_frame=False,
    ),
    Column(
        "bound_low", "bound, low", "nats", "Lower end of the interval in which the bound varies with the sample.",
        _end("bound", 0), level="data",
    ),
    Column(
        "bound_high", "bound, high", "nats", "Upper end of the interval in which the bound varies with the sample.",
        _end("bound", 1), level="data",
    ),
    Column(
        "reference_loss", "reference loss", "nats",
        "First term of the bound: loss of the reference's classifier on the reference, by the target's priors.",
        at("relatedness", "reference_loss"), False,
    ),
    Column(
        "label_mismatch", "label mismatch", "nats",
        "Second term: entropy of the target class given the reference class; 0 where no two share one.",
        at("relatedness", "label_mismatch"), False,
    ),
    Column(
        "distribution_mismatch", "distribution mismatch", "nats",
        "Third term: cost of the transport, class by class, from the reference to the mapped target.",
        at("relatedness", "distribution_mismatch"), False,
    ),
    Column(
        "accuracy_lost_on_reference", "points lost on reference", "points",
        "Points of accuracy that the reference's classifier loses on the reference already.",
        at("relatedness", "accuracy_lost", "on_reference"), False,
    ),
    Column(
        "accuracy_lost_to_labels", "points lost to labels", "points",
        "Points of accuracy lost because target classes share a reference class.",
        at("relatedness", "accuracy_lost", "to_labels"), False,
    ),
    Column(
        "accuracy_lost_on_target", "points lost on target", "points",
        "Points of accuracy lost because the target is harder than the reference; negative: easier.",
        at("relatedness", "accuracy_lost", "on_target"), False,
    ),
    Column(
        "probe_loss", "linear probe loss", "nats", "Mean cross-entropy of the linear probe, in nats.",
        at("probe", "loss"), False,
    ),
    Column(
        "transferability", "transferability", "nats",
        "Loss of a Lipschitz classifier trained on the target, in nats: what the paper's bound is compared with.",
        at("relatedness", "transferability"), False,
    ),
    Column(
        "transferability_accuracy", "transferability accuracy", "percent", "Accuracy of that Lipschitz classifier.",
        at("relatedness", "transferability_accuracy"), True,
    ),
    Column(
        "tau", "τ", "constant", "Lipschitz constant asked of the reference's classifier.", at("relatedness", "tau"),
    ),
    Column("scale", "scale", "constant", "Factor of the classifier's logits.", at("relatedness", "scale")),
    Column(
        "identifier", "identifier", "text", "What loads the encoder; it may be called by a shorter name.",
        at("identifier"), level="data",
    ),
    Column("dimension", "dimension", "count", "Number of features.", at("cost", "dimension"), False),
    Column("input_size", "input size", "text", "Size of what the encoder reads.", at("cost", "input_size")),
    Column(
        "peak_memory", "peak memory", "bytes",
        "Largest memory while the encoder was loaded and encoded: of the process, or of the GPU where it ran on one.",
        at("cost", "peak_memory"), False,
    ),
    Column("licence", "licence", "text", "Licence of the weights, where it is known.", at("cost", "licence")),
    Column(
        "load_seconds", "load, s", "seconds", "Seconds to load the encoder.", at("cost", "load_seconds"), False,
    ),
    Column(
        "extraction_seconds", "extraction, s", "seconds",
        "Seconds to extract the features of target and references; what the cache holds takes none.",
        at("cost", "extraction_seconds"), False,
    ),
    Column(
        "fit_seconds", "fit, s", "seconds", "Seconds to fit and measure the transfer, the probe and the scores.",
        at("cost", "fit_seconds"), False,
    ),
    Column("seconds", "seconds", "seconds", "Seconds for this encoder in all.", at("seconds"), False, "main"),
)  # fmt: skip
"""All columns but those of scores, in the order in which tables show them."""
