"""Pictures through ONNX Runtime: `onnx:FILE`, `onnx:FILE#OUTPUT`."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from transferability._identifiers import split_fragment
from transferability.encoders._onnx import count_weights, file_hashes, open_session, read_graph
from transferability.encoders._onnx_blocks import append_means, block_tensors
from transferability.encoders._onnx_layout import channel_axis, channel_axis_of_shape
from transferability.encoders.base import (
    FEATURES,
    Encoder,
    Identity,
    Item,
    Modality,
    Outputs,
    Preprocess,
    TrainableEncoder,
)
from transferability.encoders.family import Family
from transferability.encoders.image_input import PictureInput, PixelType
from transferability.errors import EncoderError, require_extra

__all__ = ["FAMILY", "OnnxPictureEncoder", "Pooling", "load", "search", "trainable"]

FAMILY = Family(
    "onnx:FILE[#OUTPUT]", "ONNX Runtime, pictures; any tensor of the graph", ("image",), "onnxruntime", "onnx"
)


def trainable(_spec: str) -> bool:
    """Tell whether graphs can be turned into torch networks here."""
    return find_spec("onnx2torch") is not None


def search(pattern: str) -> list[str]:
    """Return the files that match."""
    return sorted(glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207 - the pattern may be absolute


Pooling = Literal["mean", "first position", "time first"]


def load(spec: str, *, device: str | None) -> Encoder:
    """Return a picture encoder from an ONNX file.

    Parameters
    ----------
    spec : str
        `FILE`, or `FILE#OUTPUT` where OUTPUT is any tensor of the graph: for a classifier, name what enters its last
        layer. Without it, the graph's first output.
    device : {"cpu", "cuda"} or None
        None takes CUDA where this ONNX Runtime has it.

    Raises
    ------
    EncoderError
        If the file is no ONNX graph with one input of pictures, or has no such tensor.

    Notes
    -----
    Layout, number of channels and size are the graph's; a size that it leaves open is 224. Pixels are normalised with
    ImageNet's mean and deviation unless the graph's metadata say otherwise: `mean` and `std`, JSON lists with one
    number per channel for pixels in 0..1. Grey inputs get pixels in 0..1 as they are.

    The input's type decides what it gets: floating pixels normalised as above, or uint8 pixels as they are.

    An output (n, c, h, w) or (n, h, w, c) is averaged over h and w, (n, positions, d) over the positions; which axis
    counts channels is found in the graph. Hidden layers are the blocks of the network, averaged in the same way. A
    block ends at a tensor through which every path from the picture to the features passes, the last one before the
    next convolution, matrix product or recurrence.
    """
    name = f"onnx:{spec}"
    path, output = split_fragment(spec)
    graph = read_graph(path, name)
    return OnnxPictureEncoder(name, graph, path, output, _picture_input(graph, name), "mean", device)


class OnnxPictureEncoder:
    """A graph with one input of pictures.

    Parameters
    ----------
    name : str
        What the user wrote.
    graph : onnx.ModelProto
        The model.
    path : Path
        Where it came from, for the identity.
    output : str
        Tensor that holds the features; "" for the graph's first output.
    picture : PictureInput
        How pictures are fed.
    pooling : {"mean", "first position", "time first"}
        From the tensor to one row per picture: the mean over height and width of (n, c, h, w) or over positions of
        (n, positions, d); the first position; or the mean over the first axis of (time, n, d).
    device : str or None
        "cpu", "cuda", or the best there is.
    """

    modality: Modality = "image"

    def __init__(
        self,
        name: str,
        graph: Any,
        path: Path,
        output: str,
        picture: PictureInput,
        pooling: Pooling,
        device: str | None,
    ) -> None:
        self.name = name
        self.n_parameters = count_weights(graph)
        self._output = output or graph.graph.output[0].name
        self._hashes = file_hashes(graph, path, name)
        self._blocks = block_tensors(graph, self._output)
        self.outputs = (FEATURES, *self._blocks)
        self._channels = channel_axis(graph, self._output) if pooling == "mean" else None
        self.pooling = f"{pooling}; hidden layers: mean"
        self.source_class_names: tuple[str, ...] | None = None
        self.preprocess: Preprocess | None = picture.one
        self._path = path
        self._device = device
        self._session = open_session(graph, path, [self._output], name, device)
        self._input = self._session.get_inputs()[0]
        self._batch = _batch_size(graph, self._input)
        self._picture = picture
        self._pooling: Pooling = pooling

    def identity(self) -> Identity:
        """Return the hash of the files, the output, preprocessing, pooling, version and provider."""
        return {
            "source": self.name,
            "weights": self._hashes,
            "output": self._output,
            "preprocessing": self._picture.identity(),
            "pooling": self._pooling,
            "versions": {package: version(package) for package in ("onnxruntime", "pillow")},
            "device": self._session.get_providers()[0],
        }

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of pictures."""
        return self.forward([self._picture.one(item) for item in items], [FEATURES])[FEATURES]

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch, in batches of the graph's own where it fixes their size."""
        size = self._batch or len(batch)
        parts = [self._run(list(outputs), batch[start : start + size], size) for start in range(0, len(batch), size)]
        return {name: np.concatenate(rows) for name, rows in zip(outputs, zip(*parts, strict=True), strict=True)}

    def trainable(self) -> TrainableEncoder:
        """Return the same encoder in torch, with weights of its own that can be trained.

        Raises
        ------
        EncoderError
            If the graph is quantised, has an operation that cannot be converted, or does not compute the same in torch.
        MissingExtraError
            If torch or onnx2torch is not installed.
        """
        require_extra("torch", "torch", f"fine-tuning of encoder {self.name!r}")
        import onnx

        from transferability.encoders._onnx_torch import check_same, pool_rows, to_torch, trainable_network

        graph = read_graph(self._path, self.name)
        onnx.load_external_data_for_model(graph, str(self._path.parent))
        height, width = self._picture.size
        channels = 1 if self._picture.channels == "L" else 3
        size = (channels, height, width) if self._picture.layout == "NCHW" else (height, width, channels)
        module = to_torch(graph, self._output, size, self.name)
        rows_of = partial(pool_rows, pooling=self._pooling, axis=self._channels)
        network = trainable_network(module, self.name, self._picture, rows_of, self._device)
        check_same(network, self.encode)
        return network

    @cached_property
    def _session_with_layers(self) -> tuple[Any, dict[str, str]]:
        """A session that can give every layer, and its names of them; one that cannot may fuse them, and is faster."""
        graph = read_graph(self._path, self.name)
        means = append_means(graph, self._blocks)
        tensors = [self._output, *means.values()]
        return open_session(graph, self._path, tensors, self.name, self._device), means

    def _run(self, outputs: list[str], pictures: Sequence[Any], size: int) -> list[npt.NDArray[np.float32]]:
        batch = np.ascontiguousarray(np.stack(pictures))
        if len(batch) < size:  # the graph takes full batches only
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)])
        session, means = (self._session, {}) if outputs == [FEATURES] else self._session_with_layers
        tensors = [means.get(name, self._output) for name in outputs]
        found = dict(zip(outputs, session.run(tensors, {self._input.name: batch}), strict=True))
        if FEATURES in found:
            found[FEATURES] = _pool(found[FEATURES], self._pooling, self._channels, self.name)
        return [found[name][: len(pictures)].astype(np.float32) for name in outputs]


