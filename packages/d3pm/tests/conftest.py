import pytest
import torch

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
