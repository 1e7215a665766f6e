"""ONNX graphs as torch modules, for training: made plain, converted by onnx2torch, compared. Imports torch.

The converter has no rule for weights that pass through `Identity`, nor for padding of the kind "same": both are
resolved before. What it returns keeps weights of products and sums as buffers; here they become parameters.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferability.encoders._onnx_layout import channel_axis_of_shape
from transferability.encoders._onnx_lstm import register
from transferability.encoders._torch import count_parameters, versions
from transferability.encoders.image_input import PictureInput
from transferability.encoders.networks import PictureNetwork
from transferability.errors import EncoderError, one_line, require_extra

__all__ = ["check_same", "pool_rows", "to_torch", "trainable_network"]

_QUANTISED = ("Quantize", "QLinear", "MatMulInteger", "ConvInteger", "DequantizeLinear")
_NOT_WEIGHTS = frozenset({"Clip", "Pad", "Range", "Resize", "Reshape", "Slice", "Tile", "Upsample"})
_SAME = (b"SAME_UPPER", b"SAME_LOWER")
_TOLERANCE = 1e-3  # of the largest feature; packaged encoders differ by less than 1e-5
_TOLERANCE_16 = 2e-2  # of graphs that compute in float16


def to_torch(model: Any, output: str, size: tuple[int, ...], name: str) -> nn.Module:
    """Return a torch module that computes one tensor of a graph from a batch of pictures.

    Parameters
    ----------
    model : onnx.ModelProto
        With its weights; it is changed.
    output : str
        The tensor.
    size : tuple of int
        Of one picture, in the order of the graph's input.
    name : str
        The encoder's, for messages.

    Raises
    ------
    EncoderError
        If the graph is quantised, or has an operation that onnx2torch cannot convert.
    MissingExtraError
        If onnx2torch is not installed.
    """
    with _quiet():
        library = require_extra("onnx2torch", "onnx-finetune", f"fine-tuning of encoder {name!r}")
        register()
    _cut(model.graph, output)
    quantised = sorted({n.op_type for n in model.graph.node if any(kind in n.op_type for kind in _QUANTISED)})
    if quantised:
        message = (
            f"encoder {name!r} cannot be fine-tuned: its graph is quantised ({', '.join(quantised)}), and integers "
        )
        message += "have no gradients. Take the graph before quantisation, or method 'probe' of `validate`."
        raise EncoderError(message)
    _set_size(model.graph, size)
    _resolve_constants(model.graph)
    _resolve_padding(model)
    try:
        with _quiet():
            module: nn.Module = library.convert(model)
    except Exception as error:  # the converter has no errors of its own: NotImplementedError, KeyError, …
        message = f"encoder {name!r} cannot be fine-tuned: onnx2torch cannot convert its graph ({one_line(error)}). "
        message += "Export it with other operations, or take method 'probe' of `validate`."
        raise EncoderError(message) from error
    _make_trainable(module)
    return module


def pool_rows(values: Tensor, pooling: str, axis: int | None) -> Tensor:
    """Return one row per picture, as the ONNX encoder makes it of the same tensor; see `OnnxPictureEncoder`."""
    if pooling == "first position":
        return values[:, 0]  # (n, positions, d) -> (n, d)
    if pooling == "time first":
        return values.mean(0)  # (time, n, d) -> (n, d)
    if values.ndim in (3, 4):
        axis = axis if axis is not None or values.ndim == 3 else channel_axis_of_shape(tuple(values.shape))
        return values.movedim(-1 if axis is None else axis, -1).flatten(1, -2).mean(1)  # (n, …, c) -> (n, c)
    return values


def trainable_network(
    module: nn.Module,
    name: str,
    picture: PictureInput,
    rows_of: Callable[[Tensor], Tensor],
    device: str | None,
) -> PictureNetwork:
    """Return a converted graph as a torch encoder of the same pictures; `rows_of` pools what the module returns."""

    def compute(batch: Tensor, _probabilities: bool) -> tuple[Tensor, Tensor | None]:
        with _quiet():
            return rows_of(module(batch if batch.dtype == torch.uint8 else batch.float()).float()), None

    return PictureNetwork(
        name,
        module,
        compute,
        picture.one,
        {"source": name, "preprocessing": picture.identity(), "versions": versions("onnx2torch", "pillow")},
        device,
        n_parameters=count_parameters(module),
        pooling="as the ONNX graph",
    )


def check_same(network: PictureNetwork, encode: Callable[[Any], npt.NDArray[np.float32]]) -> None:
    """Refuse a network that does not give the features that ONNX Runtime gives, whatever the size of the batch.

    Raises
    ------
    EncoderError
        If the network fails, shapes differ, or a value by more than a thousandth of the largest.
    """
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(each).resize((96, 80)) for each in noise]  # smooth: more like a picture
    wanted = encode(pictures)
    prepared = np.asarray(pictures[0]) if network.preprocess is None else network.preprocess(pictures[0])
    tolerance = _TOLERANCE_16 if prepared.dtype == np.float16 else _TOLERANCE
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # its rounding would pass for a difference
            got = network.encode(pictures)
        same = got.shape == wanted.shape and np.abs(got - wanted).max() <= tolerance * np.abs(wanted).max()
        reason = "other features than ONNX Runtime gives"
    except Exception as error:  # noqa: BLE001 - of whatever operation
        same, reason = False, one_line(error)
    if not same:
        message = (
            f"encoder {network.name!r} cannot be fine-tuned: its graph, converted to torch, does not compute what "
        )
        raise EncoderError(message + f"the graph does ({reason}). Take method 'probe' of `validate`.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the converter's use of deprecated indexing to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _cut(graph: Any, output: str) -> None:
    """Leave only what leads to one tensor, and make it the graph's output."""
    import onnx

    made_by = {tensor: node for node in graph.node for tensor in node.output if tensor}
    needed, waiting = set[str](), [output]
    while waiting:
        tensor = waiting.pop()
        if tensor in needed:
            continue
        needed.add(tensor)
        if tensor in made_by:
            waiting += [each for each in made_by[tensor].input if each]
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    weights = [each for each in graph.initializer if each.name in needed]
    inputs = [each for each in graph.input if each.name in needed and each.name not in {w.name for w in weights}]
    known = next((each for each in (*graph.output, *graph.value_info) if each.name == output), None)
    value = onnx.helper.make_empty_tensor_value_info(output) if known is None else known
    kept = [each for each in graph.value_info if each.name in needed and each.name != output]
    for field, content in (("node", nodes), ("initializer", weights), ("input", inputs), ("output", [value])):
        _replace(graph, field, content)
    _replace(graph, "value_info", kept)


