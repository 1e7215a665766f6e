"""Reference packs of public data sets for packaged encoders; `transferability rank` finds them by itself."""

from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """Return the folder with a folder of packs for each encoder."""
    return Path(__file__).parent / "packs"
