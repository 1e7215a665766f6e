"""Which encoders are one model by two names: all that decides features is the same, and nothing else counts."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from transferability.encoders import load_encoder
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PictureNetwork
from transferability.pipeline.whole_encoder import model_hash


class Own:
    """An encoder of somebody else, with an identity of its own."""

    name, modality, n_parameters = "own", "array", None

    def __init__(self, identity):
        self._identity = identity

    def identity(self):
        return self._identity


class OtherKind(Own):
    """Another encoder, which happens to tell the same."""


def network(name, *, size=8, mean=0.5, activation=None, pooling="flat", weight=1.0, version="1"):
    layer = torch.nn.Conv2d(3, 2, 3)
    for each in layer.parameters():
        torch.nn.init.constant_(each, weight)
    module = torch.nn.Sequential(layer, activation or torch.nn.ReLU())
    picture = PictureInput((size, size), fit="stretch", mean=mean, std=0.5)
    details = {"source": name, "preprocessing": picture.identity(), "versions": {"torch": version}}
    return PictureNetwork(name, module, None, picture.one, details, "cpu", n_parameters=1, pooling=pooling)


def test_names_and_versions_make_no_other_model() -> None:
    assert len({model_hash(network("a")), model_hash(network("./a")), model_hash(network("a", version="2"))}) == 1


@pytest.mark.parametrize(
    "other",
    [{"size": 9}, {"mean": 0.4}, {"activation": torch.nn.GELU()}, {"pooling": "mean"}, {"weight": 2.0}],
    ids=lambda other: next(iter(other)),
)
def test_all_that_decides_features_makes_another_model(other) -> None:
    """Equal tensors at another input size, with another activation or preprocessing, are another model."""
    assert model_hash(network("a")) != model_hash(network("a", **other))


def test_a_copy_of_a_folder_of_timm_is_the_same_model(tmp_path, monkeypatch) -> None:
    import timm
    from timm.models import save_for_hf

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    save_for_hf(timm.create_model("test_resnet", pretrained=False), tmp_path / "one", safe_serialization=True)
    shutil.copytree("one", "copy")
    folders = ("one", "./one", "copy", tmp_path / "one")
    assert len({model_hash(load_encoder(f"timm:local-dir:{folder}", "cpu")) for folder in folders}) == 1


def test_an_architecture_with_equal_tensors_is_another_model() -> None:
    names = ("timm:mobilenetv3_small_100@random", "timm:tf_mobilenetv3_small_100@random")
    assert len({model_hash(load_encoder(name, "cpu")) for name in names}) == 2  # epsilon and padding differ


@pytest.mark.parametrize(
    "identity",
    [
        None, [], ["weights"], {}, {"weights": None}, {"weights": ""}, {"weights": False}, {"weights": b"x"},
        {"weights": np.ones(3)}, {"weights": [np.ones(3)]}, {"weights": "x", "size": np.ones(2)},
        {"weights": {1: 2, "a": 3}},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_tell_is_no_model_by_another_name(identity) -> None:
    assert model_hash(Own(identity)) is None


def test_own_encoders_are_one_only_where_all_they_tell_is_equal() -> None:
    told = {"source": "a", "weights": "v1"}
    assert model_hash(Own(told)) == model_hash(Own(dict(told))) is not None
    assert model_hash(Own(told)) != model_hash(Own({"source": "b", "weights": "v1"}))
    assert model_hash(Own(told)) != model_hash(OtherKind(told))


def test_weights_that_change_change_the_identity() -> None:
    """Features under the former one would be taken from the cache for those of other weights."""
    encoder = network("a")
    before = encoder.identity()
    assert encoder.identity() == before
    layer = encoder.module[0]
    with torch.no_grad():
        layer.weight[0] += 1
    written = encoder.identity()
    layer.bias = torch.nn.Parameter(torch.zeros(2))
    replaced = encoder.identity()
    assert len({each["weights"] for each in (before, written, replaced)}) == 3
    assert {**before, "weights": None} == {**replaced, "weights": None}
    with torch.no_grad():
        layer.weight[0] -= 1
        layer.bias += 1
    assert encoder.identity() == before
