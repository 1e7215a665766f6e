"""What a picture shows is the same in training on a folder, in encoding, and in `transferability`."""

import numpy as np
import pytest

from d3pm.config import DataConfig
from d3pm.data import load_data
from d3pm.errors import DataError
from d3pm.picture_tokens import PictureTokens
from d3pm.picture_values import shown
from d3pm.pictures import load_pictures
from odd_pictures import KINDS, Image, noise, write


def whole(folder, **options):
    return load_pictures(DataConfig(kind="images", path=str(folder), **options), whole=True)


def in_order(pictures):
    every = np.concatenate([pictures.train, pictures.test])
    return every if pictures.rows is None else every[np.argsort(pictures.rows)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "side"), [((8, 8), 0), ((12, 8), 6), ((5, 8), 6)])
def test_encoding_reads_what_training_on_a_folder_reads(tmp_path, kind, size, side):
    files, grey = write(tmp_path, kind, size=size)
    trained = in_order(whole(tmp_path, size=side))
    assert trained.shape[1:] == ((side or 8,) * 2 if grey else (*(side or 8,) * 2, 3))
    encode = PictureTokens(trained.shape[1:], 256)
    for file, expected in zip(files, trained, strict=True):
        with Image.open(file) as picture:
            np.testing.assert_array_equal(encode(picture), expected)
    # A model of the other kind of colours reads the same picture.
    with Image.open(files[0]) as picture:
        other = PictureTokens((8, 8, 3) if grey else (8, 8), 256)(picture)
        assert other.shape == ((8, 8, 3) if grey else (8, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_both_packages_read_the_same(tmp_path, kind):
    images = pytest.importorskip("transferability.datasets.images")
    for file in write(tmp_path, kind, size=(6, 8))[0]:
        with Image.open(file) as picture:
            ours = shown(picture, "it").convert("RGB")
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(images.open_picture(file, "it")))


def test_values(tmp_path):
    """What each kind of picture shows, by hand."""
    values = noise(10, 8, 8)

    def read(make, ending="png"):
        for i, grey in enumerate(values):
            make(grey).save(tmp_path / f"{i}.{ending}")
        return in_order(whole(tmp_path)).astype(int)

    opaque = np.full((8, 8), 255, np.uint8)
    np.testing.assert_array_equal(read(lambda g: Image.fromarray(g.astype(np.uint16) * 257)), values)  # 16 bits
    half = read(lambda g: Image.fromarray(np.stack([np.zeros_like(g), g], -1)))
    np.testing.assert_allclose(half, 255 - values.astype(int), atol=1)  # black ink on white paper
    ink = read(lambda g: Image.fromarray(np.stack([0 * g, 0 * g, 0 * g, g], -1)))
    np.testing.assert_allclose(ink, 255 - values[..., None].repeat(3, -1).astype(int), atol=1)
    np.testing.assert_array_equal(read(lambda g: Image.fromarray(np.stack([g, opaque], -1))), values)
    np.testing.assert_array_equal(read(lambda g: Image.fromarray(g > 127)), np.where(values > 127, 255, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, grey in enumerate(values):
        Image.fromarray(grey).save(tmp_path / f"{i}.png", exif=exif)
    np.testing.assert_array_equal(in_order(whole(tmp_path)), np.rot90(values, -1, (1, 2)))


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "CMYK", "P", "RGBA", "LA", "1"])
def test_pictures_in_memory_are_converted(mode):
    picture = Image.fromarray(noise(8, 8, 3)).convert(mode)
    grey = mode in ("LA", "1")
    expected = np.asarray(picture.convert("L" if grey else "RGB"))
    np.testing.assert_array_equal(PictureTokens(expected.shape, 256)(picture), expected)


def test_what_has_no_known_range_is_refused(tmp_path):
    (tmp_path / "f").mkdir()
    bad = {"float.tif": np.float32(noise(8, 8) / 255), "deep.tif": noise(8, 8).astype(np.int32) * 1000}
    for name, values in bad.items():
        path = tmp_path / "f" / name
        Image.fromarray(values).save(path)
        with pytest.raises(DataError, match=rf"{name} cannot be read: .*(no known range|neither 8 nor 16)"):
            whole(tmp_path / "f")
        with pytest.raises(DataError, match=r"`items` must hold pictures; one of mode [FI], 8 × 8, cannot be read"):
            PictureTokens((8, 8), 8)(Image.open(path))
        path.unlink()


def test_pictures_that_show_nothing_are_not_trained_on(tmp_path):
    """White ink whose shape is in the alpha channel, on white."""
    for i in range(10):
        Image.fromarray(np.concatenate([np.full((8, 8, 3), 255, np.uint8), noise(8, 8, 1)], -1)).save(
            tmp_path / f"{i}.png"
        )
    with pytest.raises(DataError, match="are 255 everywhere"):
        load_data(DataConfig("images", str(tmp_path)))
    assert in_order(whole(tmp_path)).min() == 255  # encoded they are, as they are


def test_arrays_of_the_models_shape_are_taken_as_they_are():
    for shape in ((8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4), (8, 8, 5)):
        picture = noise(*shape)
        np.testing.assert_array_equal(PictureTokens(shape, 256)(picture), picture)
    picture = noise(8, 8, 4)
    np.testing.assert_array_equal(
        PictureTokens((8, 8, 3), 256)(picture), PictureTokens((8, 8, 3), 256)(Image.fromarray(picture))
    )
    scaled = PictureTokens((4, 4), 256)(noise(8, 6))
    assert scaled.shape == (4, 4)
    for item in (Image.fromarray(noise(8, 8, 4)), noise(6, 6, 4)):
        with pytest.raises(DataError, match=r"arrays \(8, 8, 4\) for this model of 4 channels"):
            PictureTokens((8, 8, 4), 256)(item)
    with pytest.raises(DataError, match="must be PIL pictures or uint8 arrays"):
        PictureTokens((8, 8), 256)(noise(8, 8, 2))
