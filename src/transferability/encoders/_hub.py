"""Names on a hub, and folders that hold what a hub would send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transferability.encoders.identity import hash_json
from transferability.errors import EncoderNameError

__all__ = ["class_names", "configuration", "quietly", "source_and_revision", "tokenizer_hash"]


def source_and_revision(spec: str, name: str) -> tuple[str, str | None]:
    """Split `ORG/NAME@REV`; an existing folder is taken as it is.

    Raises
    ------
    EncoderError
        If it can only be a folder, and is not there.
    """
    folder = Path(spec).expanduser()
    if folder.is_dir():
        return str(folder), None
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1:  # hub names have at most one slash
        message = f"encoder {name!r} cannot be loaded: there is no folder {folder}."
        raise EncoderNameError(message)
    source, _, revision = spec.partition("@")
    return source, revision or None


def configuration(config: Any) -> str:
    """Return a hash of what a transformers configuration says beside its defaults."""
    said = {key: value for key, value in config.to_diff_dict().items() if key != "transformers_version"}
    return hash_json(json.loads(json.dumps(said, default=str)))


def tokenizer_hash(tokenizer: Any) -> str:
    """Return a hash of the rules and settings of a tokeniser, the same under other versions of its library.

    Padding and truncation of what is behind it are left out: they are set anew in every call.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(backend, "to_str"):
        rules = {**json.loads(backend.to_str()), "padding": None, "truncation": None}
    else:
        rules = backend.get_vocab()
    settings = {name: str(getattr(tokenizer, name, None)) for name in ("model_max_length", "truncation_side")}
    return hash_json([rules, settings])


def class_names(classifier: Any | None) -> list[str] | None:
    """Return what a transformers classifier calls its classes; None if it calls them LABEL_0 and so on."""
    if classifier is None:
        return None
    names = classifier.config.id2label
    ordered = [str(names[key]) for key in sorted(names)]
    return None if all(name == f"LABEL_{number}" for number, name in enumerate(ordered)) else ordered


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers and the hub from writing to the terminal; whoever calls this library shows progress.

    What transformers reports about weights that are missing is acted on, not printed: see `huggingface.load`.
    """
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
