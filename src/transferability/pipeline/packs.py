"""Reference packs in a run: which file serves which encoder, and what that does to the estimator.

A pack that keeps rows is compared with references of samples. One of statistics alone, or a pack as the target, makes
everything be compared by statistics. `rank` and `relate` take `pack:FILE` wherever they take data. The file says which
encoder made it; with another one it is refused, because features of different encoders cannot be compared. `{encoder}`
in the path stands for the name of the encoder, with everything but letters, digits, '-', '_' and '.' replaced by '-'.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from transferability._identifiers import file_name
from transferability.encoders import Encoder, FeatureFiles
from transferability.errors import EncoderError
from transferability.relatedness.estimator import TaskRelatedness
from transferability.relatedness.packs.pack import EncoderFingerprint, ReferencePack
from transferability.task import Task

__all__ = [
    "PREFIX",
    "PackSource",
    "by_statistics",
    "common_fingerprint",
    "fingerprint_of",
    "fits",
    "fitting_packs",
    "needs_statistics",
]

PREFIX = "pack:"


class PackSource:
    """A pack, or the pattern of the files of several, read when an encoder asks for it.

    Parameters
    ----------
    source : str or ReferencePack
        `pack:FILE`, `pack:FOLDER/{encoder}.safetensors`, or the pack itself.
    """

    def __init__(self, source: str | ReferencePack) -> None:
        self.name = source.name if isinstance(source, ReferencePack) else source
        self._pattern = "" if isinstance(source, ReferencePack) else source.removeprefix(PREFIX)
        self._read = {Path(): source} if isinstance(source, ReferencePack) else {}

    def path(self, fingerprint: EncoderFingerprint | None) -> Path:
        """Return the file for this encoder."""
        name = "features" if fingerprint is None else file_name(fingerprint.name)
        return Path(self._pattern.replace("{encoder}", name)).expanduser()

    def read(self, fingerprint: EncoderFingerprint | None) -> ReferencePack:
        """Return the pack for this encoder; whether it fits is another question."""
        if not self._pattern:
            return self._read[Path()]
        path = self.path(fingerprint)
        if path not in self._read:
            self._read[path] = ReferencePack.load(path)
        return self._read[path]


def fingerprint_of(encoder: Encoder | FeatureFiles | None) -> EncoderFingerprint | None:
    """Return what a pack says of its encoder; None for features of unknown make."""
    if encoder is None:
        return None
    identity = None if isinstance(encoder, FeatureFiles) else encoder.identity()
    return EncoderFingerprint.of(encoder.name, identity)


def fitting_packs(
    sources: Sequence[PackSource], fingerprint: EncoderFingerprint | None, *, every: bool
) -> dict[PackSource, ReferencePack]:
    """Return the packs that serve an encoder.

    Parameters
    ----------
    sources : sequence of PackSource
    fingerprint : EncoderFingerprint or None
    every : bool
        Whether each of them must; otherwise one is enough, and the others are left out.

    Raises
    ------
    EncoderError
        If a pack was made with another encoder, and it must not be.
    DatasetError, FileDamagedError
        If a file is not there or no pack.
    """
    if not sources:
        return {}
    packs = {source: source.read(fingerprint) for source in sources}
    fitting = {source: pack for source, pack in packs.items() if fits(pack.encoder, fingerprint)}
    strangers = [pack for source, pack in packs.items() if source not in fitting]
    if strangers and (every or not fitting):
        pack = strangers[0]
        message = (
            f"pack {pack.name!r} was made with {_say(pack.encoder)}, and this is {_say(fingerprint)}: features of "
            "different encoders cannot be compared. "
            "Make a pack with this one: transferability pack --encoder … --data …"
        )
        raise EncoderError(message)
    return fitting


def common_fingerprint(sources: Sequence[PackSource]) -> EncoderFingerprint | None:
    """Return the encoder of the first pack, which all others must fit where there is no other encoder."""
    return sources[0].read(None).encoder


def needs_statistics(
    estimator: TaskRelatedness, references: Sequence[Task | ReferencePack], target: Task | ReferencePack
) -> bool:
    """Whether there are samples of too few of the tasks to compare anything else than statistics."""
    packs = [each for each in references if isinstance(each, ReferencePack)]
    return isinstance(target, ReferencePack) or any(not pack.has_rows or estimator.space == "target" for pack in packs)


def by_statistics(estimator: TaskRelatedness) -> TaskRelatedness:
    """Return the estimator with the solver that packs need, in place of the default one."""
    if estimator.solver != "alternating":
        return estimator
    changed = copy.copy(estimator)
    changed.solver = "statistics"
    if changed.ground_cost == "exact":  # there are no samples whose losses could be sorted
        changed.ground_cost = "loss"
    return changed


def fits(made_with: EncoderFingerprint | None, fingerprint: EncoderFingerprint | None) -> bool:
    """Whether a pack made with one encoder serves another; features of unknown make fit each other."""
    if made_with is None or fingerprint is None:
        return made_with is None and fingerprint is None
    return made_with.fits(fingerprint)


def _say(fingerprint: EncoderFingerprint | None) -> str:
    return "no encoder that it knows of" if fingerprint is None else f"encoder {fingerprint}"
