"""What a step of fine-tuning costs beside its passes forward and backward, and what reading pictures costs.

    python benchmarks/finetune.py [--encoder timm:resnet18@random …] [--rows 96] [--device cpu]

Steps: seconds of an epoch of `FineTuner` over those of a bare loop on the same network, rows and batches, which holds
its batches ready as tensors on the device: forward, backward and AdamW over the training rows, and forward over the
validation rows, in mixed precision where the processor has bfloat16. On a CPU ours lays convolutions out for speed, and
can cost less. CPU seconds on a CPU, wall-clock on CUDA. Each epoch is the difference of a longer and a shorter run.
Precision: an epoch with mixed precision over one in float32, where the processor has bfloat16.
Reading: pictures per second of a folder of JPEG files of 500 × 400 pixels, by number of processes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transferability.datasets import Dataset, load_dataset, split
from transferability.encoders import as_trainable, load_encoder
from transferability.validation.batches import PreparedItems
from transferability.validation.finetune import FineTuner
from transferability.validation.precision import has_bfloat16, mixed_precision
from transferability.validation.settings import FineTuning, Hyperparameters

CHOSEN = Hyperparameters(1e-5, 1e-2)
SETTINGS = FineTuning(patience=10**6)


def folder_of(folder: Path, n: int) -> Dataset:
    """Write JPEG files of two classes, smooth enough to compress like photographs; return them as data."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for row in range(n):
        place = folder / ("a", "b")[row % 2]
        place.mkdir(exist_ok=True)
        small = rng.integers(0, 256, (20, 25, 3), dtype=np.uint8)
        Image.fromarray(small).resize((500, 400), Image.Resampling.BICUBIC).save(place / f"{row}.jpg", quality=90)
    return load_dataset(f"folder:{folder}")


def bare(encoder: Any, dataset: Dataset, epochs: int) -> None:
    """Train as any short script does, from batches that are there."""
    network, device = encoder.module, next(encoder.module.parameters()).device
    train, validation = split(dataset.labels, SETTINGS.validation_share, seed=0)
    ready = PreparedItems(encoder, dataset, np.arange(len(dataset)), device)
    n_batches = -(-len(train) // SETTINGS.batch_size)
    parts = [*np.array_split(train, n_batches), *np.array_split(validation, -(-len(validation) // 128))]
    with ready.batches(parts) as made:
        batches = list(made)
    labels = [torch.from_numpy(dataset.labels[part]).to(device) for part in parts]
    head = nn.LazyLinear(2).to(device)
    with torch.no_grad():
        head(encoder.differentiable(batches[0]))
    fused = device.type == "cuda"
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], 1e-5, weight_decay=1e-2, fused=fused)

    def logits(batch: Any) -> Any:
        with mixed_precision(device):
            features = encoder.differentiable(batch)
        return head(features.float())

    def run(count: int) -> None:
        for _ in range(count):
            network.train()
            for batch, truth in zip(batches[:n_batches], labels, strict=False):
                loss = nn.functional.cross_entropy(logits(batch), truth)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            network.eval()
            with torch.no_grad():
                for batch in batches[n_batches:]:
                    logits(batch)

    run(epochs)


def clock(device: str) -> float:
    """Return CPU seconds of this process, or wall-clock after the device is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def per_epoch(work: Callable[[int], Any], device: str, short: int = 1, long: int = 4) -> float:
    """Return the seconds that one more epoch takes."""
    work(short)
    seconds = []
    for epochs in (short, long):
        started = clock(device)
        work(epochs)
        seconds.append(clock(device) - started)
    return (seconds[1] - seconds[0]) / (long - short)


def steps(name: str, dataset: Dataset, device: str) -> None:
    """Print the ratio of one encoder."""
    encoder = as_trainable(load_encoder(name, device=device))
    _, test = split(dataset.labels, 0.1, seed=1)
    tuner = FineTuner(encoder, dataset, np.arange(len(dataset)), test, SETTINGS)
    ours = per_epoch(lambda epochs: tuner.run(CHOSEN, 0, epochs=epochs), device)
    plain = per_epoch(lambda epochs: bare(encoder, dataset, epochs), device)
    print(f"{name:40} {plain:8.2f} {ours:8.2f} {ours / plain:6.2f}", flush=True)


def precisions(name: str, dataset: Dataset, device: str) -> None:
    """Print what an epoch of one encoder costs with and without mixed precision."""
    tuner = FineTuner(load_encoder(name, device=device), dataset, np.arange(len(dataset)), np.arange(1), SETTINGS)
    plain, mixed = (
        per_epoch(lambda epochs, tuner=each: tuner.run(CHOSEN, 0, epochs=epochs), device)  # type: ignore[misc]
        for each in (tuner.with_settings(replace(SETTINGS, mixed_precision=False)), tuner)
    )
    print(f"{name:40} {plain:8.2f} {mixed:8.2f} {mixed / plain:6.2f}", flush=True)


def reading(dataset: Dataset, name: str) -> None:
    """Print how fast pictures are read."""
    encoder = as_trainable(load_encoder(name, device="cpu"))
    for workers in (0, 2):
        items = PreparedItems(encoder, dataset, np.arange(len(dataset)), torch.device("cpu"), workers)
        started, used = time.perf_counter(), time.process_time()
        items.first(1)
        wall, here = time.perf_counter() - started, time.process_time() - used
        print(f"{workers} processes: {len(dataset) / wall:.0f} pictures/s; {here:.2f} CPU seconds here")
    parts = np.array_split(np.random.default_rng(0).permutation(len(dataset)), -(-len(dataset) // 32))
    started = time.process_time()
    with items.batches(parts) as made:
        n = sum(len(batch) for batch in made)
    print(f"afterwards: {n / (time.process_time() - started):.0f} pictures per CPU second, as batches")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", nargs="*", default=["timm:resnet18@random", "packaged:pp-lcnet-orientation"])
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = folder_of(Path(folder), options.rows)
        print(f"{'seconds an epoch, ' + str(options.rows) + ' rows':40} {'bare':>8} {'here':>8} {'ratio':>6}")
        for name in options.encoder:
            steps(name, dataset, options.device)
        if has_bfloat16(torch.device(options.device)):
            print(f"{'seconds an epoch':40} {'float32':>8} {'mixed':>8} {'ratio':>6}")
            for name in options.encoder:
                precisions(name, dataset, options.device)
        reading(dataset, options.encoder[0])


if __name__ == "__main__":
    main()
