"""Features that need no encoder: data that are features already, and feature files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from transferability._files import Features
from transferability.datasets import Dataset
from transferability.encoders import FeatureFiles
from transferability.errors import EncoderNameError
from transferability.features.assemble import with_rows
from transferability.features.job import NOUNS, encoders_for
from transferability.features.shards import plan

__all__ = ["look_up", "look_up_blocks"]


def look_up(encoder: FeatureFiles | None, dataset: Dataset) -> Features:
    """Return the features of a data set that is features already, or whose features are in files."""
    if encoder is not None:
        found = encoder.lookup(dataset.name, dataset.ids, dataset.rows, len(dataset.all_ids), dataset.labels)
        return found if dataset.labels is None else with_rows(found.features, dataset)
    if dataset.modality != "array":
        message = f"`encoder` must be given: data {dataset.name!r} are {NOUNS[dataset.modality]}, not features. "
        message += encoders_for(dataset.modality)
        raise EncoderNameError(message)
    return with_rows(np.stack(dataset.items(range(len(dataset)))), dataset)


def look_up_blocks(encoder: FeatureFiles | None, dataset: Dataset) -> Iterator[Features]:
    """Yield them shard by shard."""
    whole = None if encoder is None else look_up(encoder, dataset)
    for shard in plan(len(dataset)):
        part = dataset.subset(shard.rows)
        if whole is None:
            yield look_up(None, part)
        else:
            labels = None if whole.labels is None else whole.labels[shard.start : shard.stop]
            yield replace(with_rows(whole.features[shard.start : shard.stop], part), labels=labels)
