"""What the layers inside a net put out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

__all__ = ["layer_outputs"]


def layer_outputs(net: nn.Module, names: Sequence[str], *inputs: Tensor | None) -> dict[str, Tensor]:
    """Run a net once and return the outputs of these of its submodules, by name."""
    caught: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[[Any, Any, Any], None]:
        # A layer of a Hugging Face model may return a tuple, its features first.
        return lambda module, inputs, output: caught.__setitem__(
            name, output[0] if isinstance(output, tuple) else output
        )

    hooks = [net.get_submodule(name).register_forward_hook(catch(name)) for name in names]
    try:
        net(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return caught
