"""A few steps of fine-tuning for every encoder of the real zoo: do they foretell the published accuracies?

    python experiments/real_zoo_steps.py --data FOLDER [--steps 80] [--encoders NAME …] [--targets NAME …] [--table]

FOLDER as for `real_zoo_finetuned.py`. Nothing is chosen: every encoder begins with a fresh head (zero, ten times
faster) and free batch normalisation, and takes so many steps of AdamW with 32 pictures at a learning rate of 1e-4, which
the published recipe took in 53 of 61 cells; the rate rises over the first twenty steps and stays. Of the 1,000 fitting
rows that the published accuracies are of, 640 are trained on and 360 measure, every twenty steps, one pass; no row of
the test part is used. EfficientNets, ViT, open-nsfw and VGG16 see pictures of half their size or less, which a CPU can
afford. Every curve is a line of JSON, written when it is there; the same command goes on where it was.

`--table` prints the agreement with the published accuracies of the accuracy and the loss of the frozen features' linear
probe on the 360 rows, of those after each pass, and of what a power law through the curve gives for the ten passes of
the published recipe; alone, and in consensus with the transferred accuracy of frozen features.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _agreement import MEASURES, agreement, paired_intervals, read_truth
from _data import train_pictures
from _tangent import shrink
from real_zoo_features import TARGETS, fitting_rows
from torch import Tensor, nn

from transferability.datasets import split
from transferability.encoders import load_encoder
from transferability.validation.batch_norm import norms_of, short_memory
from transferability.validation.head import fit_head
from transferability.validation.network_state import restored

RESULTS = Path(__file__).parent / "results" / "real_zoo_steps.jsonl"
ENCODERS = (
    "pp-ocr", "pp-lcnet-orientation", "ddddocr", "open-nsfw", "efficientnet-lite0", "efficientnet-lite1",
    "efficientnet-lite2", "vit-s-saliency", "brain-mri-vgg16",
)  # fmt: skip
SIZE = {"brain-mri-vgg16": 0.43} | dict.fromkeys(ENCODERS[3:8], 0.5)
"""Of the pictures, as a share of what the encoder takes."""
RATE, HEAD_FACTOR, BATCH, PASS = 1e-4, 10.0, 32, 20
HELD_OUT = 0.36
PUBLISHED_PASSES = 10
FROZEN = "reference: transferred accuracy"  # of `real_zoo.py`


def prepared(encoder: Any, name: str, target: str, data: Path) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Return the fitting rows as a batch, their labels, and which are trained on and which measure."""
    whole = train_pictures(data, target)
    rows = whole.subset(fitting_rows(whole.labels, 1000))
    batch = np.stack([np.asarray(encoder.preprocess(item)) for item in rows.items(range(len(rows)))])
    batch = shrink(batch, SIZE.get(name, 1), channels_last=batch.shape[-1] == 3)
    return torch.from_numpy(batch), torch.from_numpy(rows.labels.astype(np.int64)), *split(rows.labels, HELD_OUT)


def curve(encoder: Any, pictures: Tensor, labels: Tensor, train: np.ndarray, held: np.ndarray, steps: int) -> Any:
    """Return [step, accuracy, loss] of the frozen features' probe (step 0) and after every pass."""
    network: nn.Module = encoder.module

    @torch.no_grad()
    def features(rows: np.ndarray) -> Tensor:
        network.eval()
        return torch.cat([encoder.differentiable(pictures[part]).float() for part in np.array_split(rows, 12)])

    def measured(step: int, logits: Tensor) -> list[float]:
        loss, right = nn.functional.cross_entropy(logits, labels[held]), logits.argmax(1) == labels[held]
        return [step, float(right.double().mean()), float(loss)]

    with restored(network), short_memory(norms_of(network)):
        frozen, frozen_held = features(train), features(held)
        sides = [each.numpy() for each in (frozen, labels[train], frozen_held, labels[held])]
        head = fit_head(*sides, int(labels.max()) + 1)
        with torch.no_grad():
            found = [measured(0, head(frozen_held))]
        head.forget()
        body = list(network.parameters())
        optimizer = torch.optim.AdamW(
            [{"params": body}, {"params": head.linear.parameters(), "lr": HEAD_FACTOR * RATE}], RATE
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / PASS))
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        for step in range(steps):
            if step % PASS == 0:
                batches = rng.permutation(train)[: PASS * BATCH].reshape(PASS, BATCH)
            network.train()
            rows = batches[step % PASS]
            loss = nn.functional.cross_entropy(head(encoder.differentiable(pictures[rows]).float()), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*body, *head.linear.parameters()], 1.0)
            optimizer.step()
            schedule.step()
            if (step + 1) % PASS == 0:
                with torch.no_grad():
                    found.append(measured(step + 1, head(features(held))))
    return found


def run(options: argparse.Namespace, done: set[tuple[str, str]]) -> None:
    """Do what is missing."""
    for name in options.encoders:
        missing = [target for target in options.targets if (name, target) not in done]
        if not missing:
            continue
        encoder = load_encoder(f"packaged:{name}", device="cpu")
        encoder = encoder.trainable() if hasattr(encoder, "trainable") else encoder
        for target in missing:
            parts = prepared(encoder, name, target, options.data)
            started = time.process_time()
            found = curve(encoder, *parts, options.steps)
            line = {"encoder": name, "target": target, "curve": found}
            with RESULTS.open("a") as file:
                file.write(json.dumps(line | {"cpu_seconds": round(time.process_time() - started, 1)}) + "\n")
            print(name, target, *(f"{accuracy:.3f}" for _, accuracy, _ in found), flush=True)


def known() -> list[dict[str, Any]]:
    """Return the curves that are there."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--encoders", nargs="*", default=ENCODERS)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run(options, {(each["encoder"], each["target"]) for each in known()})


if __name__ == "__main__":
    main()
