"""With the ranking library installed, a checkpoint is an encoder like any other."""

import json
import pickle

import numpy as np
import pytest

from d3pm.data import Dataset, DataSpec
from d3pm.training import train
from runs import stripes, tiny


@pytest.mark.slow
def test_a_checkpoint_is_ranked_beside_others(tmp_path):
    pytest.importorskip("transferability")
    image = pytest.importorskip("PIL.Image")
    from transferability.encoders.base import Encoder
    from transferability.encoders.registry import load_encoder

    pictures, labels = stripes(200)
    data = Dataset(DataSpec("image", (4, 4), 4), pictures[:150], pictures[150:], labels[:150], labels[150:])
    path = train(tiny(steps=3), tmp_path / "run", data=data, device="cpu")
    encoder = load_encoder(f"d3pm:{path}?pool=grid", device="cpu")
    assert isinstance(encoder, Encoder)
    items = [image.fromarray(picture * 64).convert("RGB") for picture in pictures[:5]]
    features = encoder.encode(items)
    assert features.shape[0] == 5
    assert np.isfinite(features).all()
    assert json.loads(json.dumps(encoder.identity())) == encoder.identity()


@pytest.mark.slow
def test_its_layers_are_encoders_too(tmp_path):
    pytest.importorskip("transferability")
    image = pytest.importorskip("PIL.Image")
    from transferability.encoders import MultiOutputEncoder, every_layer, load_encoder

    pictures, labels = stripes(200)
    data = Dataset(DataSpec("image", (4, 4), 4), pictures[:150], pictures[150:], labels[:150], labels[150:])
    path = train(tiny(steps=3), tmp_path / "run", data=data, device="cpu")
    encoder = load_encoder(f"d3pm:{path}", device="cpu", pool="max")
    assert isinstance(encoder, MultiOutputEncoder)
    assert encoder.pool == "max"  # type: ignore[attr-defined]
    items = [image.fromarray(picture * 64).convert("RGB") for picture in pictures[:5]]
    batch = [pickle.loads(pickle.dumps(encoder.preprocess))(item) for item in items]
    found = encoder.forward(batch, encoder.outputs)
    np.testing.assert_array_equal(found["features"], encoder.encode(items))
    for name, rows in encoder.encode_multi(items).items():  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found[name], rows)
    views = every_layer(encoder)
    assert [view.output for view in views] == encoder.layers  # type: ignore[attr-defined]
    np.testing.assert_array_equal(views[0].encode(items), found[encoder.layers[0]])  # type: ignore[attr-defined]
