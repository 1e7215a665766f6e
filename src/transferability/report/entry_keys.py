"""What the keys of an entry of `ranking.json` mean that are no columns: `fields` in the file says what columns are."""

from __future__ import annotations

__all__ = ["ENTRY_KEYS"]

ENTRY_KEYS = {
    "base_encoder": "the encoder of which this is a layer; else its own name",
    "layer": "the hidden layer, with --layer",
    "model_hash": "the same for two names of one model",
    "identifier": "what loads the encoder: the value of --encoder",
    "scores": "the scores of --score, by name",
    "notes": "what must be known of a value, by what it is of",
    "cache_keys": "keys of the cached features, by data set: `transferability cache ls`",
    "probe": "accuracy (share) and loss (nats) of a linear classifier trained on the target's features",
    "probe_rows": "target rows that the linear probe was trained on",
    "fine_tunable": "whether it can be fine-tuned; null where only the attempt tells",
    "cost": "items per second, dimensions, memory (bytes), licence, and seconds by what they were spent on",
    "relatedness": "everything about the transfer from the reference: terms of the bound, classes, other references",
    "intervals": "95 % intervals on new data, for all encoders at once, by quantity",
    "standing": "the interval of what the ranking is sorted by, and p_best: above 0.05 it can be the best",
    "different_rows": "accuracy of the rows that intervals count, of copies the first; how many of how many; or null",
    "expected": "accuracy to be expected after fine-tuning, with a 90 % interval",
    "confirmed": "what fine-tuning gave",
}
