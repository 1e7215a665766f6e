"""How close extraction comes to the model alone, and to the decoders alone; how much memory it takes.

    OMP_NUM_THREADS=1 python benchmarks/extraction.py [model] [compiled] [decoders] [memory] [rows]

- model: packaged efficientnet-lite0 on MNIST's digits. The bare loop feeds the same batches, decoded and preprocessed
  beforehand, from memory. On a CPU leave the model fewer threads than there are cores: what decodes needs one too.
- compiled: the same encoder with `compile=True` against itself without: CPU seconds of 100 pictures, and how far the
  features are apart. The first run compiles, which takes longer than any other.
- decoders: JPEGs of 640 × 480 written on the fly, a mean over pixels as model. The decoders alone are the same worker
  processes, whose batches are thrown away.
- memory: peak of a process that streams 2,048 features per row through the cache, for two numbers of rows.
- rows: how many items are encoded, in what CPU seconds (by a model that takes no time), and what the cache takes on
  disk, for data sets that have rows in common.

The two sides of a ratio take turns, so that other work on the machine slows both. Where they run long, the best turn
of each counts; where each turn has its own rate, the median of the ratios.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferability.datasets import Dataset, load_dataset
from transferability.encoders import MultiOutputEncoder, load_encoder
from transferability.features import FeatureCache, cache_admin, extract_blocks, extract_features
from transferability.features.prepare import Preparation, prepare
from transferability.features.preprocessing import n_processors
from transferability.features.shared import Shared
from transferability.features.workers import Workers

TURNS = 10


class MeanColour:
    """A model that takes no time."""

    name, modality, n_parameters, pooling, source_class_names = "mean", "image", 0, "mean", None
    outputs = ("features",)

    def __init__(self, preprocess: Any) -> None:
        self.preprocess = preprocess

    def identity(self) -> dict[str, Any]:
        """Return what changes the features."""
        return {"source": self.name, "device": "cpu"}

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the mean of each channel."""
        return {"features": np.stack([each.mean(axis=(1, 2)) for each in batch])}

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Return the features of a batch."""
        return self.forward([self.preprocess(item) for item in items], ["features"])["features"]


def model_bound() -> None:
    """Print extraction against the bare loop, with a new cache each time."""
    encoder = load_encoder("packaged:efficientnet-lite0", device="cpu")
    assert isinstance(encoder, MultiOutputEncoder)
    data = load_dataset("packaged:mnist", limit=96)
    batches = [range(start, min(start + 8, len(data))) for start in range(0, len(data), 8)]
    decoded = [prepare(data, encoder.preprocess, rows) for rows in batches]
    encoder.forward(decoded[0], ["features"])
    encoder.identity()  # the hash of the weights, once per encoder
    bare, ours = [], []

    def loop() -> None:
        for batch in decoded:
            encoder.forward(batch, ["features"])

    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS):
            bare.append(timed(loop))
            cache = FeatureCache(Path(folder) / str(turn))
            ours.append(timed(lambda cache=cache: extract_features(encoder, data, cache=cache)))
    wall = min(each[0] for each in bare) / min(each[0] for each in ours)
    own = statistics.median(each[1] for each in bare) / statistics.median(each[1] for each in ours)
    print(f"model-bound: {wall:.1%} of the bare loop, best of {TURNS} turns; {own:.1%} in the thread that computes")
    print(f"  {len(data) / min(each[0] for each in ours):.1f} pictures a second, cache included")


def compiled() -> None:
    """Print a compiled encoder against the same as it is."""
    plain, other = (load_encoder("packaged:efficientnet-lite0", device="cpu", compile=each) for each in (False, True))
    assert isinstance(plain, MultiOutputEncoder)
    assert isinstance(other, MultiOutputEncoder)
    data = load_dataset("packaged:mnist", limit=96)
    batches = [prepare(data, plain.preprocess, range(start, start + 8)) for start in range(0, 96, 8)]
    wall, cpu = timed(lambda: other.forward(batches[0], ["features"]))
    print(f"compiled: the first batch takes {wall:.1f} s, {cpu:.1f} CPU s of this process")
    rows = [
        np.concatenate([each.forward(part, ["features"])["features"] for part in batches]) for each in (plain, other)
    ]
    apart = (np.linalg.norm(rows[1] - rows[0], axis=1) / np.linalg.norm(rows[0], axis=1)).max()
    turns = [[timed(lambda e=each: [e.forward(part, ["features"]) for part in batches])[1] for each in (plain, other)]
             for _ in range(TURNS // 2)]  # fmt: skip
    before, after = (100 / 96 * min(turn[side] for turn in turns) for side in (0, 1))
    print(f"  {before:.2f} CPU s of 100 pictures, {after:.2f} compiled: {before / after:.2f} times as fast")
    print(f"  features differ by at most {apart:.1e} of a row's length")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds, and processor seconds of this thread."""
    started = time.perf_counter(), time.thread_time()
    work()
    return time.perf_counter() - started[0], time.thread_time() - started[1]


def decoder_bound(n_pictures: int = 600, n_rounds: int = 4) -> None:
    """Print extraction against worker processes whose batches nobody looks at."""
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 255, (n_pictures, 12, 16, 3), dtype=np.uint8)
        (Path(folder) / "data").mkdir()
        for number, pixels in enumerate(small):
            picture = Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC)
            picture.save(Path(folder) / "data" / f"{number}.jpg", quality=90)
        data = load_dataset(f"folder:{folder}/data")
        encoder = MeanColour(load_encoder("packaged:efficientnet-lite0", device="cpu").preprocess)  # type: ignore[union-attr]
        count = n_processors()
        ratios, rates = [], []
        for _ in range(n_rounds):
            alone = decoders_alone(data, encoder, count)
            ours = rate_of(extract_rows(data, encoder, count, FeatureCache(Path(folder) / f"cache{len(rates)}")))
            ratios.append(ours / alone)
            rates.append(ours)
        print(
            f"decoder-bound: {statistics.median(ratios):.1%} of {count} decoders alone "
            f"({', '.join(f'{each:.1%}' for each in ratios)})"
        )
        print(f"  {statistics.median(rates):.0f} pictures a second")


