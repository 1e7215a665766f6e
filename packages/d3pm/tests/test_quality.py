"""FID and inception score of samples."""

import numpy as np
import pytest
import torch

from d3pm.errors import OptionError
from d3pm.quality import sample_quality


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
