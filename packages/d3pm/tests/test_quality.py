"""FID and inception score of samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from d3pm import GenerationConfig
from d3pm.data import Dataset, DataSpec
from d3pm.errors import OptionError
from d3pm.quality import measure_quality, sample_quality


@pytest.mark.slow
def test_sample_quality_is_torch_fidelitys(tmp_path, monkeypatch):
    """On weights put where the library looks for the published ones, so that nothing is downloaded."""
    pytest.importorskip("torch_fidelity")
    inception_v3 = pytest.importorskip("torchvision.models").inception_v3
    weights = "weights-inception-2015-12-05-6726825d.pth"
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(0)
    net = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    torch.save(net.state_dict(), tmp_path / "checkpoints" / weights)
    rng = np.random.default_rng(0)
    noise = rng.integers(256, size=(10, 8, 8, 3)).astype(np.uint8)
    same, other = (sample_quality(noise, each, tmp_path) for each in (noise, noise // 8))
    assert same["fid"] == pytest.approx(0, abs=1e-6)
    assert other["fid"] > 100 * abs(same["fid"])
    assert same["inception_score"] == other["inception_score"] >= 1
    with pytest.raises(OptionError, match="at least 10 "):
        sample_quality(noise[:9], noise, tmp_path)


@pytest.mark.parametrize("n_classes", [0, 3, 200])
def test_samples_are_of_all_classes_in_turn_and_beside_the_training_pictures(n_classes, monkeypatch):
    """Classes began at 0 anew in each batch of 128: of 200 classes 72 had no sample."""
    told, drawn, compared, spec = [], [], {}, DataSpec("image", (2, 2), 4, n_classes=n_classes)

    def generate(process, denoiser, shape, config, *, condition, generator, **_):
        told.append(condition)
        drawn.append((config, generator.initial_seed()))
        return torch.full(shape, 1)

    def measured(samples, reference, folder):
        compared.update(samples=samples, reference=reference)
        return {"fid": 0.0}

    monkeypatch.setattr("d3pm.quality.generate", generate)
    monkeypatch.setattr("d3pm.quality.sample_quality", measured)
    model = SimpleNamespace(
        spec=spec, process=None, denoiser=torch.nn.Linear(1, 1), config=SimpleNamespace(sample=GenerationConfig())
    )
    dataset = Dataset(spec, np.full((5, 2, 2), 2), np.full((4, 2, 2), 3))
    assert measure_quality(model, dataset, 1000, seed=3, options={"n_steps": 7}) == {"fid": 0.0}
    assert drawn == [(GenerationConfig(n_steps=7), 3)] * 8
    if n_classes:
        assert torch.cat(told).tolist() == [i % n_classes for i in range(1000)]
    else:
        assert told == [None] * 8
    assert (compared["samples"] == np.full((1000, 2, 2, 3), 85)).all()
    assert (compared["reference"] == np.full((5, 2, 2, 3), 170)).all()
