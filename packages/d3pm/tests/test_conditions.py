"""Class conditions, from data to samples."""

import pytest
import torch

from d3pm.checkpoint import load_checkpoint
from d3pm.data import Dataset, DataSpec
from d3pm.errors import OptionError
from d3pm.evaluation import evaluate
from d3pm.sampling import sample
from d3pm.show import run_sample
from d3pm.training import train
from runs import stripes, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pictures, labels = stripes()
    spec = DataSpec("image", (4, 4), 4, n_classes=2)
    data = Dataset(spec, pictures[:300], pictures[300:], labels[:300], labels[300:])
    return train(tiny(steps=200), tmp_path_factory.mktemp("run"), data=data, device="cpu"), data


def test_samples_follow_their_label(run):
    """Stripes across have even rows, stripes down even columns."""
    model = load_checkpoint(run[0])
    labels = torch.arange(100) % 2
    g = torch.Generator().manual_seed(0)
    x = sample(model.process, model.denoiser, (100, 4, 4), condition=labels, generator=g)
    along_rows = (x[:, :, 1:] == x[:, :, :-1]).float().mean((1, 2))
    along_columns = (x[:, 1:] == x[:, :-1]).float().mean((1, 2))
    right = torch.where(labels == 0, along_rows > along_columns, along_columns > along_rows)
    assert float(right.float().mean()) > 0.8
    assert evaluate(model, run[1]).bits_per_position < 1.3


def test_labels_of_the_command(run, tmp_path):
    pytest.importorskip("PIL")
    options = {
        "n": 2, "steps": None, "grid": "even", "final": "draw", "first_hitting": False, "prompt": None,
        "progress": None, "seed": 0, "device": "cpu", "say": print,
    }  # fmt: skip
    run_sample(run[0], out=tmp_path / "x.png", label=1, **options)
    assert (tmp_path / "x.png").exists()
    with pytest.raises(OptionError, match="from 0 to 1"):
        run_sample(run[0], out=tmp_path / "x.png", label=2, **options)
    with pytest.raises(OptionError, match="must end in"):
        run_sample(run[0], out=tmp_path / "x.txt", label=1, **options)
    with pytest.raises(OptionError, match="characters"):
        run_sample(run[0], out=tmp_path / "x.png", label=1, **{**options, "prompt": "the"})
