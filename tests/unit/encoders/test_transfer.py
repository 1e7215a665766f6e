"""Pixels that the device scales, and batches that a GPU is given before the one before is waited for."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from transferability.datasets import load_dataset
from transferability.encoders import load_encoder, preprocess_of, start
from transferability.encoders._pillow_steps import Window, in_pillow
from transferability.encoders._transfer import Scaling
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PixelInput, Transform
from transferability.features import FeatureCache, extract_features


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("timm:test_resnet@random", device="cpu")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (90, 70 + each, 3), dtype=np.uint8)) for each in range(3)]


def test_pixels_give_the_features_of_prepared_pictures_to_the_last_bit(encoder, pictures):
    windows = np.stack([preprocess_of(encoder)(each) for each in pictures])
    assert windows.dtype == np.uint8
    prepared = np.stack([encoder.preprocess(each) for each in pictures])
    assert prepared.dtype == np.float32
    assert windows.nbytes * 4 == prepared.nbytes
    outputs = encoder.outputs
    of_pixels, of_prepared = encoder.forward(windows, outputs), encoder.forward(prepared, outputs)
    for output in outputs:
        np.testing.assert_array_equal(of_pixels[output], of_prepared[output])
    running = start(encoder, windows, ["features"])
    assert running.finished
    assert running.seconds is None
    np.testing.assert_array_equal(running.result()["features"], of_pixels["features"])


def test_pictures_of_our_own_preprocessing_are_scaled_alike(pictures):
    own = PictureInput((32, 32), resize=40, mean=(0.1, 0.4, 0.5), std=(0.2, 0.3, 0.25))
    scaled = Scaling(own.mean, own.std)(torch.from_numpy(np.stack([own.window(each) for each in pictures])))
    np.testing.assert_array_equal(scaled.numpy(), own.batch(pictures))
    assert scaled.is_contiguous()


def test_a_transform_that_ends_with_anything_else_is_left_whole():
    from torchvision import transforms

    assert Transform(lambda item: item).pixels() is None
    steps = [transforms.Resize(8), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    assert Transform(transforms.Compose([*steps, transforms.RandomErasing()])).pixels() is None
    found = Transform(transforms.Compose(steps)).pixels()
    assert isinstance(found, PixelInput)
    assert found.scaling == ((0.5,) * 3, (0.25,) * 3)
    assert found.window(Image.new("RGB", (20, 10))).shape == (8, 16, 3)


@pytest.mark.parametrize("resampling", ["NEAREST", "BILINEAR", "BICUBIC", "LANCZOS", "BOX"])
@pytest.mark.parametrize("size", [(70, 90), (91, 64), (33, 33), (20, 200), (48, 48)])
def test_pillow_scales_and_cuts_as_torchvision_does(size, resampling):
    from torchvision import transforms

    mode = transforms.InterpolationMode[resampling]
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    for steps in (
        [transforms.Resize(48, mode), transforms.CenterCrop(33)],
        [transforms.Resize((40, 31), mode), transforms.CenterCrop((32, 45))],
        [transforms.Resize([37], mode), transforms.CenterCrop(64)],
        [transforms.Resize(48, mode, max_size=60)],
    ):
        pillow = in_pillow(steps)
        for step, other in zip(steps, pillow, strict=True):
            assert (step is other) == (getattr(step, "max_size", None) is not None)
        expected = picture
        for step in steps:
            expected = step(expected)
        np.testing.assert_array_equal(Window(pillow)(picture), np.asarray(expected))


def test_a_process_that_prepares_pictures_needs_no_torch(encoder):
    sent = pickle.dumps(preprocess_of(encoder))
    code = "import pickle, sys; pickle.load(sys.stdin.buffer); import transferability.features.prepare; "
    code += "print(sorted({'torch', 'torchvision', 'timm', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("default")  # of libraries that this machine has in other versions
def test_a_gpu_gives_the_features_of_the_cpu_and_is_not_waited_for(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3000, 40, 40, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels)
    data = load_dataset(f"npz:{tmp_path / 'data.npz'}")
    host, device = (load_encoder("timm:test_resnet@random", device=each) for each in ("cpu", "cuda"))
    expected = extract_features(host, data.subset(range(0, 3000, 30)), cache=False).features
    for options in ({}, {"batch_size": 7}, {"workers": 2}):
        cache = FeatureCache(tmp_path / f"cache{len(options)}{options.get('workers', 0)}")
        found = extract_features(device, data, cache=cache, **options).features[::30]
        scale = np.linalg.norm(expected, axis=1, keepdims=True)
        assert (np.abs(found - expected) / scale).max() < 1e-4
    windows = np.stack([preprocess_of(device)(item) for item in data.items(range(256))])
    running = [start(device, np.ascontiguousarray(windows[::step]), ["features"]) for step in (1, -1, 1, -1)]
    rows = [each.result()["features"] for each in running]
    np.testing.assert_allclose(rows[0], rows[1][::-1], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(rows[0], rows[2])
    assert all(each.finished and each.seconds > 0 for each in running)
