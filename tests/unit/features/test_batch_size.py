"""The batch of a GPU grows while that makes it faster, on devices that only pretend."""

import time

import numpy as np
import pytest

from transferability.datasets import load_dataset
from transferability.features import FeatureCache, extract_features
from transferability.features.batch_size import BatchSize
from transferability.features.job import make_job


def sizes(rate, most=10**9, start=128):
    """Return the sizes that are tried on a device of so many rows a second at each size, and the last."""
    size, tried = BatchSize(start, grows=True), []
    while size.grows:
        tried.append(size.current)
        if size.current > most:
            size.saw(size.current, 1.0, size.current // 2)
        else:
            size.saw(size.current, size.current / rate(size.current), None)
    return list(dict.fromkeys(tried)), size.current


@pytest.mark.parametrize(
    ("rate", "most", "tried", "last"),
    [
        (lambda n: 1000.0, 10**9, [128, 256], 128),
        (lambda n: min(n, 512), 10**9, [128, 256, 512, 1024], 512),
        (lambda n: n / (1 + n / 1000), 10**9, [128, 256, 512, 1024, 2048, 4096], 4096),
        (lambda n: n, 10**9, [128, 256, 512, 1024, 2048, 4096], 4096),
        (lambda n: n, 600, [128, 256, 512, 1024], 512),
        (lambda n: n, 100, [128], 64),
    ],
    ids=["nothing gained", "until it is full", "ever less", "ever more", "memory", "memory at once"],
)
def test_it_doubles_while_rows_per_second_rise(rate, most, tried, last):
    assert sizes(rate, most) == (tried, last)


def test_what_was_asked_for_before_and_the_ends_of_shards_say_nothing():
    size = BatchSize(128, grows=True)
    for _ in range(10):
        size.saw(64, 1.0, None)
    assert size.current == 128
    fixed = BatchSize(128, grows=False)
    for _ in range(10):
        fixed.saw(128, 1.0, None)
    assert (fixed.current, fixed.grows) == (128, False)


class Device:
    """An encoder on a GPU of sorts: a launch takes as long as 200 rows."""

    name, modality, n_parameters, pooling, source_class_names, preprocess = "device", "image", 0, "none", None, None
    outputs = ("features",)

    def __init__(self, device="cuda:0", most=10**9):
        self.device, self.most, self.passes = device, most, []

    def identity(self):
        return {"source": self.name, "device": self.device}

    def forward(self, batch, outputs):
        if len(batch) > self.most:
            message = "CUDA out of memory."
            raise RuntimeError(message)
        self.passes.append(len(batch))
        time.sleep((200 + len(batch)) * 2e-5)
        return {"features": np.stack([np.asarray(each, dtype=np.float32).mean(axis=2).ravel() for each in batch])}

    def encode(self, items):
        return self.forward(items, ["features"])["features"]


@pytest.fixture(scope="module")
def digits():
    return load_dataset("packaged:digits")


def test_extraction_uses_what_it_finds_and_gives_the_same_features(digits, tmp_path):
    free, small, fixed, cpu = Device(), Device(most=300), Device(), Device("cpu")
    found = [
        extract_features(free, digits, cache=FeatureCache(tmp_path / "free", 10_000), workers=0).features,
        extract_features(small, digits, cache=False, workers=0).features,
        extract_features(fixed, digits, cache=False, workers=0, batch_size=128).features,
        extract_features(cpu, digits, cache=False, workers=0).features,
    ]
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    assert max(free.passes) >= 256
    assert max(small.passes) == 256
    assert max(fixed.passes) == 128
    assert max(cpu.passes) == 8
    assert sum(free.passes[3:]) == len(digits)  # nothing is computed twice to find the size


def test_a_size_that_is_said_stays(digits):
    jobs = [make_job(Device(), digits, ("features",), False, batch_size=size, workers=0) for size in (None, 64)]
    assert [(job.batch_size, job.grows) for job in jobs] == [(128, True), (64, False)]
    assert not make_job(Device("cpu"), digits, ("features",), False, workers=0).grows
