"""The executor of one process: many outputs, memory, shares, processes beside it, and who decodes."""

import multiprocessing
import threading
import time

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset
from transferability.encoders import select
from transferability.encoders.function import FunctionEncoder
from transferability.errors import EncoderError, OptionError
from transferability.features import (
    FeatureCache,
    cache_admin,
    extract_blocks,
    extract_features,
    extract_outputs,
    extract_share,
    extract_to_files,
    read_features,
)
from transferability.features import preprocessing as decoder_module
from transferability.features.preprocessing import Decoder
from transferability.features.workers import Workers


def darkness(picture):
    """Preprocess a picture."""
    return 255.0 - np.asarray(picture, dtype=np.float32).mean(axis=2)


TRIAL = [1, 1, 2]
"""How many items an encoder gets at once before it is trusted."""


class Layers:
    """An encoder of three outputs that can be checked by hand; remembers its passes and its most rows."""

    name, modality, n_parameters, pooling, source_class_names = "test:layers", "image", 0, "mean", None
    outputs = ("features", "probabilities", "rows", "columns")

    def __init__(self, preprocess=darkness, most=None):
        self.preprocess = preprocess
        self.passes, self._most = [], most

    def identity(self):
        return {"source": self.name, "device": "cpu"}

    def forward(self, batch, outputs):
        self.passes.append(len(batch))
        if self._most is not None and len(batch) > self._most:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        pixels = np.stack([np.asarray(each) for each in batch])
        pixels = pixels.mean(axis=3) if pixels.ndim == 4 else pixels
        found = {
            "features": pixels.mean(axis=(1, 2))[:, None],
            "probabilities": np.stack([pixels.mean(axis=(1, 2)) / 255, 1 - pixels.mean(axis=(1, 2)) / 255], axis=1),
            "rows": pixels.mean(axis=2),
            "columns": pixels.mean(axis=1),
        }
        return {name: found[name].astype(np.float32) for name in outputs}

    def encode(self, items):
        return self.forward([self.preprocess(item) for item in items], ["features"])["features"]


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


@pytest.fixture
def digits():
    return load_dataset("packaged:digits", limit=60)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache", shard_rows=16)


def expected(dataset, output):
    encoder = Layers()
    return encoder.forward([darkness(item) for item in dataset.items(range(len(dataset)))], [output])[output]


def files(cache):
    return {path.relative_to(cache.folder): path.read_bytes() for path in cache.folder.rglob("*") if path.is_file()}


# --- outputs


def test_many_outputs_in_one_pass_each_under_its_own_key(digits, cache):
    encoder = Layers()
    found = extract_outputs(encoder, digits, ["columns", "features", "columns"], cache=cache, batch_size=8)
    assert list(found) == ["columns", "features"]
    assert sum(encoder.passes) == sum(TRIAL) + len(digits)
    for output, features in found.items():
        np.testing.assert_array_equal(features.features, expected(digits, output))
        assert features.labels.tolist() == digits.labels.tolist()
    again = Layers()
    view = extract_features(select(again, "columns"), digits, cache=cache)
    np.testing.assert_array_equal(view.features, found["columns"].features)
    extract_features(again, digits, cache=cache)
    assert not again.passes
    extract_outputs(again, digits, ["columns", "rows"], cache=cache)  # one there, one missing
    assert sum(again.passes) == sum(TRIAL) + len(digits)
    assert {kept.output for kept in cache_admin.contents(cache)} == {"columns", "features", "rows"}


def test_outputs_that_there_are_not(digits):
    with pytest.raises(OptionError, match=r"got 'colums'. Did you mean 'columns'"):
        extract_outputs(Layers(), digits, ["colums"])


def test_half_precision_takes_half_the_room_and_says_when_it_does_not_suffice(digits, cache):
    half = extract_features(Layers(), digits, cache=cache, dtype="float16")
    full = extract_features(Layers(), digits, cache=cache)
    assert half.features.dtype == np.float32
    np.testing.assert_array_equal(half.features, full.features.astype(np.float16))
    np.testing.assert_array_equal(
        extract_features(Layers(), digits, cache=False, dtype="float16").features, half.features
    )
    with pytest.raises(EncoderError, match=r"returned .* more than float16 holds. Keep float32"):
        extract_features(Layers(lambda item: darkness(item) * 1e4), digits, cache=False, dtype="float16")
    with pytest.raises(OptionError, match="dtype"):
        extract_features(Layers(), digits, dtype="float64")


@pytest.mark.parametrize("keep", [True, False])
def test_blocks_are_the_whole_in_pieces(digits, cache, keep):
    blocks = list(extract_blocks(Layers(), digits, cache=cache if keep else False))
    whole = extract_features(Layers(), digits, cache=False)
    assert [len(block) for block in blocks] == ([16, 16, 16, 12] if keep else [60])
    for name in ("features", "labels", "ids"):
        np.testing.assert_array_equal(np.concatenate([getattr(block, name) for block in blocks]), getattr(whole, name))


