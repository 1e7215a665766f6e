"""What a score declares of itself, and the inputs from which scores are computed, with what several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np

from transferability._array import IntArray, as_numpy
from transferability._class_numbers import class_codes
from transferability._validate import check_labels
from transferability.errors import LabelError
from transferability.scores._labelled import LabelledFeatures
from transferability.scores._result import ScoreResult
from transferability.task import Task

__all__ = ["ScoreInfo", "ScoreInputs"]

_NEEDS_IN_WORDS = {
    "features": "features",
    "labels": "labels or pseudo-labels",
    "targets": "targets",
    "several_labels": "targets that are 0 or 1, a column for each of several labels",
    "source_probabilities": "the class probabilities of a source classifier",
    "reference": "a labelled reference task under the same encoder",
    "n_parameters": "the number of parameters of the encoder",
    "layers": "the hidden layers of an encoder that shows them",
    "label_embeddings": "embeddings of the class names",
}
_Shared = TypeVar("_Shared")


@dataclass(frozen=True, eq=False)
class ScoreInputs:
    """What there is to score.

    Parameters
    ----------
    features : array of shape (n_samples, n_features), optional
        Of the target.
    labels : array of shape (n_samples,), optional
        Classes of the target, of any kind: integers, whole floats, booleans or strings; or pseudo-labels.
    source_probabilities : array of shape (n_samples, n_source_classes), optional
        Class probabilities of the encoder's own classifier on the target samples.
    reference : Task, optional
        A labelled task under the same encoder.
    n_parameters : int, optional
        Of the encoder.
    pseudo_labels : bool, default=False
        Whether `labels` were guessed. Classes that no sample got are then left out, and every result says so.
    seed : int, default=0
        For the scores that draw.
    targets : array of shape (n_samples,) or (n_samples, n_outputs), optional
        Numbers to predict, or 0 and 1 for each of several labels; used where there are no `labels`.
    label_embeddings : array of shape (n_classes, n_dims) or (n_models, n_classes, n_dims), optional
        Embeddings of the class names by one or several language models, for EMMS; labels are then classes 0..K−1.
    layers : sequence of arrays of shape (n_samples, width), optional
        Features of the encoder's layers on the target samples, from input to output, the last ones included.
    """

    features: Any = None
    labels: Any = None
    source_probabilities: Any = None
    reference: Task | None = None
    n_parameters: int | None = None
    pseudo_labels: bool = False
    seed: int = 0
    targets: Any = None
    label_embeddings: Any = None
    layers: Sequence[Any] | None = None
    _made: dict[Callable[..., Any], Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def several_labels(self) -> Any:
        """The targets where they are a 0/1 indicator of several labels, else None."""
        if self.targets is None:
            return None
        targets = as_numpy(self.targets)
        return self.targets if targets.ndim == 2 and np.isin(targets, (0, 1)).all() else None

    @property
    def given(self) -> frozenset[str]:
        """Names of what is there."""
        return frozenset(name for name in _NEEDS_IN_WORDS if getattr(self, name) is not None)

    @cached_property
    def checked_labels(self) -> IntArray:
        """Labels 0..K−1, each with a sample."""
        return self._present_labels[1]

    @property
    def present_classes(self) -> IntArray:
        """Number of each class of `checked_labels` in `labels`: of pseudo-labels, classes without one are left out.

        Raises
        ------
        LabelError
            If labels are no class numbers 0..K−1, each with a sample.
        """
        if not self.pseudo_labels:
            check_labels(self.labels)
        return self._present_labels[0]

    @cached_property
    def _present_labels(self) -> tuple[IntArray, IntArray]:
        if not self.pseudo_labels:
            checked = class_codes(self.labels)
            return np.arange(int(checked.max()) + 1), checked
        present, renumbered = np.unique(np.asarray(self.labels), return_inverse=True)
        if len(present) < 2:
            message = "pseudo-labels put all samples into one class; no score says anything then."
            raise LabelError(message)
        return present, renumbered

    @cached_property
    def labelled(self) -> LabelledFeatures:
        """Features with `checked_labels`, and what several scores make of them."""
        return LabelledFeatures(self.features, self.checked_labels)

    def shared(self, make: Callable[[ScoreInputs], _Shared]) -> _Shared:
        """Return ``make(self)``, made once however many scores ask for it."""
        if make not in self._made:
            self._made[make] = make(self)
        return cast(_Shared, self._made[make])

    @property
    def note(self) -> str | None:
        """What a reader of any score that used the labels must know of them."""
        if not self.pseudo_labels:
            return None
        return f"computed on pseudo-labels, of {int(self.checked_labels.max()) + 1} classes; true labels were not seen."


@dataclass(frozen=True)
class ScoreInfo:
    """One score, as its module declares it: the registry, the documentation and the tests go by this.

    Attributes
    ----------
    name : str
    result : subclass of ScoreResult
        Holds direction, bounds and needs.
    description : str
    range : str
        Of the values, with the unit, for the documentation.
    cost : str
        For n samples, d features, K classes, Z source classes.
    limitations : str
        Where it is uninformative.
    function : callable
        Computes the score from `ScoreInputs`.
    on_device : bool
        Whether features of another array library are worked on where they are; False: copied to the host.
    invariant_to : frozenset of str
        Which changes of the features leave the value alone, of "shift", "scale" and "rotation".
    drawn : bool
        Whether the order of the rows, or a seed, changes the value.
    """

    name: str
    result: type[ScoreResult]
    description: str
    range: str
    cost: str
    limitations: str
    function: Callable[[ScoreInputs], ScoreResult] = field(repr=False)
    on_device: bool = True
    invariant_to: frozenset[str] = frozenset()
    drawn: bool = False

    @property
    def higher_is_better(self) -> bool:
        """Direction."""
        return self.result.higher_is_better

    @property
    def lower_bound(self) -> float:
        """Smallest possible value."""
        return self.result.lower_bound

    @property
    def upper_bound(self) -> float:
        """Largest possible value."""
        return self.result.upper_bound

    @property
    def needs(self) -> frozenset[str]:
        """Names of the inputs it needs, as in `ScoreInputs`."""
        return self.result.needs

    @property
    def needs_with_targets(self) -> frozenset[str] | None:
        """Names of the inputs it needs where there are targets in place of labels; None if it does not take them."""
        return self.result.needs_with_targets

    @property
    def needs_in_words(self) -> str:
        """The inputs it needs, in one line."""
        words = ", ".join(name for name in _NEEDS_IN_WORDS if name in self.needs)
        words = words.replace("n_parameters", "number of parameters").replace("_", " ")
        if self.needs_with_targets is None:
            return words
        return f"{words}; or {', '.join(sorted(self.needs_with_targets)).replace('_', ' ')}"

    def missing(self, inputs: ScoreInputs) -> str | None:
        """Return what is missing to compute the score, in words, or None."""
        given, needs = inputs.given, self.needs
        if "labels" in needs and "labels" not in given and "targets" in given:
            if self.needs_with_targets is None:
                return "needs labels of classes, and takes no targets"
            needs = self.needs_with_targets
        absent = sorted(needs - given)
        return f"needs {' and '.join(_NEEDS_IN_WORDS[name] for name in absent)}" if absent else None
