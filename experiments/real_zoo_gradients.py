"""Do gradients predict fine-tuned accuracy better than features: tangent kernels on the real zoo.

    python experiments/real_zoo_gradients.py --data FOLDER [--rows 100] [--encoders NAME …] [--table]

FOLDER is that of real_zoo.py; the packaged encoders must be installed. Each encoder and target is kept as it comes, in
``results/real_zoo_gradients.json``; the same command goes on where it was, and several may run at once. `--table`
prints the agreement with fine-tuned accuracy, of the encoders that are known on all targets.

Measured on `--rows` rows: last-layer features, and the empirical tangent kernel of the pre-trained weights (Wei, Hu and
Steinhardt 2022). Criteria: leave-one-out accuracy and loss of ridge regression of one-hot labels on the kernel, its
ridge by generalised cross-validation, and the evidence (LogME of the kernel).

The EfficientNets, the ViT and VGG16 compute at half their input size here, which a CPU can afford.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _data import pictures
from _tangent import TangentKernels, shrink, tangent_kernels
from filelock import FileLock
from real_zoo import agreements
from real_zoo_features import TARGETS, truth_of

from transferability import scores
from transferability.datasets import stratified_sample
from transferability.encoders import load_encoder

ENCODERS = (
    "pp-lcnet-orientation", "ddddocr", "pp-ocr", "efficientnet-lite0", "efficientnet-lite1", "open-nsfw",
    "efficientnet-lite2", "vit-s-saliency", "brain-mri-vgg16",
)  # fmt: skip
HALF = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "vit-s-saliency", "brain-mri-vgg16")
MOST_ROWS = 160
RESULTS = Path(__file__).parent / "results" / "real_zoo_gradients.json"


def ridge_criteria(kernel: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return leave-one-out accuracy, GCV loss and evidence of regression on a kernel.

    With K = U S Uᵀ and the ridge λ, the hat matrix is H = U S/(S + λ) Uᵀ; leave-one-out residuals are
    (y − ŷ)ᵢ / (1 − Hᵢᵢ), and GCV(λ) = ‖y − ŷ‖² n / (n − tr H)².
    """
    n = len(labels)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(centre @ kernel @ centre)
    values = np.maximum(values, 0) / max(values.max(), 1e-300)
    wanted = np.eye(labels.max() + 1)[labels]
    mean = wanted.mean(0)
    found = []
    for ridge in np.geomspace(1e-7, 1e2, 37):
        share = values / (values + ridge)
        fitted = vectors @ (share[:, None] * (vectors.T @ (wanted - mean)))
        residuals = wanted - mean - fitted
        gcv = float((residuals**2).sum() * n / (n - share.sum() - 1) ** 2)
        left_out = wanted - residuals / (1 - (vectors**2 @ share)[:, None] - 1 / n)
        found.append(
            (gcv, float((left_out.argmax(1) == labels).mean()), float(((left_out - wanted) ** 2).sum(1).mean()))
        )
    gcv, accuracy, loss = min(found)
    design = vectors * np.sqrt(values)
    return {"GCV loss": gcv, "LOO accuracy": accuracy, "LOO loss": loss, "LogME": float(scores.logme(design, labels))}


def combined(kernels: TangentKernels) -> dict[str, np.ndarray]:
    """Return the kernels that are compared, each with unit trace per part."""

    def unit(kernel: np.ndarray) -> np.ndarray:
        return kernel / np.trace(kernel)

    features = kernels.features - kernels.features.mean(0)
    deviation = features.std(0)
    features = features / np.maximum(deviation, 0.3 * np.sqrt((deviation**2).mean()) + 1e-30)
    last = unit(features @ features.T)
    found = {"last layer": last, "tangent": unit(kernels.raw.sum(0)), "tangent, scaled": unit(kernels.scaled.sum(0))}
    for share in (1, 2, 3):
        found[f"tangent, scaled, last {share}/5"] = unit(kernels.scaled[-share:].sum(0))
    found["tangent, fifths alike"] = unit(sum(unit(each) for each in kernels.scaled))
    return found | {f"last layer + {name}": last + found[name] for name in list(found)[1:]}


def rows_of(options: argparse.Namespace, target: str) -> Any:
    """Return the rows of a target; fewer rows are some of more."""
    data = pictures(options.data, target, "train", MOST_ROWS)
    return data.subset(np.sort(stratified_sample(data.labels, len(data), options.rows)))


def kernel_cell(encoder: Any, name: str, target: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one encoder and target by kernels, and keep these."""
    data = rows_of(options, target)
    kernels = tangent_kernels(encoder, _prepared(encoder, name, data, range(len(data))))
    options.cache.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.cache / f"{name}-{target}-{options.rows}.npz", **kernels._asdict(), labels=data.labels)
    return said_of(kernels, data.labels)


def keep(cell: dict[str, Any], lock: Path) -> None:
    """Add a cell to the file of results; several processes may."""
    with FileLock(lock):
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": []}
        found["cells"].append(cell)
        part = RESULTS.with_suffix(".part")
        part.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        part.replace(RESULTS)


def said_of(kernels: TangentKernels, labels: np.ndarray) -> dict[str, float]:
    """Return every criterion of the kernels."""
    said = {"last layer: LogME of features": float(scores.logme(kernels.features, labels))}
    for kind, kernel in combined(kernels).items():
        said |= {f"{kind}: {name}": value for name, value in ridge_criteria(kernel, labels).items()}
    return said


def _prepared(encoder: Any, name: str, data: Any, rows: Any) -> np.ndarray:
    batch = np.stack([encoder.preprocess(item) for item in data.items(rows)])
    return shrink(batch, 0.5 if name in HALF else 1, channels_last=batch.shape[-1] == 3)


def trainable(name: str) -> Any:
    """Return a packaged encoder in torch."""
    encoder = load_encoder(f"packaged:{name}", device="cpu")
    return encoder.trainable() if hasattr(encoder, "trainable") else encoder


def main() -> None:
    """Do what is missing of a step, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--encoders", nargs="*", default=ENCODERS)
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "transferability-experiments" / "tangent"
    )
    options = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": []}
    for name in () if options.table else options.encoders:
        encoder = None
        for target in TARGETS:
            cell = {"rows": options.rows, "encoder": name, "target": target}
            if any(cell.items() <= each.items() for each in found["cells"]):
                continue
            encoder = encoder or trainable(name)
            started = time.process_time()
            cell["said"] = kernel_cell(encoder, name, target, options)
            cell["cpu_seconds"] = round(time.process_time() - started, 1)
            keep(cell, options.cache / "results.lock")
            print(name, target, cell["cpu_seconds"], flush=True)
    if options.table:
        truth = truth_of(options.data)
        known = [each for each in found["cells"] if each["rows"] == options.rows]
        counts = Counter(each["encoder"] for each in known)
        whole = sorted(name for name, count in counts.items() if count == len(TARGETS))
        print(f"{len(whole)} encoders: {', '.join(whole)}; Pearson, Kendall, regret in points")
        cells = [
            {"encoder": each["encoder"], "target": each["target"], **each["said"]}
            for each in known
            if each["encoder"] in whole
        ]
        rows = sorted(agreements(cells, truth), key=lambda row: -row["kendall"])
        for row in rows:
            print(f"{row['criterion']:55} {row['pearson']:+.2f} {row['kendall']:+.2f} {100 * row['regret']:.1f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
