"""Who decodes: processes beside this one, a thread, and reading ahead."""

import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from PIL import Image

from transferability.datasets import load_dataset
from transferability.encoders.function import FunctionEncoder
from transferability.errors import DatasetError, OptionError
from transferability.features import extract_features
from transferability.features import preprocessing as decoder_module
from transferability.features import shared as shared_module
from transferability.features import workers as workers_module
from transferability.features.prefetch import prefetch
from transferability.features.prepare import Preparation
from transferability.features.preprocessing import Decoder
from transferability.features.shared import Shared
from transferability.features.workers import (
    WorkerLostError,
    Workers,
    _search_path,
    are_there_spare_workers,
    keep_workers,
)
from transferability.pipeline import Settings, rank


@pytest.fixture
def digits():
    return load_dataset("packaged:digits", limit=60)


@pytest.fixture
def payload(digits):
    return Shared(Preparation(digits, np.asarray))  # a preprocessing that a bare interpreter can import


@pytest.mark.slow
def test_workers_give_what_this_process_would(digits, payload):
    workers = Workers(1, payload)
    try:
        batch = workers.submit(range(5, 9)).result(60)
        assert workers.ready
        np.testing.assert_array_equal(batch, np.stack([np.asarray(item) for item in digits.items(range(5, 9))]))
        assert batch.dtype == np.uint8
        with pytest.raises(IndexError):
            workers.submit(range(100, 101)).result(60)
        assert len(workers.submit(range(2)).result(60)) == 2  # and it goes on
        for process in workers._processes:
            process.kill()
        with pytest.raises(WorkerLostError):
            workers.submit(range(2)).result(60)
    finally:
        workers.close()


@pytest.mark.slow
def test_large_batches_are_the_work_of_all_processes_and_need_not_be_taken(digits, payload):
    workers = Workers(2, payload)
    expected = np.stack([np.asarray(item) for item in digits.items(list(range(60)) * 3)])
    rows = list(range(60)) * 3  # three parts
    try:
        batch = workers.submit(rows).result(120)
        np.testing.assert_array_equal(batch, expected)
        assert {each.base is batch for each in (part.result() for part in workers._asked)} == {True}  # never copied
        for _ in range(20):
            workers.submit(rows)
    finally:
        closing = threading.Thread(target=workers.close, daemon=True)
        closing.start()
        closing.join(60)
    assert not closing.is_alive()  # what nobody waits for is not computed


@pytest.mark.slow
def test_processes_are_kept_for_the_next_data_set_while_a_run_lasts(digits, payload, monkeypatch):
    started = []
    start = workers_module._start
    monkeypatch.setattr(workers_module, "_start", lambda: started.append(start()) or started[-1])
    other = load_dataset("packaged:digits", limit=40, seed=1)
    with keep_workers():
        for turn, (data, sent) in enumerate([(digits, payload), (other, Shared(Preparation(other, np.asarray)))]):
            assert are_there_spare_workers() == (turn > 0)
            workers = Workers(2, sent)
            expected = np.stack([np.asarray(item) for item in data.items(range(3))])
            np.testing.assert_array_equal(workers.submit(range(3)).result(120), expected)
            while not workers.ready:
                time.sleep(0.01)
            if turn:
                workers._processes[0].kill()  # what is lost is not kept
                workers._processes[0].wait()
            workers.close()
            with pytest.raises(RuntimeError):
                workers.submit(range(3))
        assert len(started) == 2
        assert [each.process.poll() is None for each in workers_module._spare] == [True]
    assert not are_there_spare_workers()
    assert all(process.poll() is not None for process in started)
    workers = Workers(1, payload)
    workers.submit(range(1)).result(120)
    workers.close()
    assert not are_there_spare_workers()  # nobody wants them
    assert started[-1].poll() is not None


class Red:
    """An encoder that a worker process can preprocess for."""

    modality, n_parameters, pooling, source_class_names, outputs = "image", 0, "none", None, ("features",)
    preprocess = staticmethod(np.asarray)

    def __init__(self, name):
        self.name = name

    def identity(self):
        return {"source": self.name}

    def forward(self, batch, outputs):
        return {"features": np.stack([each[:, :, 0].ravel() for each in batch]).astype(np.float32)}

    def encode(self, items):
        return self.forward([np.asarray(each) for each in items], ["features"])["features"]


@pytest.mark.slow
def test_a_ranking_starts_its_workers_once(monkeypatch):
    started = []
    start = workers_module._start
    monkeypatch.setattr(workers_module, "_start", lambda: started.append(start()) or started[-1])
    settings = Settings(limit=60, workers=1, cache=False)
    ranking = rank("packaged:digits", "packaged:digits", [Red("one"), Red("two")], settings=settings)
    assert len(ranking.entries) == 2
    assert len(started) == 1
    assert started[0].poll() is not None