def _replace(graph: Any, field: str, content: Sequence[Any]) -> None:
    copies = [type(each).FromString(each.SerializeToString()) for each in content]
    del getattr(graph, field)[:]
    getattr(graph, field).extend(copies)


def _set_size(graph: Any, size: tuple[int, ...]) -> None:
    """Fix the size of pictures, which padding depends on, and leave that of the batch open."""
    for dimension, length in zip(graph.input[0].type.tensor_type.shape.dim, ("batch", *size), strict=True):
        if isinstance(length, str):
            dimension.dim_param = length
        else:
            dimension.dim_value = length
    del graph.value_info[:]  # they may speak of another size


def _resolve_constants(graph: Any) -> None:
    """Turn `Constant` into initialisers, and leave out `Identity`."""
    import onnx

    same: dict[str, str] = {}
    nodes = []
    outputs = {each.name for each in graph.output}
    for node in graph.node:
        inputs = [same.get(each, each) for each in node.input]
        del node.input[:]
        node.input.extend(inputs)
        if node.op_type == "Identity" and node.output[0] not in outputs:
            same[node.output[0]] = inputs[0]
        elif node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = onnx.TensorProto.FromString(node.attribute[0].t.SerializeToString())
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            nodes.append(node)
    _replace(graph, "node", nodes)


def _resolve_padding(model: Any) -> None:
    """Write padding of the kind "same" as numbers."""
    import onnx

    relative = [node for node in model.graph.node if _attribute(node, "auto_pad", b"") in _SAME]
    if not relative:
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [each.dim_value for each in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    for node in relative:
        kernel = _attribute(node, "kernel_shape", None) or weights.get(node.input[1], [])[2:]
        strides = _attribute(node, "strides", None) or [1] * len(kernel)
        dilations = _attribute(node, "dilations", None) or [1] * len(kernel)
        lengths = shapes.get(node.input[0], [])[2:] or [0] * len(kernel)
        if any(length == 0 and stride > 1 for length, stride in zip(lengths, strides, strict=True)):
            continue  # not known: the converter refuses
        total = [_same(*each) for each in zip(lengths, kernel, strides, dilations, strict=True)]
        upper = _attribute(node, "auto_pad", b"") == b"SAME_UPPER"
        small, large = [each // 2 for each in total], [each - each // 2 for each in total]
        kept = [each for each in node.attribute if each.name not in ("auto_pad", "pads")]
        pads = onnx.helper.make_attribute("pads", [*small, *large] if upper else [*large, *small])
        _replace(node, "attribute", [*kept, pads])


def _same(length: int, kernel: int, stride: int, dilation: int) -> int:
    """Return how much padding makes `length / stride`, rounded up, of `length`; with stride 1 of any length."""
    return max((math.ceil(length / stride) - 1) * stride + (kernel - 1) * dilation + 1 - length, 0)


def _attribute(node: Any, name: str, default: Any) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)


def _make_trainable(module: nn.Module) -> None:
    """Turn the weights of products and sums into parameters; single numbers, sizes and scales stay what they are."""
    holder = getattr(module, "initializers", None)
    if holder is None:  # every weight is one of a layer already
        return
    fed = {
        str(used.target).removeprefix("initializers."): user
        for used in module.graph.nodes
        if used.op == "get_attr"
        for user in used.users
    }
    for name, values in list(holder.named_buffers(recurse=False)):
        kind = type(module.get_submodule(fed[name].target)).__name__ if name in fed else ""
        if values.is_floating_point() and values.numel() > 1 and not any(each in kind for each in _NOT_WEIGHTS):
            del holder._buffers[name]
            holder.register_parameter(name, nn.Parameter(values.clone()))
