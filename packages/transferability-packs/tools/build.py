"""Make the packs of this package, or those of any zoo, from the public data that they are of.

    python tools/build.py --data FOLDER [--encoder packaged:minilm-l6 …] [--features FOLDER] [--out FOLDER]

FOLDER holds the data as `SOURCES` names them: archives with the arrays `x_train`, `y_train` and `class_names`, a folder
per class, or tables with the columns `text`, `label` and `split`. Only training parts are read. `--encoder` takes any
identifier that `transferability` knows, by default the packaged encoders. Features that were computed before are taken
from `--features FOLDER`, where it has a file ENCODER.npz with arrays NAME and NAME_labels (rows by class number).

Each pack is compact: class means, a pooled covariance of rank 16, one classifier and its logits of held-out rows. See
DATA-LICENSES.md before you add a source: a pack is given away.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transferability import ReferencePack, Task
from transferability.datasets import load_dataset, split
from transferability.encoders import Encoder, load_encoder
from transferability.features import extract_features
from transferability.pipeline.packs import fingerprint_of

PACKS = Path(__file__).parents[1] / "src" / "transferability_packs" / "packs"
ENCODERS = (
    "efficientnet-lite0",
    "efficientnet-lite1",
    "efficientnet-lite2",
    "clip-vit-b16",
    "open-nsfw",
    "pp-lcnet-orientation",
    "ddddocr",
    "pp-ocr",
    "vit-s-saliency",
    "brain-mri-vgg16",
    "minilm-l6",
    "paraphrase-minilm-l3",
    "multilingual-e5-small",
    "use-multilingual",
    "wordllama",
)


class Source(NamedTuple):
    """A public data set."""

    identifier: str
    modality: str
    rows: int  # drawn with the class shares
    licence: str
    origin: str


SOURCES = {
    "mnist": Source("npz:{data}/mnist.npz#train", "image", 1_000, "CC-BY-SA-3.0", "LeCun, Cortes, Burges: MNIST"),
    "fashion_mnist": Source(
        "npz:{data}/fashion_mnist.npz#train", "image", 1_000, "MIT", "Xiao, Rasul, Vollgraf: Fashion-MNIST"
    ),
    "omniglot_alphabet": Source(
        "npz:{data}/omniglot_alphabet.npz#train", "image", 1_000, "MIT", "Lake, Salakhutdinov, Tenenbaum: Omniglot"
    ),
    "sign_digits": Source(
        "folder:{data}/sign_digits", "image", 1_000, "Apache-2.0", "Mavi: Sign Language Digits Dataset"
    ),
    "banking77": Source(
        "parquet:{data}/banking77.parquet#train", "text", 1_540, "CC-BY-4.0", "Casanueva and others: Banking77"
    ),
    "clinc150": Source(
        "parquet:{data}/clinc150.parquet#train", "text", 3_000, "CC-BY-3.0", "Larson and others: CLINC150"
    ),
}
TEST_SHARE, ROWS = 0.3, 30


def task_of(name: str, encoder: Encoder, data: Path, features: Path | None) -> Task:
    """Return the rows of a source under an encoder, computed or found."""
    source = SOURCES[name]
    dataset = load_dataset(source.identifier.format(data=data), limit=source.rows)
    found = None if features is None else features / f"{encoder.name.rpartition(':')[2]}.npz"
    if found is not None and found.exists():
        with np.load(found) as archive:
            if name in archive:
                rows, labels = archive[name].astype(np.float64), archive[f"{name}_labels"].astype(np.int64)
                return Task(rows, labels, name, dataset.class_names)
    extracted = extract_features(encoder, dataset)
    return Task(extracted.features, extracted.labels, name, extracted.class_names)


def make(name: str, encoder: Encoder, data: Path, features: Path | None) -> ReferencePack:
    """Return the pack of a source under an encoder."""
    task, source = task_of(name, encoder, data, features), SOURCES[name]
    fit, test = split(task.require_labels(), TEST_SHARE, 0)
    return ReferencePack.from_task(
        task.subset(fit),
        task.subset(test),
        tau="scaled",
        covariance="shared",
        rows=ROWS,
        encoder=fingerprint_of(encoder),
        provenance={"data": source.origin, "licence": source.licence, "rows": str(len(task))},
    )


def main() -> None:
    """Make all packs that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--encoder", action="append", default=[])
    parser.add_argument("--out", type=Path, default=PACKS)
    options = parser.parse_args()
    for identifier in options.encoder or [f"packaged:{name}" for name in ENCODERS]:
        encoder = load_encoder(identifier)
        for name, source in SOURCES.items():
            if source.modality == encoder.modality:
                pack = make(name, encoder, options.data, options.features)
                path = pack.save(options.out / re.sub(r"[^\w.-]", "-", encoder.name) / f"{name}.safetensors", compact=True)
                print(f"{encoder.name}, {name}: {path.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
