"""Rows that are the same: found, counted, and never on both sides of a split."""

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import duplicate_groups, folds, load_dataset, same_rows, split_rows
from transferability.datasets.near_duplicates import _near
from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, OptionError, RowError, TaskError
from transferability.pipeline import Settings, rank, relate
from transferability.pipeline.data import prepare


def texts(tmp_path, rows, name="r.csv"):
    path = tmp_path / name
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return load_dataset(f"csv:{path}")


def noise(seed, size=8):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def photos(root, names, kind="bmp"):
    """Write pictures; names that begin with the same number hold the same picture."""
    for name in names:
        path = root / f"{name}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(int(path.stem.split("-")[0])).save(path)
    return root


def test_copies_stay_on_one_side(tmp_path):
    rng = np.random.default_rng(0)
    data = texts(tmp_path, [(f"t{row % 40}", "ab"[rng.integers(2)]) for row in range(200)])
    groups = duplicate_groups(data)
    assert sorted(np.bincount(groups)) == [5] * 40
    parts = split_rows(data, 0.3, seed=1)
    assert not set(groups[parts.fit_rows]) & set(groups[parts.test_rows])
    assert len(parts.fit_rows) + len(parts.test_rows) == 200
    assert abs(len(parts.test_rows) - 60) <= 5
    n_contrary = sum(len(set(data.labels[groups == group])) > 1 for group in range(40))
    assert parts.notes == (
        "160 of 200 rows of data 'r' repeat the content of another row; copies stay on one side of every split. "
        f"{n_contrary} contents have copies of different classes.",
    )
    for fit, test in folds(data.labels, 5, 0, parts.groups):
        assert not set(groups[fit]) & set(groups[test])


def test_rows_that_differ_are_split_as_ever(tmp_path):
    from transferability.datasets import split

    data = texts(tmp_path, [(f"t{row}", "ab"[row % 2]) for row in range(50)])
    parts = split_rows(data, 0.3, seed=4)
    for mine, plain in zip(parts[:2], split(data.labels, 0.3, 4), strict=True):
        np.testing.assert_array_equal(mine, plain)
    assert parts.notes == ()


def test_a_class_of_copies_is_divided_aloud(tmp_path):
    data = texts(tmp_path, [("common", "a")] * 30 + [("rare", "b")] * 6 + [(f"t{row}", "c") for row in range(9)])
    parts = split_rows(data, 0.3)
    for rows in (parts.fit_rows, parts.test_rows):
        assert set(data.labels[rows]) == {0, 1, 2}
    assert (
        parts.notes[-1]
        == "all rows of classes 'a', 'b' of data 'r' are copies of one: they are on both sides of the split."
    )


@pytest.mark.parametrize("kind", ["bmp", "png", "jpg"])
def test_copies_of_pictures_by_content_not_by_name_or_size(tmp_path, kind):
    root = photos(tmp_path / "p", ["a/1", "a/1-copy", "a/2", "b/3", "b/1-again", "b/4"], kind)
    data = load_dataset(f"folder:{root}")
    groups = duplicate_groups(data)
    assert data.ids.tolist() == [f"{name}.{kind}" for name in ("a/1-copy", "a/1", "a/2", "b/1-again", "b/3", "b/4")]
    assert len({*groups[[0, 1, 3]]}) == 1
    assert len(set(groups)) == 4


def test_test_rows_that_repeat_a_fitting_row_are_not_measured(tmp_path):
    names = [f"train/{label}/{n}" for label, n in [("a", 1), ("a", 2), ("b", 3), ("b", 4)]]
    root = photos(tmp_path / "p", [*names, "test/a/1-copy", "test/a/5", "test/b/6"])
    parts = split_rows(load_dataset(f"folder:{root}"))
    assert (parts.fit_rows.tolist(), parts.test_rows.tolist()) == ([0, 1, 2, 3], [5, 6])
    assert parts.notes == ("1 of 3 test rows of data 'p' repeat a fitting row and are not measured.",)
    (root / "test" / "a" / "5.bmp").unlink()
    parts = split_rows(load_dataset(f"folder:{root}"))
    assert (parts.test_rows.tolist(), parts.notes) == ([4, 5], ("1 of 2 test rows of data 'p' repeat a fitting row.",))


