"""Data from files of every kind, and what is said of those that are none."""

import numpy as np
import pytest

from d3pm.config import DataConfig
from d3pm.data import DataSpec, check_fits, load_data
from d3pm.errors import DataError, TruncationWarning

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(256, size=(20, 8, 8, 3)).astype(np.uint8)


def load(kind, path, **options):
    return load_data(DataConfig(kind=kind, path=str(path), **options))


def test_arrays_of_pictures(tmp_path):
    np.save(tmp_path / "x.npy", PICTURES)
    dataset = load("images", tmp_path / "x.npy")
    assert (len(dataset.train), len(dataset.test)) == (18, 2)
    assert dataset.train_labels is None
    every = np.concatenate([dataset.train, dataset.test])
    assert sorted(map(bytes, every)) == sorted(map(bytes, PICTURES))
    assert load("images", tmp_path / "x.npy", size=4).spec.shape == (4, 4, 3)
    np.save(tmp_path / "single.npy", np.uint8(3))
    with pytest.raises(DataError, match="row per picture"):
        load("images", tmp_path / "single.npy")
    np.save(tmp_path / "five.npy", np.concatenate([PICTURES, PICTURES[..., :2]], -1))
    assert load("images", tmp_path / "five.npy").spec.shape == (8, 8, 5)
    with pytest.raises(DataError, match=r"`data\.size` must be 0 for pictures of 5 channels"):
        load("images", tmp_path / "five.npy", size=4)
    # Without labels there is no class to tell, and one class says nothing either.
    np.savez(tmp_path / "bare.npz", images=PICTURES)
    np.savez(tmp_path / "one.npz", images=PICTURES, labels=np.zeros(20, dtype=np.int64))
    for name in ("bare.npz", "one.npz"):
        load("images", tmp_path / name)
        with pytest.raises(DataError, match="two classes"):
            load("images", tmp_path / name, conditional=True)
    np.savez(tmp_path / "two.npz", images=PICTURES, labels=np.arange(20) % 2)
    assert load("images", tmp_path / "two.npz", conditional=True).spec.n_classes == 2


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"images": PICTURES, "labels": np.arange(19)}, "one label per picture"),
        ({"images": PICTURES, "labels": np.arange(20) - 1}, "from 0"),
        ({"images": PICTURES, "labels": np.linspace(0, 1, 20)}, "whole numbers"),
        ({"images": PICTURES, "labels": np.array(["a"] * 20)}, "return_inverse"),
        ({"images": PICTURES / 255}, "uint8"),
        ({"images": PICTURES[:0]}, "uint8 pictures"),
        ({"x_train": PICTURES, "x_test": PICTURES[:, :4]}, "one shape"),
        (
            {"x_train": PICTURES, "x_test": PICTURES, "y_train": np.arange(20), "y_test": np.arange(3)},
            "one per picture",
        ),
        ({"pictures": PICTURES}, "neither"),
        ({"images": np.uint8(3)}, "row per picture; images"),
        ({"images": PICTURES, "labels": np.int64(3)}, "row per picture; labels"),
    ],
)
def test_arrays_that_are_no_pictures(tmp_path, arrays, named):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=named):
        load("images", tmp_path / "x.npz")


def test_a_class_only_the_test_data_have_is_refused(tmp_path):
    y = np.arange(20) % 2
    np.savez(tmp_path / "x.npz", x_train=PICTURES, x_test=PICTURES, y_train=y, y_test=y * 2)
    with pytest.raises(DataError, match="every class in training"):
        load("images", tmp_path / "x.npz", conditional=True)


def test_classes_without_examples_are_refused(tmp_path):
    """A net that is told of classes it never sees would draw them from weights that nobody trained."""
    y = np.where(np.arange(20) % 2, 7, 0)
    np.savez(tmp_path / "x.npz", x_train=PICTURES, x_test=PICTURES, y_train=y, y_test=y)
    with pytest.raises(DataError, match=r"of 0 … 7 class 1 has no training example.*np\.unique"):
        load("images", tmp_path / "x.npz", conditional=True)
    assert load("images", tmp_path / "x.npz").spec.n_classes == 0
    # A model of eight classes is evaluated on what some of them are.
    known = DataSpec("image", PICTURES.shape[1:], 256, n_classes=8)
    assert load_data(DataConfig("images", str(tmp_path / "x.npz"), conditional=True), known).spec == known


@pytest.fixture
def folder(tmp_path):
    image = pytest.importorskip("PIL.Image")

    def write(places, size=(8, 8)):
        for i, place in enumerate(places):
            path = tmp_path / "pictures" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(PICTURES[i % 20]).resize(size).save(path)
        return tmp_path / "pictures"

    return write


def test_folders_of_pictures(folder):
    places = [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in ("cat", "dog") for i in range(3)]
    root = folder(places)
    (root / "train" / "notes.txt").write_text("no picture")
    dataset = load("images", root, conditional=True)
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1] == dataset.test_labels.tolist()
    np.testing.assert_array_equal(dataset.train, PICTURES[:6])
    assert load("images", root, size=4).spec.shape == (4, 4, 3)


