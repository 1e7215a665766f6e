"""Extraction on a GPU against the model alone and against the decoders alone.

    python benchmarks/gpu_extraction.py [--device cuda] [--seconds 12] [--within 240] [--quick] [--out FILE] [PART …]

Parts, all by default:

- same: features on the device against those of the CPU, float32, as a share of the length of a row.
- arrays: pictures that lie decoded in memory, of the size that the model's preprocessing scales to, through
  EfficientNet-Lite0 and a ViT-B/16 in float32 and bfloat16. The model alone computes one batch, of the size that
  extraction ended with, again and again; the batch lies on the device and CUDA events take the time.
- compiled: the same models with `compile=True` against the same without, one after the other on batches of 256 (8 on a
  CPU) that are decoded: pictures per second and CPU seconds per 100, the seconds of the first batch (in which torch
  compiles; its own cache on the disk makes a second run faster), and features as shares of a row's length.
- jpegs: JPEGs of 640 × 480 (1,000 different ones) through EfficientNet-Lite0 in bfloat16, against the same worker
  processes, whose batches nobody looks at.

Weights are random, which changes no time. "later" leaves out the first five seconds, in which worker processes
start and the batch grows. Every measurement is one JSON line, written when it is there; none begins later than
`--within` seconds after the start, and a last line tells what was left out.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _repeated import Photographs, Repeated
from PIL import Image

from transferability.datasets import Dataset
from transferability.encoders import load_encoder, preprocess_of
from transferability.encoders.networks import PictureNetwork
from transferability.features import FeatureCache, extract_features
from transferability.features.prepare import Preparation, prepare
from transferability.features.preprocessing import n_processors
from transferability.features.shared import Shared
from transferability.features.workers import PART, Workers

MODELS = {"timm:tf_efficientnet_lite0@random": 256, "timm:vit_base_patch16_224@random": 248}
"""Models, and the pixels of an edge that their preprocessing scales pictures to before it cuts 224 out."""
QUICK = {"timm:test_efficientnet@random": 168, "timm:test_vit@random": 160}
N_DISTINCT = 256
N_JPEGS = 1000


@cache
def pictures_of(size: int) -> np.ndarray:
    """Return the distinct pictures."""
    small = np.random.default_rng(0).integers(0, 256, (N_DISTINCT, 8, 8, 3), dtype=np.uint8)
    pictures = [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC)) for each in small]
    return np.stack(pictures)


def repeated(n_rows: int, size: int) -> Dataset:
    """Return so many rows."""
    rows = Repeated(pictures_of(size))
    return Dataset(f"pixels{size}", "image", np.arange(n_rows).astype(np.str_), rows, rows.content, pieces=rows.pieces)


def network(name: str, device: str, precision: str, *, compile: bool = False) -> PictureNetwork:
    """Return an encoder."""
    encoder = load_encoder(name, device=device, precision=precision, compile=compile)  # type: ignore[arg-type]
    assert isinstance(encoder, PictureNetwork)
    return encoder


def same(device: str, _seconds: float, models: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Compare features of the device with the CPU's."""
    for name, size in models.items():
        data = repeated(12, size)
        host, other = (extract_features(network(name, each, "float32"), data, cache=False) for each in ("cpu", device))
        lengths = np.linalg.norm(host.features, axis=1)
        difference = np.linalg.norm(other.features - host.features, axis=1) / lengths
        yield {"encoder": name, "largest_difference": float(difference.max()), "asked": 1e-4}


