import json
import multiprocessing
import os
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset
from transferability.encoders import load_encoder
from transferability.errors import (
    DatasetError,
    EncoderError,
    FeatureError,
    LabelError,
    OptionError,
    TransferabilityError,
)
from transferability.features import FeatureCache, cache_admin, extract_features, read_features, write_features
from transferability.features.job import make_job
from transferability.settings import ExtractionOptions

TRIAL = [1, 1, 2]
"""How many items an encoder gets at once before it is trusted: one, the same again, the same beside another."""


class Pixels:
    """An encoder small enough to be checked by hand: mean colour and size. Counts what it was asked for."""

    name, modality, n_parameters = "test:pixels", "image", 0

    def __init__(self, output=None, identity=None):
        self.calls = []
        self._output = output
        self._identity = {"source": self.name, "version": 1} if identity is None else identity

    def identity(self):
        return self._identity or None

    def encode(self, items):
        self.calls.append(len(items))
        rows = np.array([[*np.asarray(item).mean((0, 1)), *item.size] for item in items], dtype=np.float32)
        return rows if self._output is None else self._output(rows, len(self.calls))


@pytest.fixture
def digits():
    return load_dataset("packaged:digits", limit=50)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


def expected(dataset):
    return Pixels().encode(dataset.items(range(len(dataset))))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64, None])
def test_rows_labels_and_ids_are_those_of_the_data(digits, batch_size):
    found = extract_features(Pixels(), digits, batch_size=batch_size, cache=False)
    np.testing.assert_array_equal(found.features, expected(digits))
    assert found.features.dtype == np.float32
    assert found.ids.tolist() == digits.ids.tolist()
    assert found.labels.tolist() == digits.labels.tolist()
    assert (found.name, found.class_names) == ("digits", digits.class_names)
    assert found.task().n_classes == 10


def test_progress_counts_rows(digits, cache):
    seen = []
    extract_features(Pixels(), digits, batch_size=20, cache=cache, progress=lambda *at: seen.append(at))
    extract_features(Pixels(), digits, batch_size=20, cache=cache, progress=lambda *at: seen.append(at))
    assert seen == [(20, 50), (40, 50), (50, 50), (50, 50)]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64])
def test_other_dtypes_become_float32(digits, dtype):
    found = extract_features(Pixels(lambda rows, _: rows.astype(dtype)), digits, cache=False)
    assert found.features.dtype == np.float32


@pytest.mark.parametrize(
    ("output", "match"),
    [
        (lambda rows, _: rows[0], r"one row of numbers per item, \(1, n_features\)"),
        (lambda rows, _: rows[:-1], r"got float32 of shape \(0, 5\)"),
        (lambda rows, _: rows[:, :0], "shape"),
        (lambda rows, _: rows[:, :, None], "shape"),
        (lambda rows, _: rows.astype(str), "one row of numbers"),
        (lambda rows, _: None, "one row of numbers"),
        (lambda rows, call: rows[:, :call], "rows of one length; it returned 1 numbers .* and 2 from row"),
        (
            lambda rows, _: np.where(np.arange(len(rows))[:, None] == 3, np.nan, rows),
            "NaN or infinity for row '{third}'",
        ),
        (lambda rows, _: rows.astype(np.float64) * 1e300, "more than float32 holds. Scale the features"),
        (lambda rows, _: 1 / 0, "failed on row .* of data 'digits', pictures .PIL.: ZeroDivisionError: division"),
    ],
)
def test_encoders_that_return_no_features(digits, cache, output, match):
    with pytest.raises(EncoderError, match=match.replace("{third}", digits.ids[3])):
        extract_features(Pixels(output), digits, cache=cache)
    assert not [path for path in cache.folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_an_unreadable_picture_is_named_and_leaves_nothing(tmp_path, cache):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "data" / name)
    (tmp_path / "data/b/2.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"2\.png cannot be read"):
        extract_features(Pixels(), load_dataset(f"folder:{tmp_path / 'data'}"), batch_size=1, cache=cache)
    assert not list(cache.folder.rglob("*.safetensors"))


def test_encoder_and_data_of_different_kinds(tmp_path, digits):
    path = tmp_path / "reviews.csv"
    path.write_text("text\na\n")
    with pytest.raises(
        EncoderError, match=r"takes pictures; data 'reviews' are texts. For texts: hf:, packaged:, st:\."
    ):
        extract_features(Pixels(), load_dataset(f"csv:{path}"))
    with pytest.raises(EncoderError, match="`encoder` must be given: data 'digits' are pictures"):
        extract_features(None, digits)


def test_batch_size_must_be_positive(digits):
    with pytest.raises(OptionError, match="at least 1; got 0"):
        extract_features(Pixels(), digits, batch_size=0)


def test_file_names_that_are_no_unicode(tmp_path, cache):
    folder = tmp_path / os.fsdecode(b"data\xff")
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (3, 3), (number, 0, 0)).save(folder / os.fsdecode(b"\xfe%d.png" % number))
    data = load_dataset(f"folder:{folder}")
    found = extract_features(Pixels(), data, cache=cache)
    again = extract_features(Pixels(lambda rows, _: rows * 0), data, cache=cache)
    np.testing.assert_array_equal(found.features, again.features)
    for suffix in ("npz", "safetensors"):
        path = write_features(tmp_path / f"f.{suffix}", found.features, ids=found.ids)
        assert read_features(path).ids.tolist() == data.ids.tolist()


