import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from d3pm.cli import app
from d3pm.data import Dataset, DataSpec
from d3pm.training import train
from runs import stripes, tiny

torch.set_num_threads(1)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.fixture(scope="session")
def dataset():
    pictures, labels = stripes()
    spec = DataSpec("image", (4, 4), 4)
    return Dataset(spec, pictures[:300], pictures[300:], labels[:300], labels[300:])


@pytest.fixture(scope="session")
def run(dataset, tmp_path_factory):
    """Return the checkpoint of a run of 150 steps on the stripes."""
    return train(tiny(steps=150), tmp_path_factory.mktemp("run"), data=dataset, device="cpu")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Return a folder with a run of `d3pm train digits` of one step, `run`, and with things that are none."""
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("small")
    np.save(folder / "x.npy", np.zeros(3))
    (folder / "file").write_text("a file where a folder should be")
    small = ["net.width=8", "train.steps=1", "train.batch=4"]
    options = [part for s in small for part in ("--set", s)]
    arguments = ["train", "digits", "--out", str(folder / "run"), "--device", "cpu", *options]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    return folder
