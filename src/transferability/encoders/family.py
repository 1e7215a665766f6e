"""What a family of encoders says of itself, in one place: hints, help, docs and checks are derived from it.

A module of encoders declares `FAMILY`. It may also have

- `presence(spec) -> Presence`: whether the encoder can be loaded here, and whether it must be fetched first;
- `search(pattern) -> list[str]`: the names behind the prefix that match a wildcard;
- `trainable(spec) -> bool`: where that differs within the family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Literal, NamedTuple

from transferability.encoders.base import Modality

__all__ = ["Family", "Presence", "matching", "without_library"]


@dataclass(frozen=True)
class Family:
    """A prefix of identifiers, and what encoders behind it are.

    Attributes
    ----------
    usage : str
        What to write: "timm:NAME".
    about : str
        What that is, in a line.
    modalities : tuple of str
        What its encoders take; () for anything.
    library : str, optional
        The module that must be installed.
    extra : str, optional
        The extra of this package that installs it.
    trainable : bool
        Whether its encoders can be fine-tuned here.
    from_hub : bool
        Whether its weights come from the Hugging Face hub.
    """

    usage: str
    about: str
    modalities: tuple[Modality, ...] = ()
    library: str | None = None
    extra: str | None = None
    trainable: bool = False
    from_hub: bool = False

    @property
    def prefix(self) -> str:
        """What stands before the colon."""
        return self.usage.partition(":")[0]


class Presence(NamedTuple):
    """Whether an encoder can be loaded on this machine."""

    state: Literal["installed", "cached", "local", "download", "missing"]
    """Weights in an installed package, in a cache, or in a file; to be fetched; or a library is missing."""
    install: str = ""
    """The command that installs what is missing."""
    size: int | None = None
    """Bytes of the weights, where they are known."""

    @property
    def here(self) -> bool:
        """Whether it loads without a network."""
        return self.state in ("installed", "cached", "local")


def without_library(family: Family) -> Presence | None:
    """Return what to install where a family's library is not there; None where it is."""
    if family.library is None or find_spec(family.library) is not None:
        return None
    return Presence("missing", f"pip install 'transferability[{family.extra}]'")


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names that match a wildcard, in order.

    Examples
    --------
    >>> matching("vit_*", ["resnet18", "vit_tiny"])
    ['vit_tiny']
    """
    return [name for name in names if fnmatchcase(name, pattern)]