def test_rows_of_two_data_sets_that_are_the_same(tmp_path):
    first = texts(tmp_path, [("a", 0), ("b", 1), ("b", 0), ("c", 1)])
    second = texts(tmp_path, [("b", 1), ("d", 0)], "s.csv")
    assert (same_rows(first, second), same_rows(second, first), same_rows(first, first)) == (2, 1, 4)
    pictures = load_dataset(f"folder:{photos(tmp_path / 'p', ['a/1', 'a/2', 'b/3'])}")
    others = load_dataset(f"folder:{photos(tmp_path / 'q', ['a/7', 'c/3', 'c/8'])}")
    assert (same_rows(pictures, others), same_rows(pictures, first)) == (1, 0)


def test_every_damaged_picture_is_named_before_work_starts(tmp_path):
    root = photos(tmp_path / "p", [f"{label}/{n}" for label in "ab" for n in range(6)], "png")
    for name in ("a/5", "b/0", "b/1", "b/2"):
        path = root / f"{name}.png"
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        DatasetError, match=r"4 of 12 rows of data 'p' cannot be read: picture .*a/5\.png .*truncated.* …"
    ):
        split_rows(load_dataset(f"folder:{root}"))
    for name in ("a/5", "b/0", "b/1"):
        (root / f"{name}.png").unlink()
    with pytest.raises(DatasetError, match=r"^picture .*b/2\.png cannot be read: .*truncated"):
        prepare(f"folder:{root}", Settings())


# ── in a run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_keeps_copies_together_and_says_so(tmp_path):
    data = texts(tmp_path, [(f"t{row % 20}", "ab"[row % 2]) for row in range(100)])
    part = prepare(data, Settings())
    groups = duplicate_groups(data)
    assert part.folds is not None
    for fit, test in [(part.fit_rows, part.test_rows), *part.folds]:
        assert not set(groups[fit]) & set(groups[test])
    assert part.dataset.notes[-1].startswith("80 of 100 rows of data 'r' repeat")


def test_a_run_measures_on_the_split_that_the_data_bring(tmp_path):
    names = [
        f"{split}/{label}/{hash((split, label, n)) % 10**6}"
        for split in ("train", "test")
        for label in "ab"
        for n in range(4)
    ]
    part = prepare(f"folder:{photos(tmp_path / 'p', names)}", Settings())
    assert (part.fit_rows.tolist(), part.test_rows.tolist(), part.folds) == (list(range(8)), list(range(8, 16)), None)
    assert prepare(f"folder:{tmp_path / 'p'}", Settings(folds=4)).folds is not None


def test_a_limit_leaves_two_rows_of_a_rare_class(tmp_path):
    rows = [(f"c{row}", "common") for row in range(5000)] + [(f"r{row}", "rare") for row in range(20)]
    texts(tmp_path, rows)
    part = prepare(f"csv:{tmp_path / 'r.csv'}", Settings(limit=200))
    assert np.bincount(part.dataset.labels).tolist() == [198, 2]
    assert {*part.dataset.labels[part.fit_rows]} == {*part.dataset.labels[part.test_rows]} == {0, 1}
    with pytest.raises(TaskError, match=r"single row among the 3 that `limit` leaves; .*Raise the limit"):
        prepare(f"csv:{tmp_path / 'r.csv'}", Settings(limit=3))
    with pytest.raises(OptionError, match="every class a sample; got 1 for 2 classes"):
        prepare(f"csv:{tmp_path / 'r.csv'}", Settings(limit=1))


def test_a_limit_keeps_the_splits_of_the_data(tmp_path):
    names = [
        f"{split}/{label}/{k * 100 + n}"
        for split in ("train", "test")
        for k, label in enumerate("ab", 1 + 2 * (split == "test"))
        for n in range(9)
    ]
    data = load_dataset(f"folder:{photos(tmp_path / 'p', names)}", limit=12)
    assert np.bincount(2 * data.labels + data.in_test).tolist() == [3, 3, 3, 3]


