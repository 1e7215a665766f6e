"""What one encoder makes of the data sets of a run: every output that is wanted in one pass, each data set once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from transferability._array import FloatArray
from transferability.encoders import (
    FEATURES,
    PROBABILITIES,
    Encoder,
    FeatureFiles,
    OutputView,
    every_layer,
    load_encoder,
    outputs_of,
    spread_layers,
)
from transferability.encoders.in_memory import encoder_of
from transferability.errors import LabelError, OptionError
from transferability.features import Features, extract_features, extract_outputs
from transferability.features.meter import metered
from transferability.pipeline.choice import Model
from transferability.pipeline.data import Part, Progress, Split, check_folds, without_folds
from transferability.pipeline.packs import PackSource, by_statistics, fingerprint_of, fitting_packs, needs_statistics
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.pack import EncoderFingerprint, ReferencePack
from transferability.settings import ExtractionOptions, LoadingOptions, Settings
from transferability.task import Task

__all__ = ["Extraction", "Loaded", "LoadedReference", "layer_encoders", "load"]

Loaded = Encoder | FeatureFiles
AnyLoaded = Loaded | None
"""None for data that are features already."""


class LoadedReference(NamedTuple):
    """A reference under one encoder: its samples for fitting and measuring, or its pack."""

    fit: Task | ReferencePack
    test: Task | None
    part: Part


def load(encoder: Model, settings: Settings) -> Loaded:
    """Return the encoder that an identifier names, as the settings want it; an encoder stays what it is."""
    if not isinstance(encoder, str):
        return encoder_of(encoder, device=settings.device, precision=settings.precision, compile=settings.compile)
    one_layer = replace(settings, layer=None if settings.layer == "all" else settings.layer)
    return load_encoder(encoder, **one_layer.of(LoadingOptions))


def layer_encoders(encoder: Loaded, settings: Settings) -> list[Loaded]:
    """Return what is to be ranked of an encoder: itself, or each of its layers and its features.

    Raises
    ------
    OptionError
        If layers are wanted of an encoder that shows none.
    """
    if settings.layer != "all":
        return [encoder]
    if isinstance(encoder, FeatureFiles):
        message = "`layer` must be left out for features that are computed already."
        raise OptionError(message)
    return [*every_layer(encoder), encoder]


def _no_labels(part: Split) -> str:
    """Say that a reference has no labels, and which columns may hold them."""
    hints = " ".join(part.dataset.notes) or "Name the column or file that holds them."
    return f"reference {part.name!r} has no labels, and a reference needs them. {hints}"


class Extraction:
    """Features of data sets under one loaded encoder, kept while the run needs them.

    Parameters
    ----------
    views : sequence of encoders
        Of one loaded model: the model itself, layers of it. What they need of a data set is computed together.
    needs : set of str
        Inputs of scores, as in `ScoreInputs`. Of targets, source-class probabilities and hidden layers spread over the
        depth of the encoder are then computed too, where it has them.
    settings : Settings
    progress : callable, optional
    """

    def __init__(
        self,
        views: Sequence[AnyLoaded],
        *,
        needs: frozenset[str] = frozenset(),
        settings: Settings,
        progress: Progress | None,
    ) -> None:
        first = views[0]
        self._base = first.base if isinstance(first, OutputView) else first
        self._outputs = tuple(dict.fromkeys(_output_of(view) for view in views))
        model = None if isinstance(self._base, FeatureFiles) else self._base
        known = () if model is None else outputs_of(model)
        self._layers = () if model is None or "layers" not in needs else spread_layers(model)
        self._probabilities = "source_probabilities" in needs and PROBABILITIES in known
        self._settings = settings
        self._progress = progress
        self._seconds = 0.0  # of extraction, since somebody asked
        self.encoded = (0, 0.0)
        """Items that were encoded, and the seconds of the extractions that they belong to, without trials."""
        self._found: dict[int, dict[str, Features]] = {}  # by data set; the parts live as long as the run

    def target(
        self, view: AnyLoaded, part: Part, fingerprint: EncoderFingerprint | None = None
    ) -> tuple[Task | ReferencePack, Task | None]:
        """Return the fitting and the test part of a target under one view.

        `fingerprint` names an encoder that is not here.

        Of a target that is cross-fitted all rows are the fitting part, and there is no test part.
        """
        if isinstance(part, PackSource):
            return fitting_packs([part], fingerprint or fingerprint_of(view), every=True)[part], None
        found = self._features(part, self._of_targets)
        return part.target_tasks(found[_output_of(view)], use_labels=self._settings.use_labels)

    def compared(
        self,
        estimator: TaskRelatedness,
        view: AnyLoaded,
        part: Part,
        panel: Sequence[LoadedReference],
        fingerprint: EncoderFingerprint | None = None,
    ) -> tuple[TaskRelatedness, Part, Task | ReferencePack, Task | None]:
        """Return a target with what compares it to a panel: by statistics where packs need that.

        Statistics have one split and no folds: on all rows they would be measured where they were fitted.
        """
        fit, test = self.target(view, part, fingerprint)
        asked = estimator.solver == "statistics"
        if not asked and not needs_statistics(estimator, [each.fit for each in panel], fit):
            return estimator, part, fit, test
        check_folds(part, self._settings, "statistics")
        part = without_folds(part)
        return by_statistics(estimator), part, *self.target(view, part, fingerprint)

    def probabilities(self, part: Part) -> FloatArray | None:
        """Return the encoder's own source-class probabilities of a target's fitting part, if it gives any."""
        if isinstance(part, PackSource) or not self._probabilities:
            return None
        rows = _of_fitting(part, self._features(part, self._of_targets)[PROBABILITIES])
        shares: FloatArray = rows / rows.sum(axis=1, keepdims=True)  # kept in float32, or less
        return shares

    def layers(self, view: AnyLoaded, part: Part) -> list[FloatArray] | None:
        """Return hidden layers of a target's fitting part, from input to output, its features last; None of none.

        A view of one layer has none: it stands for that layer alone.
        """
        if isinstance(part, PackSource) or not self._layers or _output_of(view) != FEATURES:
            return None
        found = self._features(part, self._of_targets)
        return [_of_fitting(part, found[output]) for output in (*self._layers, FEATURES)]

    def panel(
        self, view: AnyLoaded, parts: Sequence[Part], *, every: bool, fingerprint: EncoderFingerprint | None = None
    ) -> list[LoadedReference]:
        """Return references under one view; packs of other encoders are left out unless `every` must fit."""
        fingerprint = fingerprint or fingerprint_of(view)
        packs = fitting_packs([part for part in parts if isinstance(part, PackSource)], fingerprint, every=every)
        panel = []
        for part in parts:
            if isinstance(part, Split):
                found = self._features(part, self._outputs)
                fit, test = part.tasks(found[_output_of(view)])
                if fit.labels is None:
                    raise LabelError(_no_labels(part))
                panel.append(LoadedReference(fit, test, part))
            elif part in packs:
                panel.append(LoadedReference(packs[part], None, part))
        return panel

    def cache_keys(self, view: AnyLoaded, parts: Sequence[Part]) -> list[dict[str, str]]:
        """Return what the features of these data under one view are kept under, as far as they are kept."""
        found = [(part.name, self._found.get(id(part.dataset), {})) for part in parts if isinstance(part, Split)]
        named = [(name, outputs[_output_of(view)]) for name, outputs in found if _output_of(view) in outputs]
        return [{"data": name, "key": features.key} for name, features in named if features.key is not None]

    def notes(self, view: AnyLoaded, parts: Sequence[Part]) -> dict[str, str]:
        """Return what must be said of the features of these data under one view: texts cut, a device not used."""
        found = [self._found.get(id(part.dataset), {}) for part in parts if isinstance(part, Split)]
        said = [note for outputs in found if _output_of(view) in outputs for note in outputs[_output_of(view)].notes]
        notes = {"texts": " ".join(dict.fromkeys(said))} if said else {}
        reason = getattr(view, "ignores_device", None)
        if self._settings.device is not None and reason is not None:
            notes["device"] = f"{self._settings.device!r} has no effect here: {reason}."
        return notes

    def take_seconds(self) -> float:
        """Return the seconds of extraction since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    @property
    def _of_targets(self) -> tuple[str, ...]:
        """All that is computed of a target, in one pass."""
        return tuple(dict.fromkeys((*self._outputs, *((PROBABILITIES,) if self._probabilities else ()), *self._layers)))

    def _features(self, part: Split, wanted: Sequence[str]) -> dict[str, Features]:
        found = self._found.setdefault(id(part.dataset), {})
        missing = [output for output in wanted if output not in found]
        if missing:
            started = time.perf_counter()
            with metered() as meter:
                found |= self._extract(part, missing)
            seconds = time.perf_counter() - started
            self._seconds += seconds
            if meter.n_items:
                seconds -= meter.warm_up_seconds
                self.encoded = (self.encoded[0] + meter.n_items, self.encoded[1] + seconds)
        return found

    def _extract(self, part: Split, outputs: Sequence[str]) -> dict[str, Features]:
        progress = self._progress
        what = f"{'features' if self._base is None else self._base.name}: {part.name}"
        report = None if progress is None else lambda done, total: progress(what, done, total)
        if self._base is None or isinstance(self._base, FeatureFiles):
            return {FEATURES: extract_features(self._base, part.dataset, progress=report)}
        return extract_outputs(
            self._base,
            part.dataset,
            outputs,
            progress=report,
            **self._settings.of(ExtractionOptions),
        )


def _of_fitting(part: Split, found: Features) -> FloatArray:
    """Return the rows that scores are computed on: all of a target that is cross-fitted."""
    return found.features if part.folds is not None else found.features[part.fit_rows]


def _output_of(view: AnyLoaded) -> str:
    return view.output if isinstance(view, OutputView) else FEATURES
