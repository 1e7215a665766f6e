"""Features of every block of nine packaged encoders on the fitting rows of five targets, kept for `real_zoo.py`.

    python experiments/real_zoo_features.py --data FOLDER --features KEPT [--rows 300] [--encoder NAME] [--target NAME]

FOLDER holds the pictures (`_data.py`) and ``real_zoo/ENCODER.npz``, the last-layer features that the fine-tuned
accuracies were published with: for each encoder and target the script prints how far its own are from them. Writes
``KEPT/ENCODER/TARGET.npz``: `rows`, `labels` and one array per block, in order, the features last. What is there is not
computed again, so that more rows can be added later. About half a CPU second per picture over all nine encoders.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _agreement import read_truth
from _data import train_pictures

from transferability.encoders import FEATURES, Encoder, hidden_layers, load_encoder
from transferability.features import extract_outputs

ENCODERS = (
    "pp-ocr", "pp-lcnet-orientation", "ddddocr", "open-nsfw", "efficientnet-lite0", "efficientnet-lite1",
    "efficientnet-lite2", "vit-s-saliency", "brain-mri-vgg16",
)  # fmt: skip
TARGETS = ("cifar10", "fashion_mnist", "mnist_m_cifar", "omniglot_alphabet", "sign_digits")
CHUNK = 100  # rows between two writes


def truth_of(folder: Path) -> dict[tuple[str, str], float]:
    """Return the mean accuracy over seeds of each encoder and target."""
    return read_truth(folder, ENCODERS).means


def fitting_rows(labels: np.ndarray, limit: int) -> np.ndarray:
    """Return the first rows of the balanced draw that the encoders were fine-tuned on; a larger limit adds to them."""
    generator = np.random.default_rng(0)
    drawn = [generator.permutation(np.flatnonzero(labels == k)) for k in range(labels.max() + 1)]
    return np.sort(np.concatenate([rows[: limit // len(drawn)] for rows in drawn]))


def load_layers(path: Path) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return row numbers, labels and one array (n, width) per block, in order."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    blocks = [arrays[name] for name in sorted(arrays) if name.startswith("block")]
    return arrays["rows"], arrays["labels"], blocks


def add_rows(encoder: Encoder, target: str, data: Path, path: Path, limit: int) -> None:
    """Compute the rows that a file lacks, and write them by the chunk."""
    whole = train_pictures(data, target)
    labels = whole.labels
    wanted = fitting_rows(labels, limit)
    rows, _, blocks = load_layers(path) if path.exists() else (np.empty(0, dtype=np.int64), None, [])
    missing = np.setdiff1d(wanted, rows)
    outputs = [*hidden_layers(encoder), FEATURES]
    for start in range(0, len(missing), CHUNK):
        chunk = missing[start : start + CHUNK]
        found = extract_outputs(encoder, whole.subset(chunk), outputs, cache=False, workers=0)
        new = [found[name].features for name in outputs]
        rows = np.concatenate([rows, chunk])
        order = np.argsort(rows)
        rows = rows[order]
        blocks = [np.concatenate(pair)[order] for pair in zip(blocks, new, strict=True)] if blocks else new
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            named = {f"block {number:02}": block for number, block in enumerate(blocks)}
            np.savez(stream, rows=rows, labels=labels[rows], **named)
        part.replace(path)


def difference(path: Path, published: Path, data: Path) -> float:
    """Return the largest difference to the published features, relative to their standard deviation."""
    rows, _, blocks = load_layers(path)
    with np.load(published) as archive:
        known = archive[path.stem].astype(np.float64)
    of_truth = fitting_rows(train_pictures(data, path.stem).labels, len(known))
    known = known[np.searchsorted(of_truth, rows)]
    return float(np.abs(blocks[-1] - known).max() / known.std())


def main() -> None:
    """Extract what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--encoder", action="append", choices=ENCODERS)
    parser.add_argument("--target", action="append", choices=TARGETS)
    options = parser.parse_args()
    for name in options.encoder or ENCODERS:
        encoder = load_encoder(f"packaged:{name}", device="cpu")
        for target in options.target or TARGETS:
            path = options.features / name / f"{target}.npz"
            add_rows(encoder, target, options.data, path, options.rows)
            far = difference(path, options.data / "real_zoo" / f"{name}.npz", options.data)
            print(f"{name:22} {target:18} differs from the published features by {far:.1e} deviations", flush=True)


if __name__ == "__main__":
    main()
