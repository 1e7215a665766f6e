"""Files with several frames are read as their first."""

import numpy as np
import pytest
from PIL import Image, ImageSequence

from transferability.datasets import load_dataset


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 6), color) for color in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    for name in ("a", "b"):
        path = tmp_path / "d" / name / f"x.{suffix}"
        path.parent.mkdir(parents=True)
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        with Image.open(path) as stored:
            assert len(list(ImageSequence.all_frames(stored))) == 3
    (picture, _) = load_dataset(f"folder:{tmp_path / 'd'}").items([0, 1])
    np.testing.assert_allclose(np.asarray(picture).reshape(-1, 3), np.tile([250, 0, 0], (48, 1)), atol=8)