def test_a_flat_folder_and_one_of_classes_are_split(folder):
    root = folder([f"{i}.png" for i in range(20)])
    dataset = load("images", root)
    assert (len(dataset.train), len(dataset.test), dataset.train_labels) == (18, 2, None)
    with pytest.raises(DataError, match="labels"):
        load("images", root, conditional=True)


def test_folders_that_do_not_do(folder, tmp_path):
    root = folder(["train/cat/0.png", "train/dog/1.png", "test/cow/2.png"])
    with pytest.raises(DataError, match="'cow'"):
        load("images", root)
    (root / "test" / "cow").rename(root / "test" / "cat")
    (root / "train" / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"0\.png cannot be read"):
        load("images", root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds none"):
        load("images", tmp_path / "empty")
    with pytest.raises(DataError, match="nothing at"):
        load("images", tmp_path / "nowhere")


def test_pictures_of_several_sizes_are_refused_or_scaled(folder):
    root = folder(["0.png"])
    folder([f"wide{i}.png" for i in range(9)], size=(16, 8))
    with pytest.raises(DataError, match=r"data\.size"):
        load("images", root)
    assert load("images", root, size=8).spec.shape == (8, 8, 3)


def test_what_is_no_text_is_not_read_as_text(tmp_path):
    np.save(tmp_path / "x.npy", PICTURES)
    (tmp_path / "binary.txt").write_bytes(b"abc\x00" * 1000)
    (tmp_path / "latin.txt").write_bytes("café ".encode("latin1") * 1000)
    for kind in ("text", "tokens"):
        for name, named in (("binary.txt", "binary"), ("latin.txt", "UTF-8.*byte 3"), ("", "is a folder")):
            with pytest.raises(DataError, match=named):
                load(kind, tmp_path / name, length=8)
    with pytest.raises(DataError, match=r"data\.kind=tokens"):
        load("text", tmp_path / "x.npy")
    with pytest.raises(DataError, match="whole numbers"):
        load("tokens", tmp_path / "x.npy")  # four axes are pictures


def test_token_arrays(tmp_path):
    stream, rows = RNG.integers(50, size=1000), RNG.integers(9, size=(60, 12))
    rows[0, 0] = 8
    np.save(tmp_path / "stream.npy", stream)
    np.save(tmp_path / "rows.npy", rows)
    dataset = load("tokens", tmp_path / "stream.npy", length=16)
    assert dataset.spec == DataSpec("text", (16,), int(stream.max()) + 1)
    np.testing.assert_array_equal(dataset.train, stream[:900])
    assert dataset.n_words() is None
    dataset = load("tokens", tmp_path / "rows.npy")
    assert dataset.spec == DataSpec("text", (12,), 9)
    assert dataset.batch(0, 4, seed=0).attention_mask is None
    assert dataset.spec.decode_text(np.array([3, 4])) == "3 4"
    with pytest.raises(DataError, match="without a vocabulary"):
        dataset.spec.encode_text("words")
    np.savez(tmp_path / "two.npz", x_train=rows, x_test=rows[:, :3])
    with pytest.raises(DataError, match="one shape"):
        load("tokens", tmp_path / "two.npz")
    np.save(tmp_path / "float.npy", rows / 2)
    with pytest.raises(DataError, match="whole numbers"):
        load("tokens", tmp_path / "float.npy")


@pytest.mark.parametrize(
    ("tokens", "named"),
    [
        (np.array([*range(9)] * 50 + [10**9]), "has 0 to 1,000,000,000.*np.unique"),
        (np.full(500, 2**62), "4,611,686,018,427,387,904"),
        (np.full(500, 2**63 + 5, dtype=np.uint64), "from 0 to 1,048,575"),
        (np.array([-1, 3] * 200), "has -1 to 3"),
        (np.array(3), r"holds x \(\)"),
        (np.zeros((0, 4), dtype=int), r"int64 \(0, 4\)"),
        (np.zeros(500, dtype=bool), "bool"),
    ],
)
def test_arrays_that_are_no_tokens(tmp_path, tokens, named):
    """Before a net for a thousand million tokens is asked for."""
    np.save(tmp_path / "x.npy", tokens)
    with pytest.raises(DataError, match=named):
        load("tokens", tmp_path / "x.npy", length=16)


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("text", "", "0 tokens to train on"),
        ("text", "a", "data.length lower"),
        ("text", "\N{EURO SIGN}\n" * 500, "outside of data.alphabet are read as spaces"),
        ("tokens", "", "0 tokens to train on"),
        ("tokens", "the quick brown fox " * 500, "divided between its lines"),
    ],
)
def test_texts_that_are_too_short_say_why(tmp_path, kind, text, named):
    if kind == "tokens":
        pytest.importorskip("tokenizers")
    (tmp_path / "x.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=named):
        load(kind, tmp_path / "x.txt", length=16, vocabulary=300)


def test_lines_are_examples_of_their_own_and_cutting_is_said(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(["short", "a longer line", "x" * 20] * 20))
    with pytest.warns(TruncationWarning, match="longer than the 16"):
        dataset = load("text", path, lines=True, length=16)
    assert set(dataset.train_lengths.tolist()) == {5, 13, 16}
    batch = dataset.batch(0, 6, seed=0)
    for tokens, real in zip(batch.tokens, batch.attention_mask, strict=True):
        assert dataset.spec.decode_text(tokens[real].numpy()) in ("short", "a longer line", "x" * 16)
        assert int(real.sum()) in (5, 13, 16)
    assert dataset.frequencies()[dataset.spec.alphabet.index("a")] < 0.2  # padding is not counted
    assert dataset.n_words() == sum({5: 1, 13: 3, 16: 1}[int(n)] for n in dataset.test_lengths)


def test_hugging_face_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    columns: dict[str, list] = {"id": ["a", "b"], "text": ["one two", "three"], "label": [0, 1], "score": [0.5, 1.5]}
    texts = datasets.Dataset.from_dict({name: values * 20 for name, values in columns.items()})
    datasets.DatasetDict({"train": texts, "test": texts.select(range(6))}).save_to_disk(tmp_path / "texts")
    dataset = load("text", tmp_path / "texts", lines=True, length=8, conditional=True)
    assert dataset.spec.n_classes == 2
    assert dataset.test_labels.tolist() == [0, 1] * 3
    assert dataset.n_words() == 9
    stream = load("text", tmp_path / "texts", length=8)
    assert stream.spec.decode_text(stream.test[:13]) == "one two three"
    texts.to_parquet(tmp_path / "texts.parquet")
    assert len(load("text", tmp_path / "texts.parquet", lines=True, length=8).train) == 36
    for options, named in (
        ({"column": "words"}, "column"),
        ({"column": "label"}, "hold texts"),
        ({"label_column": "score", "conditional": True}, "whole"),
    ):
        with pytest.raises(DataError, match=named):
            load("text", tmp_path / "texts", lines=True, length=8, **options)
    pictures = datasets.Dataset.from_dict(
        {"img": [image.fromarray(p) for p in PICTURES], "label": [0, 1] * 10},
        features=datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])}),
    )
    pictures.save_to_disk(tmp_path / "pictures")
    dataset = load("images", tmp_path / "pictures", conditional=True)
    assert dataset.spec.shape == (8, 8, 3)
    assert sorted(map(bytes, np.concatenate([dataset.train, dataset.test]))) == sorted(map(bytes, PICTURES))
    with pytest.raises(DataError, match="column"):
        load("images", tmp_path / "texts")