# --- the cache


def test_nothing_is_computed_twice(digits, cache):
    encoder = Pixels()
    first = extract_features(encoder, digits, cache=cache)
    n_calls = len(encoder.calls)
    second = extract_features(encoder, digits, cache=cache, batch_size=3)
    assert len(encoder.calls) == n_calls
    np.testing.assert_array_equal(first.features, second.features)
    assert second.labels.tolist() == digits.labels.tolist()


@pytest.mark.parametrize(
    ("change", "n_entries"),
    [
        (lambda data: data.subset(range(50)), 1),
        (lambda data: data.subset(range(49)), 2),
        (lambda data: data.subset(range(49, -1, -1)), 2),
    ],
)
def test_the_key_follows_the_rows_and_their_order(digits, cache, change, n_entries):
    extract_features(Pixels(), digits, cache=cache)
    found = extract_features(Pixels(), change(digits), cache=cache)
    assert len(cache_admin.contents(cache)) == n_entries
    np.testing.assert_array_equal(found.features, expected(change(digits)))


def test_the_key_follows_the_encoder(digits, cache):
    extract_features(Pixels(), digits, cache=cache)
    other = Pixels(lambda rows, _: -rows, {"source": Pixels.name, "version": 2})
    np.testing.assert_array_equal(extract_features(other, digits, cache=cache).features, -expected(digits))


def test_an_encoder_without_identity_is_never_kept(digits, cache):
    encoder = Pixels(identity={})
    for _ in range(2):
        extract_features(encoder, digits, cache=cache)
    assert Counter(encoder.calls) == Counter([*TRIAL, 32, 18, 32, 18])
    assert not cache.folder.exists()


