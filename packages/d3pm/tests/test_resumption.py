"""What a run may be resumed with: the same data, wherever they and the folders that it started from lie now."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from d3pm.checkpoint import load_checkpoint
from d3pm.data import Dataset
from d3pm.errors import DataError
from d3pm.training import train
from runs import tiny


def changed(dataset, **values):
    parts = {key: getattr(dataset, key) for key in ("train", "test", "train_labels", "test_labels")}
    return Dataset(dataset.spec, **{**parts, **values})


def test_data_of_the_same_frequencies_are_not_the_same_data(dataset, tmp_path):
    path = train(tiny(steps=2), tmp_path, data=dataset, device="cpu")
    others = {
        "train": dataset.train[::-1],
        "test": 3 - dataset.test,
        "train_labels": np.roll(dataset.train_labels, 1),
        "test_labels": 1 - dataset.test_labels,
    }
    for name, values in others.items():
        with pytest.raises(DataError, match="another order"):
            train(tiny(steps=3), tmp_path, data=changed(dataset, **{name: values}), device="cpu", resume=True)
    train(tiny(steps=3), tmp_path, data=changed(dataset), device="cpu", resume=True)
    assert load_checkpoint(path).step == 3


def test_checkpoints_without_a_digest_compare_frequencies(dataset, tmp_path):
    path = train(tiny(steps=2), tmp_path, data=dataset, device="cpu")
    with safe_open(path, framework="pt") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    del header["digest"]
    save_file(tensors, path, header)
    reversed_ = changed(dataset, train=dataset.train[::-1])
    train(tiny(steps=3), tmp_path, data=reversed_, device="cpu", resume=True)
    assert load_checkpoint(path).digest == reversed_.digest()