def test_processes_are_started_when_the_encoder_waits_for_long(digits, monkeypatch):
    started = []

    class Recorded(Workers):
        def __init__(self, count, payload):
            started.append(count)
            payload.message = b""
            super().__init__(count, payload)  # what cannot be read: decoding stays here

    monkeypatch.setattr(decoder_module, "Workers", Recorded)
    monkeypatch.setattr(decoder_module, "n_processors", lambda: 2)
    decoder = Decoder(digits, None)
    for _ in range(3):  # however long the first ones take
        slow = Future()
        threading.Timer(0.05, slow.set_result, [[]]).start()
        decoder.result(slow, range(8), n_left=10**6)
    decoder.result(decoder.submit(range(8)), range(8), n_left=1)
    assert not started
    decoder._waited = 8.0
    decoder.result(decoder.submit(range(8)), range(8), n_left=1000)
    assert started == [2]
    assert len(decoder.submit(range(8)).result(30)) == 8
    decoder.close()


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_for_a_gpu_processes_are_started_with_the_first_batch(digits, monkeypatch, caplog, works):
    monkeypatch.setattr(decoder_module, "_MANY_ROWS", len(digits))
    monkeypatch.setattr(decoder_module, "n_processors", lambda: 4)

    class Recorded(Workers):
        def __init__(self, count, payload):
            payload.message = payload.message if works else pickle.dumps(("", [])) + b"cnowhere\nThing\n."
            super().__init__(1, payload)

    monkeypatch.setattr(decoder_module, "Workers", Recorded)
    assert Decoder(digits, np.asarray)._workers is None
    decoder = Decoder(digits, np.asarray, for_gpu=True)
    rows = [range(start, start + 8) for start in range(0, 48, 8)]
    try:
        batches = [decoder.submit(each) for each in rows]
        assert decoder.ahead > 2
        for batch, each in zip(batches, rows, strict=True):
            expected = np.stack([np.asarray(item) for item in digits.items(each)])
            np.testing.assert_array_equal(decoder.result(batch, each, n_left=0), expected)
        assert (decoder._workers.failure() is None) == works
        assert len(decoder.result(decoder.submit(range(3)), range(3), n_left=0)) == 3
        assert (decoder._workers is not None) == works
    finally:
        decoder.close()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_data_that_cannot_be_pickled_stay_in_this_process(digits, caplog):
    decoder = Decoder(digits, lambda item: np.asarray(item), workers=2)
    assert decoder._workers is None
    assert decoder.submit(range(3)).result(30).shape == (3, 8, 8, 3)
    decoder.close()


def test_data_that_are_too_large_to_be_copied_stay_in_this_process(digits, monkeypatch, caplog):
    monkeypatch.setattr(shared_module, "_MOST_BYTES", 10_000)
    monkeypatch.setattr(shared_module, "_SHARE", 0)
    with caplog.at_level("INFO"):
        decoder = Decoder(digits, np.asarray, workers=2)
    assert "do not fit into the free memory twice" in caplog.text
    assert decoder.submit(range(3)).result(30).shape == (3, 8, 8, 3)
    decoder.close()


def test_ahead_keeps_order_raises_in_place_and_stops():
    made = []

    def items():
        for number in range(1000):
            made.append(number)
            yield number
            if number == 5:
                raise DatasetError("at five")

    with prefetch(items(), lambda: 3) as numbers:
        assert [next(numbers) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DatasetError, match="at five"):
            list(numbers)
    assert made == list(range(6))
    with prefetch(iter(range(10**9)), lambda: 2) as numbers:
        assert next(numbers) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


LAUNCH = """
import sys
from transferability.datasets import load_dataset
from transferability.encoders.function import FunctionEncoder
from transferability.features import extract_features
from transferability.features import workers
import numpy as np
started = []
start = workers._start
workers._start = lambda: started.append(start()) or started[-1]
wait = workers.Workers.__init__
def waiting(self, count, payload):
    wait(self, count, payload)
    for each in self._starting:
        each.result(60)
workers.Workers.__init__ = waiting
mean = FunctionEncoder("mean", lambda items: np.array([[np.asarray(item).mean(), item.width] for item in items]))
found = extract_features(mean, load_dataset("folder:pictures"), cache=False, workers=1, batch_size=4)
print(len(started), found.features.shape)
"""


@pytest.mark.slow
def test_workers_run_no_file_of_the_working_folder(tmp_path):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "pictures").mkdir(parents=True)
    elsewhere.mkdir()
    for number in range(8):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(here / "pictures" / f"{number}.png")
    names = ("pickle", "numpy", "sitecustomize", "usercustomize", "transferability", "PIL", "struct", "site")
    for name in names:
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'a').write({name!r})\nraise SystemExit\n")
    (elsewhere / "launch.py").write_text(LAUNCH)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(
        [sys.executable, str(elsewhere / "launch.py")], cwd=here, capture_output=True, text=True, env=environment
    )
    assert done.stdout.split("\n")[0] == "1 (8, 2)", done.stderr
    assert not (tmp_path / "trace").exists()


def test_modules_are_looked_for_in_the_working_folder_last(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/somewhere", str(tmp_path), "/elsewhere"])
    assert _search_path() == ["/somewhere", "/elsewhere", str(tmp_path)]


def test_processes_that_cannot_be_started_are_done_without(digits, monkeypatch, caplog):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("transferability.features.workers._start", refuse)
    decoder = Decoder(digits, np.asarray, workers=2)
    assert "2 others cannot be started" in caplog.text
    assert decoder.submit(range(3)).result(30).shape == (3, 8, 8, 3)
    decoder.close()
    with pytest.raises(OptionError, match=r"`workers` must be at most \d+ on this machine; got 3000000"):
        extract_features(FunctionEncoder("mine", len), digits, workers=3_000_000)