def test_blocks_of_features_that_are_there_already(tmp_path, digits):
    features = expected(digits, "rows")
    path = tmp_path / "f.npz"
    np.savez(path, features=features, labels=digits.labels)
    (block,) = extract_blocks(None, load_dataset(f"features:{path}"))
    np.testing.assert_array_equal(block.features, features)
    assert block.labels.tolist() == digits.labels.tolist()


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files_written_in_pieces_read_as_the_whole(tmp_path, digits, cache, suffix):
    paths = {output: tmp_path / f"{output}.{suffix}" for output in ("features", "rows")}
    assert extract_to_files(Layers(), digits, paths, cache=cache) == {"features": 1, "rows": 8}
    for output, path in paths.items():
        read = read_features(path)
        np.testing.assert_array_equal(read.features, expected(digits, output))
        assert read.labels.tolist() == digits.labels.tolist()
        assert read.ids.tolist() == digits.ids.tolist()
        assert read.class_names == digits.class_names
    path = tmp_path / f"view.{suffix}"
    extract_to_files(select(Layers(), "rows"), digits, {"features": path}, cache=cache)
    np.testing.assert_array_equal(read_features(path).features, expected(digits, "rows"))


def test_files_appear_whole_or_not_at_all(tmp_path, digits):
    with pytest.raises(EncoderError):
        extract_to_files(Layers(lambda item: 1 / 0), digits, {"features": tmp_path / "f.npz"}, cache=False)
    with pytest.raises(OptionError, match=r"end in \.npz or \.safetensors"):
        extract_to_files(Layers(), digits, {"features": tmp_path / "f.pkl"}, cache=False)
    assert list(tmp_path.iterdir()) == []


def test_texts_of_a_length_go_together_and_come_back_in_order(tmp_path, cache):
    rng = np.random.default_rng(0)
    texts = ["x" * n for n in rng.permutation(np.arange(1, 41))]
    (tmp_path / "t.csv").write_text("text\n" + "\n".join(texts) + "\n")
    batches = []

    def count(items):
        batches.append([len(item) for item in items])
        return np.array([[len(item)] for item in items], dtype=np.float32)

    found = extract_features(
        FunctionEncoder("test:count", count), load_dataset(f"csv:{tmp_path / 't.csv'}"), batch_size=15, cache=False
    )
    assert found.features[:, 0].tolist() == [len(text) for text in texts]
    assert batches[:3] == [[3], [3], [3, 40]]  # the trial
    assert [length for batch in batches[3:] for length in batch] == list(range(40, 0, -1))
    assert [len(batch) for batch in batches[3:]] == [15, 15, 10]


@pytest.mark.parametrize("batch_size", [20, 32, 1000])
def test_batches_may_be_larger_than_shards(digits, cache, tmp_path, batch_size):
    encoder = Layers()
    found = extract_features(encoder, digits, cache=cache, batch_size=batch_size)
    np.testing.assert_array_equal(found.features, expected(digits, "features"))
    assert max(encoder.passes) == min(batch_size, 60)
    small = FeatureCache(tmp_path / "small", shard_rows=16)
    extract_features(Layers(), digits, cache=small, batch_size=16)
    assert files(cache) == files(small)


def test_large_batches_leave_out_what_is_there(digits, cache):
    extract_features(Layers(), digits, cache=cache, batch_size=16)
    whole = files(cache)
    first, _, third, _ = sorted(path for path in whole if path.suffix == ".safetensors")
    for name in (first, third):
        (cache.folder / name).unlink()
    encoder = Layers()
    found = extract_features(encoder, digits, cache=cache, batch_size=32)
    np.testing.assert_array_equal(found.features, expected(digits, "features"))
    assert encoder.passes == [*TRIAL, 32]
    assert files(cache) == whole


# --- memory


def test_batches_are_halved_until_they_fit_and_stay_so(digits, cache):
    encoder = Layers(most=5)
    found = extract_features(encoder, digits, cache=cache, batch_size=16)
    np.testing.assert_array_equal(found.features, expected(digits, "features"))
    assert encoder.passes == [*TRIAL, 16, 8, *[4] * 15]


def test_one_item_that_does_not_fit_is_said(digits):
    with pytest.raises(
        EncoderError, match=rf"out of memory with a single item, row '{digits.ids[0]}' of data 'digits'"
    ):
        extract_features(Layers(most=0), digits, cache=False)


# --- shares and processes beside


def test_shares_meet_in_the_cache_and_make_the_same_files(tmp_path, digits, cache):
    alone = FeatureCache(tmp_path / "alone", shard_rows=16)
    extract_outputs(Layers(), digits, ["features", "rows"], cache=alone, batch_size=8)
    first = extract_share(Layers(), digits, "1/3", ["features", "rows"], cache=cache, batch_size=8)
    assert (first.done, first.total, [shard.number for shard in first.missing]) == (2, 4, [1, 2])
    extract_share(Layers(), digits, "3/3", ["features", "rows"], cache=cache, batch_size=8)
    last = extract_share(Layers(), digits, "2/3", ["features", "rows"], cache=cache, batch_size=8)
    assert (last.done, last.missing) == (4, ())
    assert files(cache) == files(alone)
    encoder = Layers()
    extract_outputs(encoder, digits, ["features", "rows"], cache=cache)
    assert not encoder.passes


