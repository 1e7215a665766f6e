"""Rows that another data set has under the same encoder are not encoded again, whatever their order and ids."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferability.datasets import Dataset, load_dataset
from transferability.datasets.in_memory import from_memory
from transferability.encoders.base import Reading
from transferability.errors import EncoderError
from transferability.features import FeatureCache, cache_admin, extract_blocks, extract_outputs, extract_share
from transferability.features import known_rows as known_rows_module
from transferability.features.known_rows import KnownRows

POOL = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)


def numbers(rows, name="numbers", start=0):
    """Return a data set of these rows of the pool; ids count from `start`."""
    chosen = POOL[list(rows)]
    return Dataset(
        name,
        "array",
        np.array([str(start + k) for k in range(len(chosen))]),
        read=lambda row: chosen[row],
        content=lambda row: chosen[row].tobytes(),
    )


class Counting:
    """An encoder of two outputs that remembers what it encoded; it has been tried already."""

    name, modality, n_parameters, pooling, source_class_names, preprocess = "counting", "array", 0, "none", None, None
    outputs = ("features", "sums")

    def __init__(self, version=1):
        self.encoded, self.version = [], version

    def identity(self):
        return {"source": self.name, "version": self.version}

    def forward(self, batch, outputs):
        rows = np.stack(batch)
        self.encoded += rows[:, 0].tolist()
        return {"features": 2 * rows, "sums": rows.sum(axis=1, keepdims=True)}

    def encode(self, items):
        return self.forward(items, ["features"])["features"]


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path, shard_rows=4)


@pytest.fixture(autouse=True)
def untried(monkeypatch):
    monkeypatch.setattr("transferability.features.local.try_encoder", lambda *_, **__: None)


def encoded(cache, dataset, outputs=("features",), encoder=None, **options):
    """Return the pool's rows that are encoded for a data set; what comes out of the cache is checked."""
    encoder = encoder or Counting()
    found = extract_outputs(encoder, dataset, list(outputs), cache=cache, **options)
    items = np.stack(dataset.items(range(len(dataset))))
    np.testing.assert_array_equal(
        found[outputs[0]].features, 2 * items if outputs[0] == "features" else items.sum(1)[:, None]
    )
    assert found[outputs[0]].ids.tolist() == dataset.ids.tolist()
    firsts = POOL[:, 0].tolist()
    return [firsts.index(each) for each in encoder.encoded]


