"""What of the Hugging Face hub is on this machine, and what is there: asked without loading any model."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transferability._hub import hub_problem
from transferability.encoders.family import Family, Presence, without_library
from transferability.encoders.licences import licence_name
from transferability.errors import OptionError, one_line

__all__ = ["cached_repositories", "folder_or_hub", "hub_facts", "hub_presence", "search_hub"]

_WEIGHTS = (
    "model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json",
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
)  # fmt: skip
_MOST = 50


def hub_presence(family: Family, repository: str, revision: str | None = None) -> Presence:
    """Return whether a repository's weights are in the hub's cache, or would be fetched."""
    missing = without_library(family)
    if missing is not None:
        return missing
    files = _cached_files(repository, revision)
    return Presence("cached", size=sum(path.stat().st_size for path in files)) if files else Presence("download")


def folder_or_hub(family: Family, spec: str) -> Presence:
    """Return the presence of `FOLDER`, or of `ORG/NAME[@REV]`."""
    missing = without_library(family)
    if missing is not None:
        return missing
    if Path(spec).expanduser().is_dir():
        return Presence("local")
    name, _, revision = spec.partition("@")
    return hub_presence(family, name, revision or None)


def cached_repositories() -> list[tuple[str, Path]]:
    """Return the models whose weights are in the hub's cache, each with the folder of its files."""
    if find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import constants

    found = []
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/")
        files = _cached_files(name, None)
        if files:
            found.append((name, files[0].parent))
    return found


def search_hub(pattern: str, identifier: str, library: str) -> list[str]:
    """Return the models on the hub that match `ORG/NAME` with wildcards, the most downloaded first.

    Where the hub does not answer, those in its cache are searched.

    Raises
    ------
    OptionError
        If the pattern names nothing to search for.
    """
    problem = hub_problem()
    if problem is not None:
        return [name for name, _ in cached_repositories() if fnmatchcase(name, pattern)]
    organisation, _, name = pattern.rpartition("/")
    words = [word for word in name.replace("?", "*").split("*") if word]
    author = organisation if organisation and "*" not in organisation and "?" not in organisation else None
    if not words and author is None:
        message = f"`encoder` must say what to search the hub for: {identifier.partition(':')[0]}:ORG/* or "
        message += f"{identifier.partition(':')[0]}:*WORD*; got {identifier!r}."
        raise OptionError(message)
    from huggingface_hub import HfApi

    try:
        models: Iterator[Any] = iter(
            HfApi().list_models(
                author=author, search=max(words, key=len) if words else None, filter=library, sort="downloads",
                limit=20 * _MOST,
            )
        )  # fmt: skip
        names = [model.id for model in models if fnmatchcase(model.id, pattern)]
    except Exception as error:
        message = f"encoder {identifier!r} cannot be searched for on the hub: {one_line(error)}. Name the models."
        raise OptionError(message) from error
    return names[:_MOST]


@functools.lru_cache(maxsize=1024)
def hub_facts(repository: str, revision: str | None = None) -> tuple[int | None, str | None]:
    """Return the number of weights and the licence of a model on the hub, as far as the hub knows them; one request."""
    if hub_problem() is not None:
        return None, None
    from huggingface_hub import HfApi

    try:
        found = HfApi().model_info(repository, revision=revision, expand=["safetensors", "cardData"])
    except Exception:  # noqa: BLE001 - of whatever library carries the request; said when the model is loaded
        return None, None
    weights, card = found.safetensors, found.card_data
    return None if weights is None else int(weights.total), licence_name(None if card is None else card.get("license"))


def _cached_files(repository: str, revision: str | None) -> list[Path]:
    if find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    try:
        found = (try_to_load_from_cache(repository, name, revision=revision) for name in _WEIGHTS)
        paths = [Path(path) for path in found if isinstance(path, str)]
    except ValueError:  # no name that a repository can have
        return []
    if not paths:
        return []
    shards = sorted(paths[0].parent.glob("*-of-*.*")) if paths[0].name.endswith(".index.json") else []
    return [paths[0], *shards]
