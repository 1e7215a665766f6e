"""State of the process that encoders and their libraries may set, and that is not theirs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["undisturbed"]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put back, at the end of a block, how NumPy treats floating-point errors, the root logger, and the working folder.

    An encoder that makes NumPy raise would make the mathematics behind it fail; one that changes the folder would send
    results elsewhere; one that sets up logging would let every other library write to the terminal.
    """
    folder = _folder()
    level, handlers = logging.root.level, list(logging.root.handlers)
    try:
        with np.errstate():
            yield
    finally:
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        if folder is not None and _folder() != folder:
            os.chdir(folder)


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # somebody has removed it
        return None
