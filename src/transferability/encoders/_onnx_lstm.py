"""A rule for LSTM layers, which onnx2torch lacks: networks that read lines of text have them. Imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["register"]

_VERSIONS = (7, 14, 22)
_DIRECTIONS = {"forward": False, "bidirectional": True}


def register() -> None:
    """Teach onnx2torch the operation LSTM, once, unless a newer version of it knows LSTM itself."""
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY, OperationDescription, add_converter

    for version in _VERSIONS:
        if OperationDescription("", "LSTM", version) not in _CONVERTER_REGISTRY:
            add_converter("LSTM", version)(_convert)


class _Lstm(nn.Module):  # type: ignore[misc]
    """The layer with ONNX's order of axes: a sequence (time, n, d) to (time, directions, n, hidden)."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self, sequence: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        n_directions, width = 1 + self.layer.bidirectional, self.layer.hidden_size
        zeros = sequence.new_zeros(n_directions, sequence.shape[1], width)
        rows, (last, last_cell) = self.layer(
            sequence, (zeros if hidden is None else hidden, zeros if cell is None else cell)
        )
        # (time, n, directions · hidden) -> (time, directions, n, hidden)
        return rows.unflatten(2, (n_directions, width)).transpose(1, 2), last, last_cell


def _convert(node: Any, graph: Any) -> Any:
    from onnx2torch.utils.common import OnnxMapping, OperationConverterResult

    given = node.attributes
    direction = given.get("direction", "forward")
    inputs = [*node.input_values, *[""] * (8 - len(node.input_values))]
    unusual = sorted(given.keys() - {"direction", "hidden_size"} - ({"layout"} if given.get("layout") == 0 else set()))
    if direction not in _DIRECTIONS or unusual or inputs[4] or inputs[7]:  # lengths of sequences, peepholes
        message = f"LSTM of direction {direction!r} with {', '.join(unusual) or 'lengths or peepholes'}"
        raise NotImplementedError(message)
    weights, recurrent = (graph.initializers[name].to_torch() for name in inputs[1:3])  # (D, 4H, d), (D, 4H, H)
    hidden_size = recurrent.shape[2]
    bias = graph.initializers[inputs[3]].to_torch() if inputs[3] else torch.zeros(len(weights), 8 * hidden_size)
    layer = nn.LSTM(weights.shape[2], hidden_size, bidirectional=_DIRECTIONS[direction])
    with torch.no_grad():
        for k, suffix in enumerate(("", "_reverse")[: len(weights)]):
            layer.get_parameter(f"weight_ih_l0{suffix}").copy_(_gates(weights[k]))
            layer.get_parameter(f"weight_hh_l0{suffix}").copy_(_gates(recurrent[k]))
            for name, part in zip(("ih", "hh"), bias[k].chunk(2), strict=True):
                layer.get_parameter(f"bias_{name}_l0{suffix}").copy_(_gates(part))
    states = inputs[5:7]
    return OperationConverterResult(
        torch_module=_Lstm(layer),
        onnx_mapping=OnnxMapping(
            inputs=(inputs[0], *states) if any(states) else (inputs[0],), outputs=node.output_values
        ),
    )


def _gates(values: Tensor) -> Tensor:
    """Reorder gates from ONNX's input, output, forget, cell to torch's input, forget, cell, output."""
    i, o, f, c = values.chunk(4)
    return torch.cat([i, f, c, o])
