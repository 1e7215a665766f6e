"""Good data files of every kind that is read, as bytes: what `fuzz_data.py` damages."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Callable

import numpy as np

__all__ = ["FEATURES", "GOOD", "LABELS", "PIXELS"]

Seed = Callable[[np.random.Generator], bytes]
FEATURES = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
LABELS = np.arange(12) % 3
PIXELS = np.arange(12 * 16).astype(np.uint8).reshape(12, 4, 4)


def csv_file(rng: np.random.Generator) -> bytes:
    """Texts with quotes and line breaks, labels that look like numbers."""
    stream = io.StringIO()
    mark = rng.choice([",", ";", "\t"])
    writer = csv.writer(stream, delimiter=str(mark), lineterminator=str(rng.choice(["\n", "\r\n"])))
    writer.writerow(["text", "label", "n"])
    for row in range(12):
        text = ["good film", 'so "so", really', "zwei\nZeilen", "été ☹", "."][int(rng.integers(5))]
        writer.writerow([text, ["a", "b", "01", "1"][row % 4], row])
    return stream.getvalue().encode()


def conll_file(rng: np.random.Generator) -> bytes:
    """Sentences of three words with tags."""
    mark = rng.choice([" ", "\t"])
    lines = ["-DOCSTART- -X-", ""]
    for _ in range(4):
        lines += [f"{word}{mark}X{mark}{tag}" for word, tag in (("Anna", "B-PER"), ("schläft", "O"), (".", "O"))] + [""]
    return "\n".join(lines).encode()


def parquet_file(_: np.random.Generator) -> bytes:
    """Texts, labels and splits, with checksums of the pages."""
    import pyarrow as pa
    from pyarrow import parquet

    stream = io.BytesIO()
    columns = {"text": [f"t{row}" for row in range(12)], "label": LABELS.tolist(), "split": ["train", "test"] * 6}
    parquet.write_table(pa.table(columns), stream, write_page_checksum=True, compression="zstd")
    return stream.getvalue()


def jsonl_file(_: np.random.Generator) -> bytes:
    """One record a line."""
    return "".join(json.dumps({"text": f"t{row}", "label": int(LABELS[row])}) + "\n" for row in range(12)).encode()


def npz_file(rng: np.random.Generator) -> bytes:
    """Pictures that all differ, labels and names."""
    stream = io.BytesIO()
    save = np.savez if rng.random() < 0.5 else np.savez_compressed
    save(stream, images=PIXELS, labels=LABELS, class_names=["a", "b", "c"])
    return stream.getvalue()


def features_npz(rng: np.random.Generator) -> bytes:
    """Features, labels and ids, in any compression."""
    stream = io.BytesIO()
    kind = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2][int(rng.integers(4))]
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, array in (("features", FEATURES), ("labels", LABELS), ("ids", np.arange(12).astype(str))):
            member = io.BytesIO()
            np.lib.format.write_array(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
    return stream.getvalue()


def features_safetensors(_: np.random.Generator) -> bytes:
    """Write the same with the library."""
    from transferability.features import write_features

    with tempfile.TemporaryDirectory() as folder:
        path = write_features(
            f"{folder}/f.safetensors", FEATURES, LABELS, ["a", "b", "c"], [str(row) for row in range(12)]
        )
        return path.read_bytes()


def picture_file(rng: np.random.Generator) -> bytes:
    """Return a picture of any usual format and mode."""
    from PIL import Image

    kind = ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"][int(rng.integers(6))]
    mode = {"JPEG": ["RGB", "L", "CMYK"], "BMP": ["RGB", "L", "1"], "WEBP": ["RGB", "RGBA"]}.get(
        kind, ["RGB", "L", "P", "1"]
    )
    picture = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).convert(str(rng.choice(mode)))
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


GOOD: dict[str, tuple[Seed, str, str]] = {  # kind -> how a good file is made, its name, its identifier
    "csv": (csv_file, "t.csv", "csv:{path}"),
    "conll": (conll_file, "t.conll", "conll:{path}"),
    "parquet": (parquet_file, "t.parquet", "parquet:{path}"),
    "jsonl": (jsonl_file, "t.jsonl", "hf:{path}"),
    "npz": (npz_file, "t.npz", "npz:{path}"),
    "features-npz": (features_npz, "t.npz", "features:{path}"),
    "features-safetensors": (features_safetensors, "t.safetensors", "features:{path}"),
    "pictures": (picture_file, "t.png", "folder:{folder}"),
}