def _batch_size(graph: Any, value: Any) -> int | None:
    """Return how many pictures go in at once, None for any number.

    A graph that quantises its activations as it runs takes their range over the whole batch: a row would depend on the
    other rows. It gets one at a time.
    """
    if any(node.op_type == "DynamicQuantizeLinear" for node in graph.graph.node):
        return 1
    return value.shape[0] if isinstance(value.shape[0], int) and value.shape[0] > 0 else None


def _picture_input(graph: Any, name: str) -> PictureInput:
    constants = {tensor.name for tensor in graph.graph.initializer}  # old exporters list weights among the inputs
    inputs = [value for value in graph.graph.input if value.name not in constants]
    shape = [dimension.dim_value for dimension in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(shape) != 4:
        message = f"encoder {name!r} must have one input of pictures, (n, c, h, w) or (n, h, w, c); it has "
        message += f"{', '.join(value.name for value in inputs) or 'none'}, the first of {len(shape)} dimensions."
        raise EncoderError(message)
    last = shape[3] in (1, 3) and shape[1] not in (1, 3)
    channels = shape[3] if last else shape[1]
    if channels not in (0, 1, 3):  # 0: left open
        message = f"encoder {name!r} must take pictures of 3 channels, or of 1 in grey; its input has shape "
        raise EncoderError(message + f"({', '.join(map(_said, _dimensions(inputs[0])))}).")
    height, width = shape[1:3] if last else shape[2:4]
    picture = PictureInput((height or 224, width or 224), layout="NHWC" if last else "NCHW")
    if channels == 1:
        picture = replace(picture, channels="L", mean=0.0, std=1.0)
    picture = replace(picture, dtype=_pixel_type(inputs[0], name))
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    if picture.dtype == "uint8" and metadata.keys() & {"mean", "std"}:
        message = f"encoder {name!r} takes pixels as they are, uint8, and its metadata say `mean` or `std` for them. "
        raise EncoderError(message + "Remove these, or export it with a floating input.")
    try:
        given = {key: tuple(map(float, json.loads(metadata[key]))) for key in ("mean", "std") if key in metadata}
        return replace(picture, **given)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        message = f"encoder {name!r}: `mean` and `std` in its metadata must be JSON lists of numbers; got "
        message += f"{metadata.get('mean')!r} and {metadata.get('std')!r}."
        raise EncoderError(message) from error


def _pixel_type(value: Any, name: str) -> PixelType:
    """Return the type of the pixels that an input takes."""
    import onnx

    kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    kind = {"float": "float32", "double": "float64"}.get(kind, kind)
    if kind in get_args(PixelType):
        return cast(PixelType, kind)
    message = f"encoder {name!r} must take pixels of {', '.join(get_args(PixelType))}; its input is {kind}. "
    raise EncoderError(message + "Export it with one of these.")


def _said(size: int | str) -> str:
    return str(size or "?")


def _dimensions(value: Any) -> list[int | str]:
    return [each.dim_param or each.dim_value for each in value.type.tensor_type.shape.dim]


def _pool(values: npt.NDArray[Any], pooling: Pooling, axis: int | None, name: str) -> npt.NDArray[Any]:
    """Return one row per picture; `axis` counts the channels where the graph tells."""
    values = values.astype(np.float32, copy=False)  # a mean of float16 loses digits
    if pooling == "first position":
        values = values[:, 0]  # (n, positions, d) -> (n, d)
    elif pooling == "time first":
        values = np.mean(values, axis=0)  # (time, n, d) -> (n, d)
    elif values.ndim in (3, 4):
        axis = axis if axis is not None or values.ndim == 3 else channel_axis_of_shape(values.shape)
        if values.ndim == 4 and axis is None:
            message = f"encoder {name!r} gives {values.shape[1:]} for a picture, and which of these counts channels "
            raise EncoderError(message + "cannot be told. Name another tensor: #NAME.")
        values = np.moveaxis(values, -1 if axis is None else axis, -1)  # (n, …, c)
        values = values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)  # (n, positions, c) -> (n, c)
    if values.ndim != 2:
        message = f"encoder {name!r} must give 2 to 4 dimensions; got shape {values.shape}. Name another tensor: #NAME."
        raise EncoderError(message)
    return values
