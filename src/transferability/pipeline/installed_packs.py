"""Reference packs that installed packages bring, found by entry points: a reference that nobody has to bring.

An entry point of the group `transferability.packs` names a function without parameters that returns a folder; in it
lies a folder for each encoder, called as `{encoder}` is in `pack:` (its name with everything but letters, digits, '-',
'_' and '.' replaced by '-'), with the packs of that encoder, `*.safetensors`. `transferability-packs` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

from transferability._identifiers import file_name
from transferability.errors import DatasetError, one_line, passes_through
from transferability.pipeline.packs import fits
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.encoder_fingerprint import EncoderFingerprint
from transferability.relatedness.packs.nearest_classes import nearest_classes
from transferability.relatedness.packs.pack import ReferencePack
from transferability.relatedness.relate_samples import Folds
from transferability.relatedness.results.result import Relatedness
from transferability.task import Task

__all__ = ["PACK_GROUP", "installed_packs", "pack_files", "pack_folders", "relate_to_packs"]

PACK_GROUP = "transferability.packs"


def pack_folders() -> list[Path]:
    """Return the folders that installed packages name, in the order of their names.

    Raises
    ------
    DatasetError
        If a package fails to name one.
    """
    folders = []
    for point in sorted(entry_points(group=PACK_GROUP), key=lambda each: each.name):
        try:
            find: Callable[[], Path] = point.load()
            folders.append(Path(find()))
        except BaseException as error:  # packages have errors of their own
            if passes_through(error):
                raise
            message = f"reference packs of {point.value!r} cannot be found: {type(error).__name__}: {one_line(error)}. "
            raise DatasetError(message + "Install the package again, or remove it.") from error
    return folders


def pack_files(fingerprint: EncoderFingerprint | None) -> list[Path]:
    """Return the files of the installed packs that are named for an encoder, whether or not they serve it."""
    if fingerprint is None:
        return []
    return [
        path
        for folder in pack_folders()
        for path in sorted((folder / file_name(fingerprint.name)).glob("*.safetensors"))
    ]


def installed_packs(fingerprint: EncoderFingerprint | None) -> tuple[list[ReferencePack], str | None]:
    """Return the installed packs that serve an encoder, and what must be said of those that do not.

    Raises
    ------
    FileDamagedError
        If a file is damaged.
    """
    if fingerprint is None:
        return [], None
    packs = [ReferencePack.load(path) for path in pack_files(fingerprint)]
    serving = [pack for pack in packs if fits(pack.encoder, fingerprint) and pack.has_rows]
    if len(serving) == len(packs):
        return serving, None
    note = (
        f"{len(packs) - len(serving)} of {len(packs)} installed packs are left out: they are of another version of "
        "this encoder, or keep no rows."
    )
    return serving, note


def relate_to_packs(
    estimator: TaskRelatedness,
    own: Relatedness | None,
    packs: Sequence[ReferencePack],
    fit: Task,
    test: Task | None,
    folds: Folds | None,
) -> Relatedness | None:
    """Return what relates a labelled target to its own other half, with the installed packs in the panel.

    The own half stays what is reported: encoders are compared by what all of them have, and it orders them at least as
    well (docs/packs.md). Packs with fewer classes than the target are left out: classes would have to share one. Where
    there are too few rows of a class for two halves, the closest pack takes the place of the own half.
    """
    serving = [pack for pack in packs if pack.n_classes >= fit.n_classes]
    if not serving:
        return own
    found = estimator.fit(serving, fit, target_test=test, folds=folds)
    nearest = nearest_classes(fit, packs)
    if own is None:
        return replace(found, nearest=nearest)
    return own.with_references(found.others or (found,), nearest)
