"""The blocks of a network, read from its ONNX graph, and their outputs averaged within the graph.

A tensor is a *cut* of the graph if every path from the picture to the features passes through it: the sums that end
residual blocks are cuts, and every operation of a plain network; what lies within a branch is not. A block ends at the
last cut before the next operation with weights (convolution, matrix product, recurrence), so that a convolution, its
normalisation, its activation and its pooling are one block. Names play no part, so every exporter is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from transferability.encoders._onnx_layout import KEEPS_AXES, channel_axis, types_of

__all__ = ["append_means", "block_tensors"]

_WEIGHTED = frozenset(
    {"Attention", "Conv", "ConvInteger", "ConvTranspose", "GRU", "Gemm", "LSTM", "MatMul", "MatMulInteger"}
    | {"MultiHeadAttention", "QLinearConv", "QLinearMatMul", "RNN"}
)
_SIZES = frozenset({"Shape", "Size"})  # what comes of them says how large the picture is, and nothing of what it shows


def block_tensors(graph: Any, output: str) -> dict[str, int]:
    """Return the tensors that end the blocks of a graph, in the order of computation, and their channels' axes.

    Those that can be averaged to one row per picture: floating, of two to four dimensions, the first of which counts
    pictures. `output`, the tensor of the features, is not among them. Nothing if shapes cannot be inferred.
    """
    import onnx

    types = types_of(graph)
    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}

    def axis_of_channels(tensor: str) -> int | None:
        """Return it, or None where no row per picture can be made."""
        rank = len(types[tensor].shape.dim) if tensor in types and types[tensor].elem_type in floating else 0
        axis = channel_axis(graph, tensor) if rank in (3, 4) else None
        return -1 if rank == 2 or (rank == 3 and axis is None) else axis

    found: dict[str, int] = {}
    last: tuple[str, int] | None = None
    begun = False
    for node, cut in _walk(graph, output):
        if node.op_type in _WEIGHTED:
            if begun and last is not None:
                found[last[0]] = last[1]
            last, begun = None, True
        if cut is not None and cut != output:
            axis = axis_of_channels(cut)
            last = last if axis is None else (cut, axis)
    return found


def _walk(graph: Any, output: str) -> Iterator[tuple[Any, str | None]]:
    """Yield the nodes between picture and features in order, with the cut that each ends, if it counts pictures first.

    Cuts do not depend on which of the possible orders of computation the file has: after a cut nothing that was
    computed before it is used again but the cut itself.
    """
    nodes = _between(graph, output)
    uses: dict[str, int] = {}
    for _, inputs in nodes:
        for tensor in inputs:
            uses[tensor] = uses.get(tensor, 0) + 1
    pictures = dict.fromkeys(_sources(graph), 0)  # the axis that counts them
    waiting = {tensor for tensor in pictures if tensor in uses}
    for node, inputs in nodes:
        for tensor in inputs:
            uses[tensor] -= 1
        axes = {_moved(node, pictures[tensor]) for tensor in inputs if tensor in pictures} - {None}
        made = [tensor for tensor in node.output if uses.get(tensor) or tensor == output]
        if len(axes) == 1:
            pictures |= dict.fromkeys(made, axes.pop())
        waiting = {tensor for tensor in waiting if uses[tensor]} | set(made)
        cut = [tensor for tensor in made if waiting == {tensor} and pictures.get(tensor) == 0]
        yield node, cut[0] if cut else None


def _sources(graph: Any) -> list[str]:
    """Return the inputs of a graph that are no weights."""
    constants = {tensor.name for tensor in graph.graph.initializer}
    return [value.name for value in graph.graph.input if value.name not in constants]


def _between(graph: Any, output: str) -> list[tuple[Any, list[str]]]:
    """Return the nodes on paths from the inputs to a tensor, in order, each with its inputs on such paths."""
    reached = set(_sources(graph))
    ahead = []
    for node in graph.graph.node:
        inputs = [tensor for tensor in dict.fromkeys(_inputs(node)) if tensor in reached]
        if inputs and node.op_type not in _SIZES:
            reached |= set(node.output)
            ahead.append((node, inputs))
    wanted, behind = {output}, []
    for node, inputs in reversed(ahead):
        if wanted & set(node.output):
            wanted |= set(inputs)
            behind.append((node, inputs))
    return behind[::-1]


def _inputs(node: Any) -> Iterator[str]:
    """Yield what a node reads, the graphs inside it included."""
    import onnx

    yield from (tensor for tensor in node.input if tensor)
    for attribute in node.attribute:
        inner = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for graph in inner:
            for each in graph.node:
                yield from _inputs(each)


def _moved(node: Any, axis: int) -> int | None:
    """Return where an operation takes the axis that counts pictures; the first stays first unless it is transposed."""
    import onnx

    if node.op_type == "Transpose":
        order = next((onnx.helper.get_attribute_value(each) for each in node.attribute if each.name == "perm"), None)
        return order.index(axis) if order else None
    return axis if axis == 0 or node.op_type in KEEPS_AXES else None


def append_means(graph: Any, blocks: Mapping[str, int]) -> dict[str, str]:
    """Add to a graph the means of its blocks over all axes but those of pictures and channels; name them by block.

    The graph then returns rows (n, c) in place of whole maps, which for a batch may fill gigabytes.
    """
    import onnx

    helper = onnx.helper
    opset = next((each.version for each in graph.opset_import if each.domain in ("", "ai.onnx")), 1)
    types = types_of(graph)
    names = {}
    for tensor, channels in blocks.items():
        rank, name = len(types[tensor].shape.dim), f"{tensor}/mean"
        axes = [axis for axis in range(1, rank) if axis != channels % rank]
        whole = f"{tensor}/float" if axes else name  # a mean of float16 loses digits
        graph.graph.node.append(helper.make_node("Cast", [tensor], [whole], to=onnx.TensorProto.FLOAT))
        if axes and opset >= 18:  # since then axes are an input
            graph.graph.initializer.append(
                helper.make_tensor(f"{tensor}/axes", onnx.TensorProto.INT64, [len(axes)], axes)
            )
            graph.graph.node.append(helper.make_node("ReduceMean", [whole, f"{tensor}/axes"], [name], keepdims=0))
        elif axes:
            graph.graph.node.append(helper.make_node("ReduceMean", [whole], [name], axes=axes, keepdims=0))
        names[tensor] = name
    return names
