"""What is refused after a few items, before the first shard; and what is said of texts that are cut."""

import itertools
import json
import time
from dataclasses import dataclass

import numpy as np
import pytest

from transferability.datasets import load_dataset
from transferability.encoders import load_encoder, select
from transferability.encoders.base import Reading
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError
from transferability.features import FeatureCache, extract_blocks, extract_features, extract_to_files
from transferability.features import trial as trial_module
from transferability.features.meter import metered


@pytest.fixture
def digits():
    return load_dataset("packaged:digits", limit=40)


def pixels(items):
    return np.stack([np.asarray(item, dtype=np.float32).mean(axis=2).ravel() for item in items])


NOISE = itertools.count()


def noisy(items):
    return pixels(items) + 50 * next(NOISE)


def standardised(items):
    rows = pixels(items)
    return rows - rows.mean(axis=0) + 1


def constant(items):
    return np.full((len(items), 4), 0.3) + 1e-9 * pixels(items)[:, :4]


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (noisy, "must give an item the same features every time; those of row .* when it is encoded again.*random"),
        (standardised, "when it is beside row .* It mixes the items of a batch"),
        (constant, "must give different items different features; those of rows .* are all the same"),
    ],
)
def test_rows_that_depend_on_more_than_their_item_are_refused(digits, function, match):
    encoder = FunctionEncoder("mine", function)
    for _ in range(2):  # the second time too
        with pytest.raises(EncoderError, match=match):
            extract_features(encoder, digits, cache=False)


def test_an_encoder_that_mixes_a_batch_may_run_one_by_one(digits):
    def softened(items):
        return pixels(items) / (1 + len(items))

    with pytest.raises(EncoderError, match="`batch_size` 1"):
        extract_features(FunctionEncoder("mine", softened), digits, cache=False)
    found = extract_features(FunctionEncoder("mine", softened), digits, cache=False, batch_size=1)
    np.testing.assert_allclose(found.features, pixels(digits.items(range(40))) / 2)


def test_a_constant_on_two_items_may_differ_on_others(tmp_path):
    texts = ["film", *["the film"] * 10, "a good film", "good"]
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(texts) + "\n")
    good = FunctionEncoder("good", lambda items: np.array([[float(item == "good")] for item in items]))
    found = extract_features(good, load_dataset(f"csv:{tmp_path / 't.csv'}"), cache=False)
    assert found.features[:, 0].tolist() == [0.0] * 12 + [1.0]


def test_data_that_are_all_the_same_are_not_the_encoders_fault(tmp_path):
    (tmp_path / "t.csv").write_text("text\n" + "same\n" * 8)
    length = FunctionEncoder("length", lambda items: np.array([[len(item)] for item in items], dtype=float))
    assert extract_features(length, load_dataset(f"csv:{tmp_path / 't.csv'}"), cache=False).features.max() == 4


def test_a_constant_layer_among_others_is_no_fault(digits):
    encoder = load_encoder("timm:test_vit@random", "cpu", pool="cls")
    layer = select(encoder, 0)
    assert extract_features(layer, digits, cache=False).features.shape[0] == 40


def test_an_encoder_is_tried_once(digits, monkeypatch):
    runs = []
    monkeypatch.setattr(trial_module._Trial, "run", lambda self, **_: runs.append(self))
    encoder = FunctionEncoder("mine", pixels)
    for data in (digits, digits.subset(range(5))):
        extract_features(encoder, data, cache=False)
    assert len(runs) == 1
    extract_features(FunctionEncoder("mine", pixels), digits, cache=False)
    assert len(runs) == 2


@dataclass
class Plain:
    """An encoder that cannot be hashed."""

    name: str = "plain"
    modality: str = "image"
    n_parameters: int = 0

    def identity(self):
        return None

    def encode(self, items):
        return pixels(items)


class Slotted:
    """One that cannot be referred to weakly."""

    __slots__ = ()
    name, modality, n_parameters = "slotted", "image", 0
    identity, encode = Plain.identity, Plain.encode


@pytest.mark.parametrize("kind", [Plain, Slotted])
def test_encoders_of_any_class_are_tried(digits, kind):
    assert extract_features(kind(), digits, cache=False).features.shape == (40, 64)


