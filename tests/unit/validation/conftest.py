"""A tiny trainable encoder of pictures, and a task that it can only learn end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from transferability.datasets.arrays import picture_arrays
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PictureNetwork
from transferability.pipeline import Settings, prepare


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def make_encoder():
    """Return a function that makes an encoder with random weights."""

    def make(name="tiny", width=8, seed=0):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        picture = PictureInput((8, 8), fit="stretch", mean=0.5, std=0.5)
        size = sum(each.numel() for each in network.parameters())
        return PictureNetwork(
            name,
            network,
            lambda batch, _: (network(batch), None),
            picture.one,
            {"source": name},
            "cpu",
            n_parameters=size,
            pooling="grid",
        )

    return make


@pytest.fixture
def make_data():
    """Return a function that makes pictures with stripes along the rows or along the columns, of any phase."""

    def make(name="stripes", n=80, seed=0, noise=0.3, labelled=True):
        rng = np.random.default_rng(seed)
        labels = np.arange(n) % 2
        wave = np.sign(np.sin(np.arange(8) * np.pi / 2 + rng.integers(4, size=(n, 1)) * np.pi / 2 + 0.5))  # (n, 8)
        pictures = np.where(labels[:, None, None] == 0, wave[:, :, None], wave[:, None, :]) * np.ones((n, 8, 8))
        pictures = np.clip(0.5 + 0.3 * pictures + noise * rng.normal(size=(n, 8, 8)), 0, 1)
        return picture_arrays(
            name, pictures.astype(np.float32), labels if labelled else None, ["rows", "columns"], name
        )

    return make


@pytest.fixture
def part(make_data):
    return prepare(make_data(), Settings())