@pytest.mark.parametrize(
    ("rows", "new"),
    [
        (range(7), []),
        ([*range(9, -1, -1)], []),
        ([3, 1, 8], []),
        (range(15), [10, 11, 12, 13, 14]),
        ([20, *range(10), 21], [20, 21]),
    ],
    ids=["fewer", "another order", "a subset", "more", "before and after"],
)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_only_new_rows_are_encoded(cache, rows, new, batch_size):
    assert encoded(cache, numbers(range(10))) == [*range(10)]
    assert encoded(cache, numbers(rows, "other", start=100), batch_size=batch_size) == new
    assert encoded(cache, numbers(rows, "other", start=100)) == []
    kept = sorted((each.rows, each.shards) for each in cache_admin.contents(cache))
    assert kept == sorted([(10, 3), (len(rows), -(-len(rows) // 4))])
    assert cache_admin.verify(cache_admin.contents(cache)) == []


@settings(max_examples=40)
@given(
    datasets=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=15), min_size=2, max_size=4),
    batch_size=st.integers(1, 20),
)
def test_any_data_sets_in_turn(tmp_path_factory, datasets, batch_size):
    folder = tmp_path_factory.mktemp("cache")
    known = set()
    for turn, rows in enumerate(datasets):
        new = encoded(FeatureCache(folder, shard_rows=4), numbers(rows, start=100 * turn), batch_size=batch_size)
        assert new == [row for row in rows if row not in known]
        known |= set(rows)
    shutil.rmtree(folder)


def test_a_smaller_limit_after_a_larger_one(tmp_path):
    cache, encoder = FeatureCache(tmp_path), Counting()
    encoder.modality = "image"
    encoder.forward = lambda batch, outputs: (  # type: ignore[method-assign]
        encoder.encoded.extend(batch) or {"features": np.stack([np.asarray(each).ravel() for each in batch])}
    )
    for limit, n_new in [(350, 350), (140, 0), (20, 0), (350, 0)]:
        encoder.encoded.clear()
        extract_outputs(encoder, load_dataset("packaged:digits", limit=limit), ["features"], cache=cache)
        assert len(encoder.encoded) == n_new


@pytest.mark.parametrize(
    "change",
    [{"encoder": Counting(2)}, {"outputs": ("sums",)}, {"dtype": "float16"}],
    ids=["another encoder", "another output", "another dtype"],
)
def test_rows_are_of_the_same_encoder_output_and_dtype(cache, change, monkeypatch):
    encoded(cache, numbers(range(4)))
    if "dtype" in change:
        monkeypatch.setattr(np.testing, "assert_array_equal", lambda one, other: None)  # they are rounded
    assert encoded(cache, numbers(range(3)), **change) == [0, 1, 2]


def test_a_row_is_new_unless_all_outputs_have_it(cache):
    encoded(cache, numbers(range(8)))
    encoded(cache, numbers(range(4, 10)), ("sums",))
    assert sorted(encoded(cache, numbers(range(12), start=50), ("features", "sums"))) == [0, 1, 2, 3, 8, 9, 10, 11]
    assert encoded(cache, numbers(range(12), start=50), ("sums", "features")) == []


def test_few_new_rows_of_many_shards_share_a_batch(cache):
    encoded(cache, numbers(range(40)))
    batches = []
    encoder = Counting()
    forward = encoder.forward
    encoder.forward = lambda batch, outputs: batches.append(len(batch)) or forward(batch, outputs)  # type: ignore[method-assign]
    rows = [row if row % 4 else 40 + row // 4 for row in range(40)]  # one new row in each of ten shards
    assert encoded(cache, numbers(rows), encoder=encoder, batch_size=5) == [40, 41, 42, 43, 44, 45, 46, 47, 48, 49]
    assert batches == [5, 5]


def test_what_a_killed_run_has_found_does_not_decide_what_the_next_one_computes(cache):
    twice = numbers([*range(8), *range(8)])  # two shards, and the same rows in two more
    assert encoded(cache, twice) == [*range(8), *range(8)]
    files = {path: path.read_bytes() for path in cache.folder.rglob("*.safetensors")}
    last = max(files)
    last.unlink()
    assert encoded(cache, twice) == [4, 5, 6, 7]
    assert {path: path.read_bytes() for path in cache.folder.rglob("*.safetensors")} == files


def test_contents_that_change_in_place(cache):
    encoded(cache, numbers(range(12)))
    assert encoded(cache, numbers([0, 1, 2, 3, 4, 30, 6, 7, 8, 9, 10, 11])) == [30]
    assert len(list(cache.folder.rglob("*.safetensors"))) == 3


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1] + b"\x7f", lambda content: content[:40], lambda _: b""]
)
def test_damaged_shards_of_others_are_not_used(cache, damage):
    encoded(cache, numbers(range(8)))
    path = min(cache.folder.rglob("*.safetensors"))
    path.write_bytes(damage(path.read_bytes()))
    assert encoded(cache, numbers(range(8), start=8)) == [0, 1, 2, 3]


def test_shards_of_others_that_are_removed_meanwhile(cache, monkeypatch):
    encoded(cache, numbers(range(8)))
    removed = []

    def remove_first(path):
        if not removed:
            removed.append(cache_admin.clear(cache))
        return True

    monkeypatch.setattr(known_rows_module, "is_whole", remove_first)
    assert encoded(cache, numbers(range(8), start=8)) == [*range(8)]
    assert removed


def test_an_entry_stays_whole_when_the_one_its_rows_came_from_is_removed(cache):
    encoded(cache, numbers(range(8)))
    encoded(cache, numbers(range(8), start=8))
    cache_admin.remove(cache_admin.contents(cache)[:1])
    assert encoded(cache, numbers(range(8))) == encoded(cache, numbers(range(8), start=8)) == []


def test_shares_and_blocks_reuse_rows_too(cache):
    encoded(cache, numbers(range(16)))
    encoder, data = Counting(), numbers(range(17), start=5)
    assert extract_share(encoder, data, "1/2", cache=cache).done == 3
    assert len(encoder.encoded) == 1
    blocks = list(extract_blocks(encoder, data, cache=cache))
    np.testing.assert_array_equal(np.concatenate([each.features for each in blocks]), 2 * POOL[:17])
    assert len(encoder.encoded) == 1


def test_progress_counts_rows_that_are_reused(cache):
    encoded(cache, numbers(range(6)))
    seen = []
    encoded(cache, numbers(range(9), start=5), progress=lambda *at: seen.append(at))
    assert seen[-1] == (9, 9)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_rows_of_another_length_are_said(cache):
    class Wider(Counting):
        def forward(self, batch, outputs):
            return {"features": np.concatenate([np.stack(batch)] * 2, axis=1)}

    encoded(cache, numbers(range(2)))
    with pytest.raises(
        EncoderError, match=r"rows of one length; it returned 3 numbers for some rows and 6 for row '2'"
    ):
        extract_outputs(Wider(), numbers(range(3)), ["features"], cache=cache)


