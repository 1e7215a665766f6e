"""What a tensor of torch holds, as plain dense tensors: also of a sparse, quantised or nested one. Imports torch."""

from __future__ import annotations

import torch

__all__ = ["is_plain", "parts", "raw"]

_ROWS_FIRST = (torch.sparse_csr, torch.sparse_bsr)
_COLUMNS_FIRST = (torch.sparse_csc, torch.sparse_bsc)


def is_plain(tensor: torch.Tensor) -> bool:
    """Tell whether the values of a tensor, in order, are all that it holds."""
    return tensor.layout is torch.strided and not tensor.is_nested and not tensor.is_quantized


def parts(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Return plain tensors that, with layout, type and shape, decide all values of one that is not plain.

    Tensors that are equal have equal parts in whatever order they were given their entries, and with indices of
    whatever size.
    """
    if tensor.layout is torch.sparse_coo:
        summed = tensor.coalesce()
        return [summed.indices(), summed.values()]
    if tensor.layout in _ROWS_FIRST:
        return [tensor.crow_indices().long(), tensor.col_indices().long(), tensor.values()]
    if tensor.layout in _COLUMNS_FIRST:
        return [tensor.ccol_indices().long(), tensor.row_indices().long(), tensor.values()]
    if tensor.is_nested:
        return list(tensor.unbind())
    if tensor.is_quantized:
        of_channels = tensor.qscheme() not in (torch.per_tensor_affine, torch.per_tensor_symmetric)
        scales = (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()) if of_channels else ()
        return [tensor.int_repr(), *(scales or map(torch.tensor, (tensor.q_scale(), tensor.q_zero_point())))]
    return [tensor.to_dense()]  # of oneDNN


def raw(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a plain tensor of the CPU."""
    values = tensor.resolve_conj().resolve_neg().reshape(-1)
    if values.stride(0) != 1:  # a single value may have any stride, and "contiguous" leaves it
        values = values.clone(memory_format=torch.contiguous_format)
    return memoryview(values.view(torch.uint8).numpy())