def test_other_text_is_read_with_the_models_vocabulary(tmp_path):
    """A vocabulary learned on the other text has other tokens under the same numbers."""
    pytest.importorskip("tokenizers")
    (tmp_path / "a.txt").write_text("the quick brown fox jumps\n" * 200)
    (tmp_path / "b.txt").write_text("pack my box with five dozen jugs\n" * 200)
    options = {"length": 8, "vocabulary": 270}
    model = load("tokens", tmp_path / "a.txt", **options).spec
    config = DataConfig(kind="tokens", path=str(tmp_path / "b.txt"), **options)
    learned, read = load_data(config), load_data(config, model)
    assert read.spec == model
    assert read.spec.decode_text(read.test[:60]).startswith("pack my box with five dozen jugs\n")
    assert learned.spec.n_tokens == model.n_tokens
    with pytest.raises(DataError, match="vocabulary"):
        check_fits(learned.spec, model)
    check_fits(read.spec, model)
    np.save(tmp_path / "c.npy", np.arange(900) % 7)
    assert load_data(DataConfig(kind="tokens", path=str(tmp_path / "c.npy"), length=8), model).spec == model


def test_recipes_with_values_out_of_range_are_refused():
    from d3pm.config import Config
    from d3pm.errors import D3PMError

    for section, key, value in (
        ("train", "batch", 0), ("train", "lr", -1e-3), ("train", "lr", 0.0), ("train", "lr", float("nan")),
        ("train", "steps", -1), ("train", "log_every", 0), ("train", "checkpoint_every", 0), ("train", "ema", 1.5),
        ("train", "clip", -1.0), ("train", "seed", -1), ("train", "decay", "slow"), ("train", "precision", "fp8"),
        ("train", "accumulate", 0), ("train", "accumulate", 3), ("train", "class_dropout", 1.0),
        ("data", "length", 0), ("data", "levels", 1), ("data", "vocabulary", 0), ("data", "size", -1),
        ("process", "steps", -1), ("process", "start", -0.1), ("process", "uniform", 1.5), ("process", "neighbours", 0),
        ("evaluate", "batch", 0), ("evaluate", "step", 0), ("evaluate", "examples", -1), ("evaluate", "times", -1),
    ):  # fmt: skip
        with pytest.raises(D3PMError, match=key):
            Config.from_dict({section: {key: value}})
    assert Config.from_dict({"train": {"batch": 8, "accumulate": 4}}).train.accumulate == 4
