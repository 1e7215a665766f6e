"""Zoos: lists of well-known encoders by size and cost, and which of them can be loaded on this machine."""

from transferability.zoos.choose import EncoderChoice as EncoderChoice
from transferability.zoos.choose import choose as choose
from transferability.zoos.choose import fitting_size as fitting_size
from transferability.zoos.entries import SIZES as SIZES
from transferability.zoos.entries import Entry as Entry
from transferability.zoos.entries import entry_of as entry_of
from transferability.zoos.entries import load_zoo as load_zoo

__all__ = ["SIZES", "EncoderChoice", "Entry", "choose", "entry_of", "fitting_size", "load_zoo"]