DAMAGE = [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + b"\x00", lambda b: b"[]", lambda b: b + b"x"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_again(digits, cache, caplog, damage):
    extract_features(Pixels(), digits, cache=cache)
    (file,) = cache.folder.rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    encoder = Pixels()
    np.testing.assert_array_equal(extract_features(encoder, digits, cache=cache).features, expected(digits))
    assert encoder.calls
    assert "damaged" in caplog.text
    assert file.read_bytes() == whole
    again = Pixels()
    extract_features(again, digits, cache=cache)
    assert not again.calls


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_manifest_is_written_again(digits, cache, damage):
    extract_features(Pixels(), digits, cache=cache)
    (file,) = cache.folder.rglob("*.json")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    encoder = Pixels()
    np.testing.assert_array_equal(extract_features(encoder, digits, cache=cache).features, expected(digits))
    assert not encoder.calls
    assert file.read_bytes() == whole


def test_a_lost_file_is_computed_again(digits, cache):
    extract_features(Pixels(), digits, cache=cache)
    next(cache.folder.rglob("*.safetensors")).unlink()
    encoder = Pixels()
    extract_features(encoder, digits, cache=cache)
    assert encoder.calls


def test_the_record_tells_a_reader_what_it_is(digits, cache):
    extract_features(Pixels(), digits, cache=cache)
    (file,) = cache.folder.rglob("*.json")
    record = json.loads(file.read_text())
    assert record["encoder"]["source"] == "test:pixels"
    assert (record["data_name"], record["data"]["rows"], record["dtype"]) == ("digits", 50, "float32")


def test_the_folder_comes_from_the_environment(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERABILITY_CACHE", str(tmp_path / "chosen"))
    extract_features(Pixels(), digits)
    assert len(list((tmp_path / "chosen").rglob("*.safetensors"))) == 1


def test_a_cache_that_cannot_be_written_is_said_before_anything_is_computed(digits, tmp_path):
    (tmp_path / "file").write_text("in the way")
    encoder = Pixels()
    with pytest.raises(OptionError, match=r"must be writable.*Set TRANSFERABILITY_CACHE"):
        extract_features(encoder, digits, cache=FeatureCache(tmp_path / "file"))
    assert not encoder.calls


def test_a_full_disk_does_not_cost_the_features(digits, cache, caplog, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)  # everything is real up to the last step
    found = extract_features(Pixels(), digits, cache=cache)
    np.testing.assert_array_equal(found.features, expected(digits))
    assert "could not be kept" in caplog.text
    assert "No space" in caplog.text


class Slow(Pixels):
    def encode(self, items):
        with open(os.environ["CALLS"], "a") as log:  # noqa: PTH123
            log.write("x")
        time.sleep(float(os.environ.get("PAUSE", "0.2")))
        return super().encode(items)


def _worker(folder):
    extract_features(Slow(), load_dataset("packaged:digits", limit=20), cache=FeatureCache(folder))


@pytest.mark.slow
def test_of_two_processes_one_computes_and_the_other_waits(tmp_path, monkeypatch):
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_worker, args=(tmp_path / "cache",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "calls").read_text() == "x" * (len(TRIAL) + 1)


@pytest.mark.slow
def test_killed_half_way_leaves_nothing_that_is_read_and_no_lock(tmp_path, monkeypatch, digits, cache):
    calls = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("PAUSE", "60")  # however late the kill comes, it comes in between
    worker = multiprocessing.get_context("fork").Process(target=_worker, args=(tmp_path / "cache",))
    worker.start()
    while not calls.exists() or not calls.stat().st_size:  # opened, then written
        time.sleep(0.01)
    worker.kill()
    worker.join(30)
    monkeypatch.delenv("PAUSE")
    assert not list(cache.folder.rglob("*.safetensors"))
    _worker(tmp_path / "cache")
    assert calls.read_text() == "x" * (1 + len(TRIAL) + 1)
    (shard,) = cache.folder.rglob("*.safetensors")
    content = shard.read_bytes()
    leftover = shard.with_name(f".{shard.name}.0123.safetensors")
    leftover.write_bytes(content[:9])  # as if the kill had come while it was written
    shard.unlink()
    _worker(tmp_path / "cache")
    assert sorted(path.name for path in shard.parent.iterdir()) == sorted([shard.name, "manifest.json"])
    assert shard.read_bytes() == content
    assert not list(cache.folder.rglob("*.lock"))


# --- features that are there already


def test_features_as_data_need_no_encoder(tmp_path):
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    path = write_features(tmp_path / "f.npz", features, [0, 1, 0, 1, 0, 1])
    data = load_dataset(f"features:{path}", limit=4)
    found = extract_features(None, data)
    np.testing.assert_array_equal(found.features, features[data.rows])
    assert found.labels.tolist() == data.labels.tolist()


def test_feature_files_by_pattern_position_and_id(tmp_path, digits):
    encoder = load_encoder(f"features:{tmp_path}/zoo é/{{data}}.npz")
    whole = load_dataset("packaged:digits")
    with pytest.raises(EncoderError, match=r"no features of data 'digits'.*digits\.npz"):
        extract_features(encoder, digits)
    features = expected(whole)
    path = tmp_path / "zoo é" / "digits.npz"
    write_features(path, features, whole.labels)  # all rows, no ids: by position
    np.testing.assert_array_equal(extract_features(encoder, digits).features, expected(digits))
    order = np.random.default_rng(0).permutation(len(whole))[::-1]
    write_features(path, features[order], whole.labels[order], ids=whole.ids[order])  # by id, in any order
    np.testing.assert_array_equal(extract_features(encoder, digits).features, expected(digits))


def test_feature_files_that_belong_to_other_data(tmp_path, digits):
    encoder = load_encoder(f"features:{tmp_path}/f.npz")
    whole = load_dataset("packaged:digits")
    features = expected(whole)
    write_features(tmp_path / "f.npz", features[:100])
    with pytest.raises(FeatureError, match="it has 100 for 1797 rows"):
        extract_features(encoder, digits)
    write_features(tmp_path / "f.npz", features, (whole.labels + 1) % 10)
    with pytest.raises(LabelError, match="must agree; row '"):
        extract_features(encoder, digits)
    write_features(tmp_path / "f.npz", features[:100], ids=whole.ids[:100])
    with pytest.raises(FeatureError, match=r"has no features of .* rows of data 'digits'"):
        extract_features(encoder, digits)


def test_every_error_is_ours():
    assert all(
        issubclass(each, TransferabilityError) for each in (DatasetError, EncoderError, FeatureError, LabelError)
    )


@dataclass(frozen=True)
class Further(ExtractionOptions):
    """As of a version with two more options: one that changes features, and one that does not."""

    cut: float | None = field(default=None, metadata={"min": None, "of_machine": False})
    threads: int = field(default=1, metadata={"min": None, "of_machine": True})


def test_an_option_that_changes_features_is_part_of_their_key(cache, digits):
    job = make_job(Pixels(), digits, ("features",), cache)

    def key(options):
        return replace(job, options=options).entries()["features"].key

    assert key(Further()) == key(Further(threads=2, batch_size=3)) == key(ExtractionOptions())
    assert len({key(each) for each in (Further(), Further(cut=1.0), Further(cut=2.0), Further(dtype="float16"))}) == 4
