"""What a CPU gains where the channels of convolutions come last in memory: encoding, and fine-tuning.

    OMP_NUM_THREADS=1 python benchmarks/channels_last.py [--encoder timm:resnet18@random …] [--batch 16]

Encoding: CPU seconds of a batch by the encoder as it is loaded, and with its weights as its library stores them.
Fine-tuning: CPU seconds of a pass forward and backward in training, in mixed precision where the CPU has bfloat16, by
`fast_convolutions` and as the library stores the weights. Sides take turns, and the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from transferability.encoders import as_trainable, load_encoder
from transferability.validation.convolutions import fast_convolutions
from transferability.validation.precision import mixed_precision

CPU = torch.device("cpu")
TURNS = 3
ENCODERS = [
    f"timm:{name}@random"
    for name in ("resnet18", "mobilenetv3_small_100", "lcnet_050", "efficientnet_b0", "regnety_004", "convnext_atto")
]


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return what one call takes."""
    started = time.process_time()
    work()
    return time.process_time() - started


def batch_of(encoder: Any, size: int) -> torch.Tensor:
    """Return random pictures, prepared."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures = (Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)) for _ in range(size))
    return torch.from_numpy(np.stack([encoder.preprocess(each) for each in pictures]))


def compare(name: str, size: int) -> None:
    """Print both tables' row of one encoder."""
    encoder = as_trainable(load_encoder(name, device="cpu"))
    network, batch = encoder.module, batch_of(encoder, size)

    def encode() -> np.ndarray:
        return encoder.forward(list(batch.numpy()), ["features"])["features"]

    def train() -> None:
        network.train()
        with mixed_precision(CPU):
            features = encoder.differentiable(batch)
        features.float().square().mean().backward()
        network.zero_grad()

    seconds: dict[str, list[float]] = {"encode": [], "encode last": [], "train": [], "train last": []}
    rows = []
    for _ in range(TURNS):
        for layout, suffix in ((torch.contiguous_format, ""), (torch.channels_last, " last")):
            network.to(memory_format=layout)
            network.eval()
            rows.append(encode())
            seconds["encode" + suffix].append(cpu_seconds(encode))
        network.to(memory_format=torch.contiguous_format)
        seconds["train"].append(cpu_seconds(train))
        with fast_convolutions(network, CPU):
            seconds["train last"].append(cpu_seconds(train))
    least = {kind: min(values) for kind, values in seconds.items()}
    encoded, trained = (least[kind + " last"] / least[kind] for kind in ("encode", "train"))
    apart = (np.linalg.norm(rows[1] - rows[0], axis=1) / np.linalg.norm(rows[0], axis=1)).max()
    print(f"{name:36} {least['encode']:6.2f} {least['encode last']:6.2f} {encoded:5.2f} {apart:8.0e}", end="")
    print(f" {least['train']:8.2f} {least['train last']:6.2f} {trained:5.2f}", flush=True)


def main() -> None:
    """Print both tables side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", nargs="*", default=ENCODERS)
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    title = f"CPU s of {options.batch} pictures"
    print(f"{title:36} encode   last ratio    apart    train   last ratio")
    for name in options.encoder:
        compare(name, options.batch)


if __name__ == "__main__":
    main()
