"""A few steps of fine-tuning for every encoder of the real zoo: do they foretell the published accuracies?

    python experiments/real_zoo_steps.py --data FOLDER [--steps 60] [--encoders NAME …] [--targets NAME …] [--table]

FOLDER as for `real_zoo_finetuned.py`. Nothing is chosen: every encoder begins with a fresh head (zero, ten times
faster) and free batch normalisation, and takes so many steps of AdamW with 32 pictures at a learning rate of 1e-4,
which the published recipe took in 53 of 61 cells; the rate rises over the first twenty steps and stays. Of the 1,000
fitting rows that the published accuracies are of, 640 are trained on and 360 measure, every twenty steps, one pass; no
row of the test part is used. EfficientNets, ViT, VGG16 and page orientation see pictures of half their size or less,
which a CPU can afford. Every curve is a line of JSON, written when it is there; the same command goes on where it was.

`--table` prints the agreement with the published accuracies of the frozen features' linear probe, whose ridge is
chosen by the loss on the 360 rows, of those after each pass, and of what a power law through the curve gives for the
ten passes of the published recipe; alone, and in consensus with the transferred accuracy of frozen features.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _agreement import read_truth
from _consensus import consensus
from _data import train_pictures
from _tangent import shrink
from real_zoo import chosen_without_a_target, criteria_of, rows_of, show
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
SIZE = {"brain-mri-vgg16": 0.36, "pp-lcnet-orientation": 0.5} | dict.fromkeys(ENCODERS[4:8], 0.5)
"""Of the pictures, as a share of what the encoder takes."""
RATE, HEAD_FACTOR, BATCH, PASS = 1e-4, 10.0, 32, 20
HELD_OUT = 0.36
PUBLISHED_PASSES = 10
PUBLISHED_BATCHES = 25  # of a pass: 800 rows in batches of 32
FROZEN, ALONE = "reference: transferred accuracy", "transferred accuracy, frozen"  # in `real_zoo.py`, and here


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


def power_law(found: list[list[float]]) -> float:
    """Return the accuracy that errors falling as a power of the steps reach in the passes of the published recipe."""
    steps, accuracies, _ = np.array(found[1:]).T
    errors = np.log(np.clip(1 - accuracies, 1e-3, None))
    slope, level = np.polyfit(np.log(steps), errors, 1)
    return float(1 - np.exp(level + min(slope, 0.0) * np.log(PUBLISHED_BATCHES * PUBLISHED_PASSES)))


def criteria(curves: list[dict[str, Any]], steps: int) -> dict[str, dict[tuple[str, str], float]]:
    """Return every criterion of curves of so many steps, by encoder and target; higher is better."""
    frozen = json.loads((RESULTS.parent / "real_zoo.json").read_text())["cells"]
    of_frozen = {(cell["encoder"], cell["target"]): cell[FROZEN] for cell in frozen}
    cells = []
    for each in curves:
        points = [point for point in each["curve"] if point[0] <= steps]
        said = {ALONE: of_frozen[each["encoder"], each["target"]], "probe: accuracy": points[0][1]}
        for number, (_, accuracy, loss) in enumerate(points[1:], 1):
            said |= {
                f"after {number} passes: accuracy": accuracy,
                f"after {number} passes: loss": loss,
            }  # `criteria_of` turns it
            said[f"better of probe and {number} passes"] = max(accuracy, points[0][1])
        said["best of the curve"] = max(accuracy for _, accuracy, _ in points[1:])
        said["smallest loss of the curve"] = -min(loss for _, _, loss in points[1:])
        said["power law"] = power_law(points)
        cells.append({"encoder": each["encoder"], "target": each["target"], **said})
    found: dict[str, Any] = criteria_of(cells)
    return found | {f"{name}, and frozen": consensus(found, [name, ALONE])[0] for name in found if name != ALONE}


def show_table(data: Path) -> None:
    """Print the agreement of each criterion with the published accuracies, and of the one chosen on other targets."""
    truth = read_truth(data, ENCODERS).means
    curves = [each for each in known() if (each["encoder"], each["target"]) in truth]
    steps = int(min(each["curve"][-1][0] for each in curves))
    cells = {(each["encoder"], each["target"]): truth[each["encoder"], each["target"]] for each in curves}
    rows = rows_of(criteria(curves, steps), cells)
    hours = sum(each["cpu_seconds"] for each in curves) / 3600
    n_encoders = len({each["encoder"] for each in curves})
    show(f"{len(curves)} pairs of {n_encoders} encoders, {steps} steps, {hours:.1f} CPU hours", rows)
    print("chosen by leave-one-target-out:", json.dumps(chosen_without_a_target(rows)["mean"], indent=1))


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--encoders", nargs="*", default=ENCODERS)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        show_table(options.data)
        return
    torch.set_num_threads(1)
    run(options, {(each["encoder"], each["target"]) for each in known()})


if __name__ == "__main__":
    main()
