import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset
from transferability.errors import DatasetError

RED = (200, 30, 30)


def picture(path, color=RED, size=(6, 4), mode="RGB", **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **save)
    return path


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "my pets ü"
    picture(root / "dog" / "1.png")
    picture(root / "cat" / "deep er" / "b.jpg")
    picture(root / "cat" / "a.PNG")
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / ".hidden").mkdir()
    return root


def test_class_folders_in_sorted_order(pets):
    data = load_dataset(f"folder:{pets}")
    assert data.name == "my pets ü"
    assert data.class_names == ("cat", "dog")
    assert data.ids.tolist() == ["cat/a.PNG", "cat/deep er/b.jpg", "dog/1.png"]
    assert data.labels.tolist() == [0, 0, 1]
    assert [item.mode for item in data.items(range(3))] == ["RGB"] * 3


def test_fingerprint_follows_contents_and_names_not_times(pets):
    before = load_dataset(f"folder:{pets}").fingerprint()
    file = pets / "dog" / "1.png"
    file.write_bytes(file.read_bytes())
    assert load_dataset(f"folder:{pets}").fingerprint() == before
    picture(file, (201, 30, 30))
    changed = load_dataset(f"folder:{pets}").fingerprint()
    file.rename(pets / "dog" / "2.png")
    assert len({before, changed, load_dataset(f"folder:{pets}").fingerprint()}) == 3


def test_pictures_without_classes(tmp_path):
    picture(tmp_path / "b.png")
    picture(tmp_path / "a.png")
    data = load_dataset(f"folder:{tmp_path}")
    assert data.labels is None
    assert data.class_names is None
    assert data.ids.tolist() == ["a.png", "b.png"]


def test_unreadable_picture_is_named(pets):
    bad = pets / "cat" / "a.PNG"
    whole = bad.read_bytes()
    for contents in (whole[: len(whole) // 2], b"", b"not a picture"):
        bad.write_bytes(contents)
        with pytest.raises(DatasetError, match=r"picture .*a\.PNG cannot be read"):
            load_dataset(f"folder:{pets}").items([0, 1])


def test_picture_that_vanishes_is_named(pets):
    data = load_dataset(f"folder:{pets}")
    (pets / "dog" / "1.png").unlink()
    with pytest.raises(DatasetError, match=r"1\.png cannot be read"):
        data.items([2])
    with pytest.raises(DatasetError, match=r"row 'dog/1\.png' of data .* cannot be read"):
        data.fingerprint()


def test_folders_that_are_no_data(tmp_path):
    with pytest.raises(DatasetError, match="there is no folder"):
        load_dataset(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(DatasetError, match="holds neither"):
        load_dataset(f"folder:{tmp_path}")
    file = picture(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="is a file"):
        load_dataset(f"folder:{file}")
    (tmp_path / "dog").mkdir()
    with pytest.raises(DatasetError, match=r"got both \('a.png' beside 'dog'\)"):
        load_dataset(f"folder:{tmp_path}")
    file.unlink()
    with pytest.raises(DatasetError, match=r"class folder .*dog holds no picture"):
        load_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("suffix", "mode", "color", "expected"),
    [
        ("png", "L", 77, (77, 77, 77)),
        ("png", "1", 1, (255, 255, 255)),
        ("png", "LA", (50, 0), (255, 255, 255)),
        ("png", "RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("png", "RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("png", "I;16", 257 * 90, (90, 90, 90)),
        ("png", "I;16", 65535, (255, 255, 255)),
        ("tif", "I;16", 257 * 90, (90, 90, 90)),
        ("tif", "CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("gif", "P", 0, (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, suffix, mode, color, expected):
    picture(tmp_path / f"a.{suffix}", color, mode=mode)
    (item,) = load_dataset(f"folder:{tmp_path}").items([0])
    assert item.mode == "RGB"
    assert item.getpixel((2, 2)) == expected


def test_sixteen_bits_and_floats_out_of_range_are_named(tmp_path):
    picture(tmp_path / "a.tif", 70000, mode="I")
    with pytest.raises(DatasetError, match=r"a\.tif cannot be read: grey values from 70000"):
        load_dataset(f"folder:{tmp_path}").items([0])
    picture(tmp_path / "a.tif", 0.5, mode="F")
    with pytest.raises(DatasetError, match=r"a\.tif cannot be read: floating-point"):
        load_dataset(f"folder:{tmp_path}").items([0])


def test_exif_rotation_is_applied(tmp_path):
    pixels = np.zeros((20, 40, 3), dtype=np.uint8)
    pixels[:, :20] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (item,) = load_dataset(f"folder:{tmp_path}").items([0])
    assert item.size == (20, 40)
    assert item.getpixel((10, 5))[0] > 250  # the left is up now
    assert item.getpixel((10, 35))[0] < 5
