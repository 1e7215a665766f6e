import os

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


def splits(root, names=("train", "test"), classes=("cat", "dog"), n=3):
    for split in names:
        for name in classes:
            for number in range(n):
                picture(root / split / name / f"{number}.png", (number, len(split), len(name)))
    return root


def test_folders_of_splits_are_no_classes(tmp_path):
    root = splits(tmp_path / "photos", ("test", "train"))
    data = load_dataset(f"folder:{root}")
    assert data.class_names == ("cat", "dog")
    assert data.ids.tolist()[:4] == ["train/cat/0.png", "train/cat/1.png", "train/cat/2.png", "train/dog/0.png"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert data.in_test.tolist() == [False] * 6 + [True] * 6
    assert data.subset([0, 11]).in_test.tolist() == [False, True]
    assert "train fit (6 rows), test measures (6 rows)" in data.notes[0]
    for spec in (f"{root}:test", f"{root}#test", f"{root}:Testing", f"{root / 'test'}"):
        if spec.endswith("Testing"):
            with pytest.raises(DatasetError, match=r"has no split 'Testing'\. .*Valid names: test, train"):
                load_dataset(f"folder:{spec}")
            continue
        part = load_dataset(f"folder:{spec}")
        assert (len(part), part.labels.tolist(), part.class_names, part.in_test) == (
            6,
            [0, 0, 0, 1, 1, 1],
            ("cat", "dog"),
            None,
        )
    assert load_dataset(f"folder:{root}:test").name == "photos_test"


@pytest.mark.parametrize(
    ("names", "fit", "measured"),
    [
        (("Train", "Val"), "Train", "Val"),
        (("training", "validation", "testing"), "training", "testing"),
        (("train", "valid"), "train", "valid"),
        (("dev", "test"), "dev", "test"),
    ],
)
def test_splits_by_other_names(tmp_path, names, fit, measured):
    data = load_dataset(f"folder:{splits(tmp_path / 'p', names)}")
    assert len(data) == 6 * len(names)
    for name, in_test in zip(data.ids.tolist(), data.in_test.tolist(), strict=True):
        assert in_test == name.startswith(measured)
    assert data.ids[0].startswith(fit)


def test_a_single_split_is_read_as_it_is(tmp_path):
    data = load_dataset(f"folder:{splits(tmp_path / 'p', ['train'])}")
    assert (data.class_names, data.in_test, len(data)) == (("cat", "dog"), None, 6)


def test_classes_that_are_called_like_a_split(tmp_path):
    for name in ("train", "plane", "car"):
        picture(tmp_path / "vehicles" / name / "1.png")
    data = load_dataset(f"folder:{tmp_path / 'vehicles'}")
    assert (data.class_names, data.in_test) == (("car", "plane", "train"), None)


def test_other_folders_beside_splits(tmp_path):
    root = splits(tmp_path / "p")
    (root / "annotations").mkdir()
    (root / "annotations" / "a.json").write_text("{}")
    assert load_dataset(f"folder:{root}").class_names == ("cat", "dog")
    picture(root / "more" / "1.png")
    with pytest.raises(DatasetError, match=r"must hold splits or classes; got both \('.*' beside 'more'\)"):
        load_dataset(f"folder:{root}")


def test_a_test_split_without_classes_is_left_out_aloud(tmp_path):
    root = splits(tmp_path / "p", ["train"])
    picture(root / "test" / "1.png")
    picture(root / "test" / "2.png")
    data = load_dataset(f"folder:{root}")
    assert (len(data), data.in_test, data.class_names) == (6, None, ("cat", "dog"))
    assert data.notes == (
        f"2 pictures of split 'test' have no classes and are left out; folder:{root}:test reads them.",
    )
    unlabelled = load_dataset(f"folder:{root}:test")
    assert (unlabelled.labels, unlabelled.ids.tolist()) == (None, ["test/1.png", "test/2.png"])


def test_splits_of_other_classes_are_pooled_aloud(tmp_path):
    root = splits(tmp_path / "p")
    picture(root / "test" / "owl" / "1.png")
    data = load_dataset(f"folder:{root}")
    assert (len(data), data.in_test, data.class_names) == (13, None, ("cat", "dog", "owl"))
    assert "do not hold the same classes ('owl')" in data.notes[0]


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "webp", "tif", "TIFF", "jif", "dib", "tga", "apng", "jpx"])
def test_pictures_by_every_usual_suffix(tmp_path, suffix):
    formats = {"jfif": "JPEG", "jpe": "JPEG", "jif": "JPEG", "apng": "PNG", "jpx": "JPEG2000"}
    picture(tmp_path / f"a.{suffix}", format=formats.get(suffix))
    (item,) = load_dataset(f"folder:{tmp_path}").items([0])
    assert item.size == (6, 4)


