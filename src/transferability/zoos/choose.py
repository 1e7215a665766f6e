"""Which encoders of a zoo fit the data, and which of them are available on this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from transferability._hub import hub_problem
from transferability.encoders.base import Modality
from transferability.encoders.family import Presence
from transferability.encoders.registry import expand, is_trainable, is_wildcard, presence_of
from transferability.errors import OptionError, TransferabilityError
from transferability.zoos.entries import SIZES, Entry, entry_of, from_hub, load_zoo

__all__ = ["EncoderChoice", "choose", "fitting_size"]

_SHOWN = 3  # commands that install something


@dataclass(frozen=True)
class EncoderChoice:
    """Encoders to rank, and what must be said of those that are not among them.

    Attributes
    ----------
    encoders : tuple
        Identifiers and encoders, in the order in which they are computed: what is here first, the smaller first.
    zoo : str, optional
        The zoo that they come from, where one was asked for or taken.
    notes : tuple of str
        What was chosen, what is downloaded, what could not be had and how to get it; each once.
    """

    encoders: tuple[Any, ...]
    zoo: str | None = None
    notes: tuple[str, ...] = ()


def fitting_size() -> str:
    """Return the zoo that fits this machine: tiny on a CPU, small with an accelerator."""
    if find_spec("torch") is None:
        return "tiny"
    import torch

    return "small" if torch.cuda.is_available() or torch.backends.mps.is_available() else "tiny"


def choose(
    encoders: Sequence[Any] = (),
    zoo: str | os.PathLike[str] | None = None,
    modality: Modality | None = None,
    *,
    trainable: bool = False,
) -> EncoderChoice:
    """Return the encoders that are meant: those that are named, those of a zoo, or what fits data and machine.

    Parameters
    ----------
    encoders : sequence
        Identifiers, with wildcards or an alias perhaps, and encoders of any kind. They are kept, in their order.
    zoo : str or path, optional
        tiny, small, base, large, or a TOML file. Without encoders and zoo, the one that fits the machine; where the
        hub does not answer, those of the other sizes but large that are here join it.
    modality : {"image", "text", "array", "tokens"}, optional
        Of the data: encoders of a zoo that take something else are left out.
    trainable : bool
        Whether only encoders that can be fine-tuned are wanted of a zoo.

    Raises
    ------
    OptionError
        If no encoder of the zoo takes the data, or none is available; says what to install.
    UnknownNameError
        If a wildcard matches nothing.
    """
    named, notes = _named(encoders)
    if zoo is None and encoders:
        return EncoderChoice(named, None, notes)
    if modality == "array":
        message = "`encoder` must be given for data that are features already: name one feature file per encoder, "
        message += "features:zoo/ENCODER/{data}.npz; in Python give one array per encoder, "
        raise OptionError(message + "encoders={'resnet50': array, …}.")
    size = fitting_size() if zoo is None else os.fspath(zoo)
    entries = [entry for entry in load_zoo(size) if _takes(entry, modality)]
    if zoo is None and hub_problem() is not None:
        others = [entry for each in SIZES[:-1] if each != size for entry in load_zoo(each) if _takes(entry, modality)]
        entries += [entry for entry in others if presence_of(entry.identifier).here]
    entries = [entry for entry in entries if not trainable or is_trainable(entry.identifier)]
    if not entries:
        message = f"`zoo` must hold encoders of the data's kind; {size} has none for {modality} data. Name them: "
        raise OptionError(message + "--encoder IDENTIFIER.")
    chosen, more = _available(entries, str(size))
    if not chosen and not named:
        message = f"no encoder of zoo {size} for {modality or 'these'} data is available here. {' '.join(more)}"
        raise OptionError(message)
    return EncoderChoice((*named, *chosen), str(size), (*notes, *more))


def _takes(entry: Entry, modality: Modality | None) -> bool:
    if modality == "tokens":  # words in their sentence: encoders of texts that show their tokens
        return entry.modality == "tokens" or (entry.modality == "text" and entry.identifier.startswith("hf:"))
    return modality is None or entry.modality in (None, modality)


def _named(encoders: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    """Return encoders with their wildcards written out; each identifier once."""
    found: list[Any] = []
    notes: list[str] = []
    for each in encoders:
        if not isinstance(each, str) or not is_wildcard(each):
            found += [] if isinstance(each, str) and each in found else [each]
            continue
        entries = [entry_of(name) or from_hub(Entry(name)) for name in expand(each)]
        names, more = _available(entries, each, sort=False)
        if not names:
            message = f"no encoder of {each} is available here. {' '.join(more)}"
            raise OptionError(message)
        notes += [f"{each}: {len(entries)} encoders.", *more]
        found += [name for name in names if name not in found]
    return tuple(found), tuple(notes)


def _available(entries: Sequence[Entry], source: str, *, sort: bool = True) -> tuple[list[str], list[str]]:
    """Return the identifiers that are available, and sentences on what is downloaded and what is not available."""
    presences = {entry.identifier: _presence(entry) for entry in entries}
    doubles = {entry.same_as for entry in entries if entry.same_as and presences[entry.identifier].here}
    entries = [entry for entry in entries if entry.identifier not in doubles]
    fetched = [entry for entry in entries if presences[entry.identifier].state == "download"]
    problem = hub_problem() if any(entry.identifier.partition(":")[0] != "torchvision" for entry in fetched) else None
    reachable = [] if problem else fetched
    notes = []
    if reachable:
        sizes = [entry.bytes for entry in reachable]
        about = f", about {_size(sum(filter(None, sizes)))}" if any(sizes) else ""
        notes.append(f"{_count(len(reachable), 'encoder')} of {source} downloaded where the cache lacks them{about}.")
    if problem and fetched:
        notes.append(f"{_count(len(fetched), 'encoder')} of {source} left out: {problem}.")
    missing = Counter(presences[entry.identifier].install for entry in entries if _lacks(presences, entry))
    if missing:
        commands = "; ".join(command for command, _ in missing.most_common(_SHOWN) if command)
        notes.append(f"{_count(sum(missing.values()), 'encoder')} of {source} left out, not installed: {commands}.")
    kept = [entry for entry in entries if presences[entry.identifier].here or entry in reachable]
    if sort:
        kept.sort(key=lambda entry: (not presences[entry.identifier].here, entry.parameters or 0))
    return [entry.identifier for entry in kept], notes


def _presence(entry: Entry) -> Presence:
    try:
        return presence_of(entry.identifier)
    except TransferabilityError:  # an alias or a folder that is wrong: said when it is loaded
        return Presence("local")


def _lacks(presences: dict[str, Presence], entry: Entry) -> bool:
    return presences[entry.identifier].state == "missing"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{max(1, round(n_bytes / 1e6))} MB"
