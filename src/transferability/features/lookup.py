"""Features that need no encoder: data that are features already, and feature files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from transferability._files import Features
from transferability.datasets import Dataset
from transferability.datasets.arrays import labels_of
from transferability.encoders import FeatureFiles
from transferability.errors import EncoderNameError
from transferability.features.assemble import with_rows
from transferability.features.job import NOUNS, encoders_for
from transferability.features.same_labels import refuse_other_labels
from transferability.features.shards import plan

__all__ = ["look_up", "look_up_blocks"]


def look_up(encoder: FeatureFiles | None, dataset: Dataset) -> Features:
    """Return the features of a data set that is features already, or whose features are in files.

    Raises
    ------
    LabelError
        If a file has labels that contradict those of the data.
    """
    if encoder is not None:
        found = encoder.lookup(dataset.name, dataset.ids, dataset.rows, len(dataset.all_ids))
        if found.labels is None:
            return found if dataset.labels is None else with_rows(found.features, dataset)
        source = str(encoder.path(dataset.name))
        labels, class_names = labels_of(found.labels, found.class_names, source, len(found))
        assert labels is not None
        assert class_names is not None
        if dataset.labels is None:
            return replace(found, labels=labels, class_names=class_names)
        named = found.class_names is not None or found.labels.dtype.kind in "SU"
        refuse_other_labels(labels, class_names, dataset, source, named=named)
        return with_rows(found.features, dataset)
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
            block = with_rows(whole.features[shard.start : shard.stop], part)
            yield replace(block, labels=labels, class_names=whole.class_names)
