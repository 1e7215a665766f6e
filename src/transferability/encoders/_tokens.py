"""Texts as tokens: what a transformers tokeniser makes of them, where it cuts, and whether it knows any of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from transferability.encoders.base import Item, Reading
from transferability.errors import EncoderError

__all__ = ["PROBES", "ROUNDING", "as_columns", "check_vocabulary", "read", "token_limit"]

PROBES = ("a cat", "a cat sat on the mat, and beside it, on the floor, sat the dog")
"""A text, and a longer one that it is tried beside."""
ROUNDING = 1e-3  # of the largest number: kernels differ with the length of a batch
_MAX_TOKENS = 512  # where neither tokeniser nor configuration names a limit
_FEWEST = 3  # a tokeniser made from a configuration alone has its special tokens, and perhaps a space and a filler


def check_vocabulary(tokenizer: Any, name: str) -> None:
    """Refuse a tokeniser without words: transformers makes one where there are no files of it."""
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) < _FEWEST:
        message = f"encoder {name!r} has a tokeniser without a vocabulary: every text would be unknown to it. "
        message += "The files of the tokeniser are missing; save them beside the model: tokenizer.save_pretrained(…)."
        raise EncoderError(message)


def token_limit(tokenizer: Any, model: Any) -> int:
    """Return how many tokens of a text a model reads."""
    positions = getattr(model.config, "max_position_embeddings", None) or _MAX_TOKENS
    positions = positions if positions > 0 else _MAX_TOKENS  # XLNet says −1: as many as there are
    for path, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if path.endswith("position_embeddings") and padding is not None:  # RoBERTa counts positions from behind it
            positions = min(positions, len(module.weight) - padding - 1)
    named = tokenizer.model_max_length
    return int(min(named, positions) if named < 10**6 else min(positions, _MAX_TOKENS))


def as_columns(items: Sequence[Item]) -> list[list[str]]:
    """Return texts as one list, pairs as two, words as their sentences."""
    if isinstance(items[0], str):
        return [list(items)]
    if isinstance(items[0][1], str):
        return [list(side) for side in zip(*items, strict=True)]
    return [[" ".join(words) for words, _ in items]]


def read(tokenizer: Any, columns: Sequence[list[str]], limit: int) -> Reading:
    """Return what a model that reads `limit` tokens of each text gets to see."""
    texts = Counter(zip(*columns, strict=True))  # of labelled words, a sentence comes as often as it has words
    unique = [list(column) for column in zip(*texts, strict=True)]
    rows = tokenizer(*unique, truncation=False, padding=False, verbose=False)["input_ids"]
    formal = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    said = {token for row in rows for token in row} - formal
    blank = not any(text.strip() for column in columns for text in column)
    longer = sum(count for count, row in zip(texts.values(), rows, strict=True) if len(row) > limit)
    return Reading(limit, longer, not blank and said <= {tokenizer.unk_token_id})