def test_what_is_left_out_is_counted_and_said_once(pets):
    (pets / "gone").symlink_to("/nowhere")
    (pets / "cat" / "again").symlink_to("..")
    (pets / "cat" / "itself").symlink_to("itself")
    (pets / "up").symlink_to(".")
    (pets / "dog" / "._1.png").write_bytes(b"x")
    (pets / "dog" / "a.heic").write_bytes(b"x")
    os.mkfifo(pets / "dog" / "pipe.png")
    data = load_dataset(f"folder:{pets}")
    assert data.ids.tolist() == ["cat/a.PNG", "cat/deep er/b.jpg", "dog/1.png"]
    assert data.class_names == ("cat", "dog")
    assert data.notes == (
        "left out: 2 files that no picture suffix names (.txt: 1, .heic: 1); 2 hidden files; "
        "3 broken links ('gone', 'cat/itself', 'dog/pipe.png'); 2 links back to a folder above ('cat/again', 'up').",
    )
    assert data.subset([0]).notes == data.notes


def test_links_to_folders_elsewhere_are_followed(tmp_path):
    picture(tmp_path / "store" / "1.png")
    picture(tmp_path / "photos" / "dog" / "1.png")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "store")
    assert load_dataset(f"folder:{tmp_path / 'photos'}").ids.tolist() == ["cat/1.png", "dog/1.png"]


def test_an_empty_class_says_what_it_holds(tmp_path):
    picture(tmp_path / "dog" / "1.png")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.heic").write_bytes(b"x")
    with pytest.raises(
        DatasetError, match=r"holds no picture\. .*It holds 1 file that no picture suffix names \(\.heic: 1"
    ):
        load_dataset(f"folder:{tmp_path}")


def test_folders_that_cannot_be_listed(pets, monkeypatch):
    real = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetError, match=r"cannot be listed: .*Permission denied"):
        load_dataset(f"folder:{pets}")


def test_a_pipe_that_replaces_a_picture_is_not_waited_for(pets):
    data = load_dataset(f"folder:{pets}")
    (pets / "dog" / "1.png").unlink()
    os.mkfifo(pets / "dog" / "1.png")
    for use in (lambda: data.items([2]), data.fingerprint, lambda: data.inspect(2)):
        with pytest.raises(DatasetError, match="a pipe or a device, not a file"):
            use()


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("seg_train", "seg_test"), ("Train Images", "Val Images")]
)
def test_splits_with_words_beside_them(tmp_path, names):
    data = load_dataset(f"folder:{splits(tmp_path / 'p', names)}")
    assert (data.class_names, int(data.in_test.sum())) == (("cat", "dog"), 6)
    assert len(load_dataset(f"folder:{tmp_path / 'p'}:{names[0]}")) == 6


@pytest.mark.parametrize("names", [("trainers", "sandals"), ("train station", "test tube"), ("strain", "contest")])
def test_classes_that_only_look_like_splits(tmp_path, names):
    for name in names:
        picture(tmp_path / "p" / name / "1.png")
    assert load_dataset(f"folder:{tmp_path / 'p'}").class_names == tuple(sorted(names))


def test_classes_that_may_be_one_and_a_folder_too_many_are_said(tmp_path):
    picture(tmp_path / "p" / "photos" / "cat" / "1.png")
    picture(tmp_path / "p" / "photos" / "Cat" / "1.png")
    assert (
        load_dataset(f"folder:{tmp_path / 'p'}").notes[0].startswith("'photos' is the only class; if its folders are")
    )
    assert "kept apart: 'Cat' and 'cat'" in load_dataset(f"folder:{tmp_path / 'p' / 'photos'}").notes[0]
