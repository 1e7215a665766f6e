"""A checkpoint as an encoder: layers, noise, pooling, identity, and what it refuses."""

import json

import numpy as np
import pytest
import torch

from d3pm.encoder import DiffusionEncoder, encoder_factory
from d3pm.errors import DataError, OptionError
from runs import stripes


def test_encoder_layers_noise_and_pools(run):
    pictures, _ = stripes(6)
    encoder = DiffusionEncoder(run)
    grey = pictures * 64
    features = encoder.encode(list(grey))
    assert features.shape[0] == 6
    assert features.dtype == np.float32
    every = encoder.encode_multi(list(grey))
    assert list(every) == encoder.layers
    np.testing.assert_array_equal(every[encoder.layer], features)
    # A row does not depend on its batch, noise or none; tokens and pictures are one.
    for t, draws in ((0.0, 1), (0.3, 4)):
        together = encoder.encode(list(grey), t=t, n_draws=draws)
        alone = np.concatenate([encoder.encode([picture], t=t, n_draws=draws) for picture in grey])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features, encoder.encode(torch.from_numpy(pictures.astype(np.int64))))
    assert encoder.pool == "grid"  # of pictures, by default
    mean = encoder.encode(list(grey), pool="mean")
    assert features.shape[1] == 4 * mean.shape[1]
    np.testing.assert_allclose(features.reshape(6, -1, 4).mean(-1), mean, rtol=1e-4, atol=1e-5)
    assert (encoder.encode(list(grey), pool="max") >= mean - 1e-6).all()
    assert not np.allclose(features, encoder.encode(list(grey), t=0.9))


def test_encoder_tells_classes_apart(run):
    """Stripes across or down: pixels' means do not tell, the net's features do, linearly."""
    pictures, labels = stripes(300)
    encoder = DiffusionEncoder(run)
    z = encoder.encode(torch.from_numpy(pictures.astype(np.int64)), pool="grid")
    z = (z - z.mean(0)) / (z.std(0) + 1e-6)
    ridge = np.linalg.solve(z[:200].T @ z[:200] + 10 * np.eye(z.shape[1]), z[:200].T @ (2.0 * labels[:200] - 1))
    assert ((z[200:] @ ridge > 0) == labels[200:]).mean() > 0.7  # chance is 0.5


def test_encoder_factory_and_identity(run):
    encoder = encoder_factory(f"{run}?layer=mid.0&t=0.1&n_draws=2&pool=max", device="cpu")
    assert (encoder.layer, encoder.t, encoder.n_draws, encoder.pool) == ("mid.0", 0.1, 2, "max")
    assert encoder.modality == "image"
    assert encoder.name.startswith("d3pm:")
    identity = encoder.identity()
    assert json.loads(json.dumps(identity)) == json.loads(json.dumps(identity))
    assert identity != encoder_factory(str(run)).identity()
    assert encoder.n_parameters > 1000
    with pytest.raises(OptionError, match="layer"):
        encoder_factory(f"{run}?layre=mid.0")
    with pytest.raises(OptionError, match="number"):
        encoder_factory(f"{run}?t=much")
    with pytest.raises(OptionError, match="layer"):
        encoder_factory(f"{run}?layer=nowhere")
    with pytest.raises(OptionError, match="share"):
        encoder_factory(f"{run}?t=1.5")
    with pytest.raises(DataError, match="uint8"):
        encoder.encode([np.zeros((4, 4))])


def test_colours_and_sizes_are_brought_to_the_model(run):
    encoder = DiffusionEncoder(run)
    colour = np.repeat(np.repeat(np.repeat(stripes(2)[0] * 64, 4, 1), 4, 2)[..., None], 3, -1)
    features = encoder.encode(list(colour))
    assert features.shape == encoder.encode(list(stripes(2)[0] * 64)).shape
    assert np.isfinite(features).all()


def test_what_is_no_batch_is_refused_and_an_empty_one_has_no_rows(run):
    encoder = DiffusionEncoder(run)
    width = encoder.encode(np.zeros((2, 4, 4), np.uint8)).shape[1]
    assert encoder.encode([]).shape == (0, width)
    assert encoder.encode(torch.zeros(0, 4, 4).long()).shape == (0, width)
    for items, named in (
        ("a text", r"Pass \[text\]"),
        (torch.zeros(2, 5, 5).long(), r"\(2, 5, 5\)"),
        (torch.zeros(4, 4).long(), r"\(4, 4\)"),
    ):
        with pytest.raises(DataError, match=named):
            encoder.encode(items)


def test_the_entry_point_is_declared():
    from importlib.metadata import entry_points

    (found,) = [e for e in entry_points(group="transferability.encoders") if e.name == "d3pm"]
    assert found.load() is encoder_factory
