"""Which axis of a tensor of an ONNX graph counts channels.

Operations on pictures have their channels on axis 1, products of matrices and normalisations of layers on the last
axis; what comes behind them moves or keeps that axis. So the graph itself is asked, from a tensor back to such an
operation, and shapes only where it does not tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["KEEPS_AXES", "channel_axis", "channel_axis_of_shape", "types_of"]

_FIRST = frozenset(
    {"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN"}
    | {"GlobalAveragePool", "GlobalMaxPool", "QLinearConv", "ConvInteger", "DepthToSpace", "SpaceToDepth"}
)
_LAST = frozenset({"MatMul", "Gemm", "LayerNormalization", "SimplifiedLayerNormalization", "MatMulInteger"})
_LAST |= {"QLinearMatMul", "SkipLayerNormalization", "Attention", "MultiHeadAttention"}
KEEPS_AXES = frozenset(
    {
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "Where",
        "Clip",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Elu",
    }
    | {
        "Selu",
        "Celu",
        "Gelu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Swish",
        "Mish",
        "Tanh",
        "Erf",
        "Sqrt",
        "Exp",
        "Softplus",
    }
    | {
        "Neg",
        "Abs",
        "Cast",
        "Identity",
        "Dropout",
        "Pad",
        "MaxPool",
        "AveragePool",
        "LpPool",
        "Resize",
        "Upsample",
        "Slice",
    }
    | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Concat", "Softmax", "LogSoftmax", "Silu"}
)


Move = Callable[[int], int | None]
"""From the axis of a tensor that counts channels to that of what an operation makes of it."""


def channel_axis(graph: Any, tensor: str) -> int | None:
    """Return the axis of a tensor that counts channels, negative from the end, or None if the graph does not tell."""
    made_by = {output: node for node in graph.graph.node for output in node.output if output}
    waiting: list[tuple[str, tuple[Move, ...]]] = [(tensor, ())]
    seen: set[str] = set()
    while waiting:
        name, moves = waiting.pop()  # moves: of the operations behind this tensor, the nearest first
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in _FIRST or node.op_type in _LAST:
            axis: int | None = 1 if node.op_type in _FIRST else -1
            for move in moves:
                axis = None if axis is None else move(axis)
            return axis
        if node.op_type == "Transpose":
            waiting.append((node.input[0], (_transposed(_attribute(node, "perm")), *moves)))
        elif node.op_type == "Reshape":
            waiting.append((node.input[0], (_reshaped(graph, node), *moves)))
        elif node.op_type in KEEPS_AXES or (node.op_type.startswith("Reduce") and _attribute(node, "keepdims") != 0):
            waiting += [(each, moves) for each in reversed(node.input) if each]  # constants lead nowhere
    return None


def _attribute(node: Any, name: str) -> Any:
    import onnx

    return next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == name), None)


def _transposed(order: list[int] | None) -> Move:
    def move(axis: int) -> int | None:
        return order.index(axis % len(order)) if order else None

    return move


def _reshaped(graph: Any, node: Any) -> Move:
    """Find the axis of the same length, if there is one; positions may have been laid together."""

    def move(axis: int) -> int | None:
        shapes = shapes_of(graph)
        before, after = (shapes.get(each, []) for each in (node.input[0], node.output[0]))
        length = before[axis] if before else None
        same = [place for place, size in enumerate(after) if size == length and place > 0]
        return same[0] if len(same) == 1 and isinstance(length, int) and length > 0 else None

    return move


def shapes_of(graph: Any) -> dict[str, list[int | str]]:
    """Return the shapes of all tensors that can be inferred; 0 or a name for a size that is open."""
    return {
        name: [each.dim_param or each.dim_value for each in kind.shape.dim] for name, kind in types_of(graph).items()
    }


_SMALL = 1_000  # values: a shape or axes, which decide shapes; more are weights, of which the shape alone matters


def types_of(graph: Any) -> dict[str, Any]:
    """Return the element type and shape of all tensors of which these can be inferred, as ONNX has them."""
    import onnx

    light = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.opset_import, functions=graph.functions)
    body = light.graph
    body.name = "without weights"  # a graph as large as a protobuf may be could not be copied to infer its shapes
    body.node.extend(graph.graph.node)
    body.input.extend(graph.graph.input)
    body.output.extend(graph.graph.output)
    body.value_info.extend(graph.graph.value_info)
    inputs = {value.name for value in graph.graph.input}
    for tensor in graph.graph.initializer:
        if math.prod(tensor.dims) <= _SMALL and not tensor.external_data:
            body.initializer.append(tensor)
        elif tensor.name not in inputs:
            body.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        inferred = onnx.shape_inference.infer_shapes(light).graph
    except (onnx.shape_inference.InferenceError, ValueError):  # the second: constants among the nodes are as large
        return {}
    return {value.name: value.type.tensor_type for value in (*inferred.input, *inferred.value_info, *inferred.output)}


def channel_axis_of_shape(shape: tuple[int, ...]) -> int | None:
    """Return the axis of (n, c, h, w) or (n, h, w, c) that counts channels if height and width tell by being equal."""
    _, first, second, third = shape
    if (second == third) == (first == second):  # neither pair is equal, or both are
        return None
    return 1 if second == third else 3