def arrays(device: str, seconds: float, models: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Measure extraction from decoded pictures against the model alone."""
    for name, size in models.items():
        for precision in ("float32", "bfloat16"):
            encoder = network(name, device, precision)
            first = bare_rate(encoder, 256 if device == "cuda" else 8, size, seconds / 12)
            marks = extraction(encoder, repeated(int(first * seconds), size))
            largest = max(after[0] - before[0] for before, after in pairwise(marks))
            bare = max(first, bare_rate(encoder, largest, size, seconds / 8))
            yield {
                "encoder": name, "precision": precision, "batch": largest, "model_alone": bare,
                **rates(marks, min(5, seconds / 2), bare),
            }  # fmt: skip


def bare_rate(encoder: PictureNetwork, n_rows: int, size: int, seconds: float) -> float:
    """Return the rows per second of the network alone, on one batch that lies on the device, prepared."""
    n_made = min(n_rows, N_DISTINCT)
    made = prepare(repeated(n_made, size), encoder.preprocess, range(n_made))
    batch = torch.from_numpy(np.concatenate([made] * -(-n_rows // n_made))[:n_rows]).to(
        next(encoder.module.parameters()).device
    )
    timed = timed_on_gpu if batch.is_cuda else timed_here
    precision = encoder.identity()["precision"]
    cast = torch.autocast(batch.device.type, getattr(torch, precision), enabled=precision != "float32")
    exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)  # as encoders compute
    with torch.inference_mode(), cast, exact if precision == "float32" else nullcontext():

        def forward() -> None:
            encoder.differentiable(batch)

        forward()  # chooses kernels
        count = max(2, round(seconds / max(timed(forward, 2) / 2, 1e-6)))
        return n_rows * count / timed(forward, count)


def timed_on_gpu(work: Callable[[], object], count: int) -> float:
    """Return the seconds between two events around all of it."""
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    for _ in range(count):
        work()
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / 1000


def timed_here(work: Callable[[], object], count: int) -> float:
    """Return seconds."""
    started = time.perf_counter()
    for _ in range(count):
        work()
    return time.perf_counter() - started


def extraction(encoder: Any, data: Dataset) -> list[tuple[int, float]]:
    """Extract into a new cache; return how many rows were done when."""
    marks = [(0, time.perf_counter())]
    with tempfile.TemporaryDirectory() as folder:
        extract_features(
            encoder, data, cache=FeatureCache(folder),
            progress=lambda done, _: marks.append((done, time.perf_counter())),
        )  # fmt: skip
        marks.append((len(data), time.perf_counter()))
    return marks


def compiled(device: str, seconds: float, models: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Measure compiled encoders against the same as they are."""
    n_rows = 256 if device == "cuda" else 8
    for name, size in models.items():
        for precision in ("float32", "bfloat16") if device == "cuda" else ("float32",):
            plain, other = (network(name, device, precision, compile=each) for each in (False, True))
            batch = prepare(repeated(n_rows, size), preprocess_of(plain), range(n_rows))
            started = time.perf_counter()
            other.forward(batch[:2], ["features"])
            first = time.perf_counter() - started
            expected, found = (each.forward(batch, ["features"])["features"] for each in (plain, other))
            difference = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
            # They take turns, so that other work on the machine slows both; the best turn of each counts.
            turns = [
                (forward_rate(plain, batch, seconds / 12), forward_rate(other, batch, seconds / 12)) for _ in "123"
            ]
            (before, cpu_before), (after, cpu_after) = (max(turn[side] for turn in turns) for side in (0, 1))
            yield {
                "encoder": name, "precision": precision, "batch": n_rows, "first_batch_seconds": first,
                "largest_difference": float(difference.max()), "plain": before, "compiled": after,
                "ratio": after / before, "cpu_seconds_of_100": [100 * cpu_before, 100 * cpu_after],
            }  # fmt: skip


def forward_rate(encoder: PictureNetwork, batch: Any, seconds: float) -> tuple[float, float]:
    """Return pictures per second of an encoder on one batch, copies included, and CPU seconds per picture."""
    begun, cpu, count = time.perf_counter(), time.process_time(), 0
    running = encoder.start(batch, ["features"])
    while time.perf_counter() - begun < seconds or count == 0:
        later = encoder.start(batch, ["features"])  # as extraction does: one is computed while the next is given
        running.result()
        running, count = later, count + 1
    running.result()
    n_rows = (count + 1) * len(batch)
    return n_rows / (time.perf_counter() - begun), (time.process_time() - cpu) / n_rows


def rates(marks: list[tuple[int, float]], warm_up: float, against: float) -> dict[str, float]:
    """Return rows per second in all and after the first seconds, and as shares."""
    begun, (n_rows, ended) = marks[0][1], marks[-1]
    later = next((mark for mark in marks if mark[1] - begun > warm_up), marks[0])
    in_all = n_rows / (ended - begun)
    then = (n_rows - later[0]) / (ended - later[1])
    return {
        "rows": n_rows, "seconds": ended - begun,
        "in_all": in_all, "later": then, "share_in_all": in_all / against, "share_later": then / against,
    }  # fmt: skip


def jpegs(device: str, seconds: float, models: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Measure extraction from JPEGs against the decoders alone."""
    encoder = network(next(iter(models)), device, "bfloat16" if device == "cuda" else "float32")
    with ThreadPoolExecutor(n_processors()) as threads:
        contents = tuple(threads.map(jpeg, range(N_JPEGS if seconds >= 5 else 100)))
    first = decoders_alone(photographs(contents, 64 * n_processors()), encoder)
    data = photographs(contents, int(1.5 * first * seconds))
    marks = extraction(encoder, data)
    alone = max(first, decoders_alone(data.subset(range(len(data) // 4)), encoder))
    yield {"decoders": n_processors(), "decoders_alone": alone, **rates(marks, min(5, seconds / 2), alone)}


def photographs(contents: tuple[bytes, ...], n_rows: int) -> Dataset:
    """Return so many rows."""
    rows = Photographs(contents)
    return Dataset("jpegs", "image", np.arange(n_rows).astype(np.str_), rows, rows.content)


def jpeg(number: int) -> bytes:
    """Return a picture with structure at several scales, so that decoding it is as hard as a photograph."""
    rng = np.random.default_rng(number)
    total = np.zeros((480, 640, 3), dtype=np.float32)
    for scale in (8, 32, 128):
        small = Image.fromarray(rng.integers(0, 256, (480 // scale + 1, 640 // scale + 1, 3), dtype=np.uint8))
        total += np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.float32) / 3
    file = io.BytesIO()
    Image.fromarray(total.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoders_alone(data: Dataset, encoder: PictureNetwork) -> float:
    """Return the rows per second that worker processes deliver, as many as there are processors."""
    count = n_processors()
    workers = Workers(count, Shared(Preparation(data, preprocess_of(encoder))))
    try:
        while not workers.ready:
            time.sleep(0.01)
        waiting = deque(workers.submit(range(min(PART, len(data)))) for _ in [0] * 2 * count)
        begun, n_rows = time.perf_counter(), 0
        for start in range(0, len(data), PART):
            n_rows += len(waiting.popleft().result())
            waiting.append(workers.submit(range(start, min(start + PART, len(data)))))
        return n_rows / (time.perf_counter() - begun)
    finally:
        workers.close()


PARTS = {"same": same, "arrays": arrays, "compiled": compiled, "jpegs": jpegs}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=12.0, help="seconds of each extraction from arrays")
    parser.add_argument("--quick", action="store_true", help="tiny models and a second each, to try this program")
    parser.add_argument("--out", type=Path, help="file that lines are added to")
    parser.add_argument("--within", type=float, default=240.0, help="seconds after which no measurement begins")
    asked = parser.parse_args()
    models, seconds = (QUICK, 1.0) if asked.quick else (MODELS, asked.seconds)
    name = torch.cuda.get_device_name() if asked.device == "cuda" else asked.device
    about = {"device": name, "processors": n_processors()}
    for line in within(asked.within, asked.parts or PARTS, asked.device, seconds, models):
        written = json.dumps(about | line)
        print(written, flush=True)
        if asked.out is not None:
            with asked.out.open("a") as file:
                file.write(written + "\n")


def within(
    limit: float, parts: Iterable[str], device: str, seconds: float, models: dict[str, int]
) -> Iterator[dict[str, Any]]:
    """Yield what is measured, as long as there is time."""
    started = time.perf_counter()
    for part in parts:
        measured = PARTS[part](device, seconds, models)
        while True:
            if time.perf_counter() - started > limit:
                yield {"part": part, "left_out": f"this part from here on: {limit:g} seconds are over"}
                break
            line = next(measured, None)
            if line is None:
                break
            yield {"part": part, **line}


if __name__ == "__main__":
    sys.exit(main())