def test_texts_that_are_cut_are_counted_though_they_are_not_read_again(tmp_path):
    texts = ["a" * n for n in range(1, 9)]

    class Reader:
        name, modality, n_parameters, pooling, source_class_names, preprocess = "reader", "text", 0, "none", None, None

        def identity(self):
            return {"source": self.name}

        def reading(self, items):
            return Reading(longer=sum(len(each) > 5 for each in items), limit=5, unknown=False)

        def encode(self, items):
            return np.array([[len(each)] for each in items], dtype=np.float32)

    cache = FeatureCache(tmp_path / "cache", shard_rows=3)
    notes = []
    for n_rows in (8, 7):
        path = tmp_path / f"{n_rows}.csv"
        path.write_text("text\n" + "\n".join(texts[:n_rows]) + "\n")
        (found,) = extract_outputs(Reader(), load_dataset(f"csv:{path}"), ["features"], cache=cache).values()
        notes += found.notes
    assert ["(3 of 8)" in notes[0], "(2 of 7)" in notes[1]] == [True, True]


def test_the_index_takes_24_bytes_a_row(cache):
    data = numbers(range(40))
    encoded(cache, data)
    known = KnownRows(
        cache, cache.entry({"encoder": Counting().identity(), "output": "features", "dtype": "float32"}, {})
    )
    there, rows = known.find(0, data.row_keys([39, 3]))
    np.testing.assert_array_equal(rows, 2 * POOL[[39, 3]])
    assert there.all()
    index = known._index
    assert sum(each.nbytes for each in (index.keys, index.file_of, index.row_of)) == 40 * 24


class Pool(Counting):
    """Another encoder of the same data."""

    name = "another"


def drawn_anew(read):
    """Return a data set of eight rows whose items are whatever `read` returns now."""
    return Dataset(
        "drawn", "array", np.array(list("abcdefgh")), read=read, content=lambda row: np.asarray(read(row)).tobytes()
    )


def test_rows_that_changed_after_they_were_hashed_are_not_kept(cache, caplog):
    """One encoder's pass hashes; a row is replaced; the next encoder's features of it are not those of what it was."""
    rows = POOL[:8].copy()
    dataset = drawn_anew(lambda row: rows[row].copy())
    extract_outputs(Pool(), dataset, ["features"], cache=cache)
    rows[2] = -1.0
    found = extract_outputs(Counting(), dataset, ["features"], cache=cache)["features"].features
    np.testing.assert_array_equal(found[2], [-2.0, -2.0, -2.0])
    assert "features of rows 'a' to 'd' of data 'drawn' are not kept" in caplog.text
    assert encoded(cache, numbers(range(8))) == [0, 1, 2, 3]  # the other shard was kept
    encoder = Counting()
    extract_outputs(encoder, dataset, ["features"], cache=cache)  # hashed anew
    assert encoder.encoded == [-1.0]


def test_rows_that_are_drawn_at_random_are_not_kept(cache, caplog):
    rng = np.random.default_rng(0)
    dataset = drawn_anew(lambda row: POOL[row] * rng.choice([-1, 1]))
    extract_outputs(Counting(), dataset, ["features"], cache=cache)
    assert caplog.text.count("transformed at random") == 2  # shards
    assert encoded(cache, numbers(range(8))) == list(range(8))


def test_rows_that_are_gone_when_they_are_written_are_not_kept(cache, caplog):
    reads = []

    def read(row):
        reads.append(row)
        if len(reads) > 16:  # hashed once, encoded once
            message = "it was removed"
            raise OSError(message)
        return POOL[row]

    found = extract_outputs(Counting(), drawn_anew(read), ["features"], cache=cache)["features"].features
    np.testing.assert_array_equal(found, 2 * POOL[:8])
    assert "not kept" in caplog.text


def test_no_text_has_the_content_of_a_pair():
    pairs = from_memory([("ab", "c"), ("a", "bc"), ("\x00", "abc")], "pairs")
    texts = from_memory(["abc", "\x02" + 7 * "\x00" + "abc", "\xff" + "\x02" + 7 * "\x00" + "abc"], "texts")
    keys = np.concatenate([pairs.row_keys(range(3)), texts.row_keys(range(3))])
    assert len(np.unique(keys, axis=0)) == 6