def test_damage_that_shows_late_is_told_once_and_not_per_encoder(tmp_path):
    root = photos(tmp_path / "p", [f"{label}/{n}" for label in "ab" for n in range(6)], "png")
    path = root / "b" / "5.png"
    content = bytearray(path.read_bytes())
    content[60:70] = b"\0" * 10  # within the pixels: its header and its end are sound
    path.write_bytes(content)
    calls = []

    def pixels(items):
        calls.append(len(items))
        return np.stack([np.asarray(item, dtype=float).ravel() for item in items])

    encoders = [FunctionEncoder(name, pixels) for name in ("one", "two")]
    with pytest.raises(RowError, match=r"^picture .*b/5\.png cannot be read"):
        rank(f"folder:{root}", f"folder:{root}", encoders, settings=Settings(cache=False))
    assert sum(calls) <= 24  # of the first encoder


# ── pictures that look the same ──────────────────────────────────────────────────────────────────────────────────────


def scene(seed):
    """Draw something with the low frequencies that photographs have."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)


def test_pictures_that_look_the_same_are_together(tmp_path):
    for number in range(12):
        picture, folder = scene(number), tmp_path / "p" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{number}.png")
        picture.save(folder / f"{number}-compressed.jpg", quality=60)
        picture.resize((64, 64)).save(folder / f"{number}-small.png")
    data = load_dataset(f"folder:{tmp_path / 'p'}")
    assert len(set(duplicate_groups(data))) == 36
    numbers = np.array([int(name.split("/")[1].partition(".")[0].partition("-")[0]) for name in data.ids])
    parts = split_rows(data, near=True)
    for number in range(12):
        assert len(set(parts.groups[numbers == number])) == 1
    assert len(set(parts.groups)) == 12
    assert not set(numbers[parts.fit_rows]) & set(numbers[parts.test_rows])
    assert parts.notes == ("24 further pictures of data 'p' look like another; they stay with it.",)
    assert prepare(f"folder:{tmp_path / 'p'}", Settings(near_duplicates=True)).dataset.notes == parts.notes


def test_near_hashes_are_all_found():
    rng = np.random.default_rng(0)
    hashes = rng.random((300, 64)) < 0.5
    for row in range(100, 200):  # near another, by 0 to 6 bits
        hashes[row] = hashes[row - 100]
        hashes[row, rng.permutation(64)[: row % 7]] ^= True
    distances = (hashes[:, None] != hashes[None]).sum(axis=2)
    found = {frozenset(pair) for pair in _near(hashes).tolist()}
    expected = {frozenset(pair) for pair in np.argwhere(distances <= 4).tolist()}
    assert {pair for pair in found if len(pair) == 2} == {pair for pair in expected if len(pair) == 2}


def test_only_pictures_look_the_same(tmp_path):
    with pytest.raises(OptionError, match=r"`near_duplicates` must be left out .* hold text rows"):
        split_rows(texts(tmp_path, [("a", 0), ("b", 1)]), near=True)


def test_copies_with_labels_by_coin_are_no_better_than_chance():
    rng = np.random.default_rng(0)
    centres = 3 * np.eye(2, 60)
    known = np.arange(120) % 2
    reference = load_dataset((centres[known] + rng.normal(size=(120, 60)), known), name="known")
    rows, coins = rng.normal(size=(40, 60)), rng.integers(0, 2, 40)
    target = load_dataset((np.repeat(rows, 5, axis=0), np.repeat(coins, 5)), name="copies")
    (result,) = relate(reference, target, None, settings=Settings(cache=False))
    assert result.transferred_accuracy < 0.7
    single = load_dataset((rows, coins), name="once")
    assert abs(result.transferred_accuracy - relate(reference, single, None)[0].transferred_accuracy) < 0.25