def test_a_share_needs_a_cache(digits):
    with pytest.raises(OptionError, match=r"must go with a cache.*got none"):
        extract_share(Layers(), digits, "1/2", cache=False)


def test_only_the_row_that_changed_is_computed_again(tmp_path, cache):
    for number in range(40):
        path = tmp_path / "data" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    extract_features(Layers(), load_dataset(f"folder:{tmp_path / 'data'}"), cache=cache)
    Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / "data/20.png")
    encoder, data = Layers(), load_dataset(f"folder:{tmp_path / 'data'}")
    found = extract_features(encoder, data, cache=cache)
    np.testing.assert_array_equal(found.features, expected(data, "features"))
    assert encoder.passes == [*TRIAL, 1]
    assert len(list(cache.folder.rglob("*.safetensors"))) == 3


def test_a_shard_that_another_process_computes_is_waited_for(digits, cache):
    extract_features(Layers(), digits, cache=cache, batch_size=16)
    whole = files(cache)
    names = sorted(path for path in whole if path.suffix == ".safetensors")
    (cache.folder / names[0]).unlink()
    held = []

    class Holding(FeatureCache):
        def acquire(self, name):  # the first time somebody else has it
            if not held:
                held.append(super().acquire(name))
                threading.Timer(0.15, lambda: self.release(held[0])).start()
            return super().acquire(name)

    encoder = Layers()
    extract_features(encoder, digits, cache=Holding(cache.folder.parent, shard_rows=16), batch_size=16)
    assert encoder.passes == [*TRIAL, 16]
    assert files(cache) == whole


def _beside(folder):
    extract_outputs(Layers(), load_dataset("packaged:digits"), ["features", "rows"], cache=FeatureCache(folder, 64))


@pytest.mark.slow
def test_processes_at_the_same_time_make_the_same_files(tmp_path):
    _beside(tmp_path / "alone")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_beside, args=(tmp_path / "shared",)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert files(FeatureCache(tmp_path / "shared")) == files(FeatureCache(tmp_path / "alone"))


def test_the_cache_keeps_to_its_limit_but_not_at_the_cost_of_what_was_just_computed(digits, cache, monkeypatch):
    extract_features(Layers(), digits.subset(range(30)), cache=cache)
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", "100")
    extract_features(Layers(), digits, cache=cache)
    assert [kept.rows for kept in cache_admin.contents(cache)] == [60]
    monkeypatch.setenv("TRANSFERABILITY_CACHE_SIZE", "much")
    with pytest.raises(OptionError, match="`TRANSFERABILITY_CACHE_SIZE` must be a size"):
        extract_features(Layers(), digits, cache=cache)


# --- decoding


@pytest.mark.slow
def test_features_do_not_depend_on_who_decodes(tmp_path, digits, cache, monkeypatch):
    other = FeatureCache(tmp_path / "other", shard_rows=16)
    extract_features(Layers(np.asarray), digits, cache=other, workers=0, batch_size=8)
    lost = []

    class Fragile(Workers):
        def submit(self, rows):
            if not lost:
                lost.append(self._processes[0].kill())
            return super().submit(rows)

    monkeypatch.setattr(decoder_module, "Workers", Fragile)
    deadline = time.monotonic() + 60

    def wait(done, total):  # until the workers take part
        while not lost and done < total and not decoders[0]._workers.ready and time.monotonic() < deadline:
            time.sleep(0.01)

    decoders = []
    monkeypatch.setattr(Decoder, "ahead", property(lambda self: decoders.append(self) or 1))
    extract_features(Layers(np.asarray), digits, cache=cache, workers=1, batch_size=8, progress=wait)
    assert lost
    assert files(cache) == files(other)


def test_a_preprocessing_that_fails_is_the_encoders(digits):
    with pytest.raises(EncoderError, match=r"preprocessing of encoder 'test:layers' failed on row .*ZeroDivisionError"):
        extract_features(Layers(lambda item: 1 / 0), digits, cache=False)
    with pytest.raises(OptionError, match="`workers` must be at least 0; got -1"):
        extract_features(Layers(), digits, workers=-1)


def test_pictures_of_many_sizes_come_as_a_list(tmp_path):
    for number, size in enumerate([(4, 4), (6, 4)]):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / f"{number}.png")
    encoder = Layers(lambda item: np.asarray(item)[:4, :4, 0] if item.size == (4, 4) else np.asarray(item)[:4, :5, 0])
    encoder.forward = lambda batch, outputs: {"features": np.array([[each.size] for each in batch], dtype=np.float32)}  # type: ignore[method-assign]
    found = extract_features(encoder, load_dataset(f"folder:{tmp_path}"), cache=False)
    assert found.features.tolist() == [[16.0], [20.0]]