class Words:
    """Counts letters; reads four characters, and knows no capitals."""

    name, modality, n_parameters = "test:words", "text", 0

    def identity(self):
        return {"source": self.name}

    def encode(self, items):
        return np.array([[len(item[:4]), item[:4].count("a")] for item in items], dtype=np.float32)

    def reading(self, items):
        return Reading(4, sum(len(item) > 4 for item in items), all(item.isupper() for item in items))


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(["a", "ab", "abc", "aabbc", "long text"] * 8) + "\n")
    return load_dataset(f"csv:{tmp_path / 't.csv'}")


NOTE = "40 % of the texts of data 't' (16 of 40) are longer than the 4 tokens that encoder 'test:words' reads"


def test_texts_that_are_cut_are_counted_also_from_the_cache(texts, tmp_path, caplog):
    cache = FeatureCache(tmp_path / "cache", shard_rows=16)
    for options in ({"cache": False}, {"cache": cache}, {"cache": cache, "batch_size": 33}):
        found = extract_features(Words(), texts, **options)
        assert found.notes == (f"{NOTE}; the rest of them is cut off.",)
    extract_to_files(Words(), texts, {"features": tmp_path / "f.npz"}, cache=cache)
    list(extract_blocks(Words(), texts, cache=False))
    assert [record.message.count(NOTE) for record in caplog.records] == [1, 1]
    whole = extract_features(Words(), texts.subset([0, 1, 2]), cache=cache)
    assert whole.notes == ()


def test_texts_that_differ_behind_the_cut_only_are_not_the_encoders_fault(tmp_path):
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(f"the same {number}" for number in range(20)) + "\n")
    found = extract_features(Words(), load_dataset(f"csv:{tmp_path / 't.csv'}"), cache=False)
    assert found.notes[0].startswith("100 % of the texts of data 't' (20 of 20) are longer than the 4 tokens")


def test_texts_of_unknown_words_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("text\nGOOD\nBAD\n")
    with pytest.raises(EncoderError, match="knows no word of rows '0' and others, such as '1' of data 't'"):
        extract_features(Words(), load_dataset(f"csv:{tmp_path / 't.csv'}"), cache=False)


def test_numpy_and_the_folder_are_as_they_were(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    before = np.geterr()

    def careless(items):
        import os

        np.seterr(all="raise")
        os.chdir("elsewhere")
        return pixels(items)

    (tmp_path / "careless_module.py").write_text(
        "import numpy\nnumpy.seterr(all='raise')\ndef f(items): return items\n"
    )
    load_encoder("python:careless_module:f")
    assert np.geterr() == before
    extract_to_files(FunctionEncoder("mine", careless), digits, {"features": "f.npz"}, cache=False)
    assert np.geterr() == before
    assert (tmp_path / "f.npz").is_file()


def test_messages_of_libraries_are_one_short_line(digits):
    def failing(items):
        raise RuntimeError("line\n" * 100_000)

    with pytest.raises(EncoderError) as caught:
        extract_features(FunctionEncoder("mine", failing), digits, cache=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert json.dumps(str(caught.value))


class Panic(BaseException):
    """As libraries in Rust raise."""


@pytest.mark.parametrize(
    "error", [Panic("broken"), SystemExit(3), MemoryError(), UnicodeError("bad"), OSError(5, "I/O")]
)
def test_whatever_an_encoder_raises_names_it(digits, error):
    def failing(items):
        raise error

    with pytest.raises(EncoderError, match="encoder 'mine'"):
        extract_features(FunctionEncoder("mine", failing), digits, cache=False)

    class Nameless(FunctionEncoder):
        def identity(self):
            raise error

    with pytest.raises(EncoderError, match="encoder 'mine' cannot tell its identity"):
        extract_features(Nameless("mine", pixels), digits, cache=False)


def test_who_wants_to_stop_is_not_the_encoders_fault(digits):
    def stopping(items):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_features(FunctionEncoder("mine", stopping), digits, cache=False)


def test_what_an_encoder_is_tried_with_is_neither_counted_nor_timed(digits):
    calls = []

    def slow_at_first(items):
        calls.append(len(items))
        time.sleep(0.3 if len(calls) == 1 else 0.0)  # as one that compiles its network
        return pixels(items)

    with metered() as meter:
        extract_features(FunctionEncoder("slow at first", slow_at_first), digits, cache=False)
    assert sum(calls) > meter.n_items == len(digits)
    assert 0.3 <= meter.warm_up_seconds < 30