def decoders_alone(data: Dataset, encoder: MeanColour, count: int) -> float:
    """Return the rows that the workers deliver in a second."""
    workers = Workers(count, Shared(Preparation(data, encoder.preprocess)))
    while not workers.ready:
        time.sleep(0.01)

    def rows() -> Iterator[int]:
        waiting: deque[tuple[int, Any]] = deque()
        for start in range(0, len(data), 8):
            batch = range(start, min(start + 8, len(data)))
            waiting.append((batch.stop, workers.submit(batch)))
            if len(waiting) > count + 2:
                stop, future = waiting.popleft()
                future.result()
                yield stop
        for stop, future in waiting:
            future.result()
            yield stop

    try:
        return rate_of(rows())
    finally:
        workers.close()


def extract_rows(data: Dataset, encoder: MeanColour, count: int, cache: FeatureCache) -> Iterator[int]:
    """Extract, and tell when how many rows are done."""
    marks: list[tuple[int, float]] = []
    extract_features(
        encoder, data, cache=cache, workers=count, progress=lambda done, _: marks.append((done, time.perf_counter()))
    )
    yield from (Mark(done, at) for done, at in marks)


class Mark(int):
    """A number of rows, and when it was reached."""

    at: float

    def __new__(cls, done: int, at: float) -> Mark:
        """Return the number with its time."""
        self = super().__new__(cls, done)
        self.at = at
        return self


def rate_of(rows: Iterator[int]) -> float:
    """Return rows per second between a third of them, when all workers take part, and the end."""
    marks = [(int(done), getattr(done, "at", None) or time.perf_counter()) for done in rows]
    first = next(mark for mark in marks if mark[0] >= marks[-1][0] / 3)
    return (marks[-1][0] - first[0]) / (marks[-1][1] - first[1])


@dataclass(frozen=True)
class Noise:
    """Rows that are made when they are read."""

    width: int

    def __call__(self, row: int) -> np.ndarray:
        """Return a row."""
        return np.full(self.width, row % 251, dtype=np.float32)

    def content(self, row: int) -> bytes:
        """Return what decides it."""
        return row.to_bytes(8, "little")


class Same:
    """A model that returns what it gets."""

    name, modality, n_parameters = "same", "array", 0

    def __init__(self) -> None:
        self.n_encoded = 0

    def identity(self) -> dict[str, Any]:
        """Return what changes the features."""
        return {"source": self.name}

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Return the items."""
        self.n_encoded += len(items)
        return np.stack(items)


def stream(n_rows: int) -> None:
    """Stream features of so many rows and print the peak memory of this process in MB."""
    noise = Noise(2048)
    data = Dataset("noise", "array", np.arange(n_rows).astype(np.str_), noise, noise.content)
    with tempfile.TemporaryDirectory() as folder:
        total = 0.0
        for block in extract_blocks(Same(), data, cache=FeatureCache(folder), workers=0):
            total += float(block.features[:, 0].sum())
    assert total == sum(row % 251 for row in range(n_rows))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


def memory() -> None:
    """Print the peak of a process for two numbers of rows."""
    for n_rows in (8_192, 65_536):
        found = subprocess.run(
            [sys.executable, __file__, "stream", str(n_rows)], capture_output=True, text=True, check=True
        )
        size = f"{n_rows:,} rows of 2,048 features, {n_rows * 8192 / 1e6:.0f} MB"
        print(f"memory: {size}: peak {float(found.stdout):.0f} MB")


def rows() -> None:
    """Print what is encoded and kept of data sets that share rows."""
    n_rows, width = 20_000, 1_280
    noise = Noise(width)
    data = Dataset("noise", "array", np.arange(n_rows).astype(np.str_), noise, noise.content)
    order = np.random.default_rng(0).permutation(n_rows)
    encoder = Same()
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder)
        print(f"rows: {'data set':<34}{'rows':>8}{'encoded':>9}{'CPU s':>8}{'MB in all':>11}{'MB of features':>16}")
        features, n_tried = 0, 4  # the first time an encoder is tried on a few items
        for what, chosen in (
            ("half", order[: n_rows // 2]),
            ("a tenth of it", order[: n_rows // 20]),
            ("half, and a tenth more", order[: n_rows * 6 // 10]),
            ("the same in another order", np.sort(order[: n_rows * 6 // 10])),
            ("all", np.arange(n_rows)),
        ):
            encoder.n_encoded, started = 0, time.process_time()
            extract_features(encoder, data.subset(chosen), cache=cache, workers=0)
            seconds = time.process_time() - started
            features += len(chosen) * width * 4
            encoded = encoder.n_encoded - n_tried
            print(
                f"      {what:<34}{len(chosen):>8,}{encoded:>9,}{seconds:>8.2f}"
                f"{cache_admin.size(cache) / 1e6:>11.1f}{features / 1e6:>16.1f}"
            )
            n_tried = 0


def main() -> None:
    """Run the parts asked for."""
    if sys.argv[1:2] == ["stream"]:
        stream(int(sys.argv[2]))
        return
    parts = {"model": model_bound, "compiled": compiled, "decoders": decoder_bound, "memory": memory, "rows": rows}
    print(f"{n_processors()} processors, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
