"""What a run may be resumed with: the same data, wherever they and the folders that it started from lie now."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from d3pm.checkpoint import load_checkpoint
from d3pm.config import Config
from d3pm.data import Dataset
from d3pm.errors import ConfigError, DataError
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


def test_embeddings_may_go_once_the_process_is_made(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(5, size=(60, 8)))
    embeddings = tmp_path / "e.npy"
    np.save(embeddings, rng.normal(size=(5, 3)))

    def run(steps, path):
        values = tiny(steps=steps, batch=4).to_dict()
        values["data"] = {"kind": "tokens", "path": str(tmp_path / "x.npy"), "length": 8}
        kind = {"kind": "nearest_neighbour", "embeddings": str(path), "neighbours": 2}
        values["process"] = {"steps": 10, "schedule": "cosine", **kind}
        values["net"] = {"kind": "dilated_conv", "width": 8, "dilations": [1]}
        values["loss"] = {"kind": "bound"}
        return train(Config.from_dict(values), tmp_path / "run", device="cpu", resume=steps > 1)

    run(1, embeddings)
    moved = embeddings.rename(tmp_path / "moved.npy")
    assert load_checkpoint(run(2, moved)).step == 2
    assert load_checkpoint(run(3, tmp_path / "gone.npy")).step == 3
    np.save(moved, rng.normal(size=(5, 3)))
    with pytest.raises(ConfigError, match="trained on the process"):
        run(4, moved)


def test_the_length_of_a_cosine_decay_is_a_setting_of_the_run(dataset, tmp_path):
    """All its rates depend on it; of other schedules a longer run is the same run, longer."""
    for decay in ("cosine", "inverse_sqrt"):
        train(tiny(steps=2, decay=decay), tmp_path / decay, data=dataset, device="cpu")
        again = {"data": dataset, "device": "cpu", "resume": True}
        if decay == "cosine":
            with pytest.raises(ConfigError, match=r"\[train\] steps was 2, now 3"):
                train(tiny(steps=3, decay=decay), tmp_path / decay, **again)
        else:
            assert load_checkpoint(train(tiny(steps=3, decay=decay), tmp_path / decay, **again)).step == 3
