"""Hidden layers of torch networks: which modules they are, what they put out, one row per item of it. Imports torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from transferability._validate import check_choice
from transferability.errors import OptionError

__all__ = ["POOLS", "PositionPool", "caught", "check_pool", "find_layers", "pool_positions", "prefix_of", "returned"]

PositionPool = Literal["mean", "max", "cls"]
POOLS: tuple[str, ...] = get_args(PositionPool)
_SEQUENCES = (nn.Sequential, nn.ModuleList)
_BLOCKS = ("blocks", "layers")  # what timm and transformers call the blocks inside a stage
_HEADS = ("head", "heads", "head_dist", "classifier", "fc", "_fc", "aux1", "aux2", "AuxLogits")


def find_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Return the hidden layers of a network by name, from input to output.

    They are the steps of its sequences that have weights, and modules of one kind beside each other: the blocks of
    transformers and residual networks, the layers of plain ones. A stage that keeps its blocks in a sequence of its
    own is opened; what is inside a block is not, nor what belongs to the head.
    """
    found: dict[str, nn.Module] = {}
    for name, child in network.named_children():
        if name not in _HEADS:
            _collect(child, name, found, step=_is_step(child, network))
    return found


def _collect(module: nn.Module, path: str, found: dict[str, nn.Module], *, step: bool) -> None:
    """Add a module if it is a step, else what is in it."""
    stage = next((each for each in _BLOCKS if _holds_blocks(getattr(module, each, None))), None)
    if step and stage is None:
        if any(True for _ in module.parameters()):
            found[path] = module
        return
    for name, child in module.named_children() if stage is None else [(stage, getattr(module, stage))]:
        _collect(child, f"{path}.{name}", found, step=_is_step(child, module))


def _is_step(child: nn.Module, parent: nn.Module) -> bool:
    """Tell whether a module is a layer itself rather than something that holds layers."""
    leaves = [not any(True for _ in each.children()) for each in child.children()]
    if isinstance(child, _SEQUENCES):
        return 0 < len(leaves) < 5 and all(leaves)  # convolution, normalisation, activation: one layer
    kinds = Counter(type(each) for each in parent.children())
    return isinstance(parent, _SEQUENCES) or (kinds[type(child)] > 1 and bool(leaves))


def _holds_blocks(sequence: Any) -> bool:
    """Tell whether these are the blocks of a stage: all of one kind, and more than single operations."""
    if not isinstance(sequence, _SEQUENCES) or len(sequence) == 0:
        return False
    return len({type(each) for each in sequence}) == 1 and any(True for _ in sequence[0].children())


@contextmanager
def returned(module: nn.Module) -> Iterator[list[Any]]:
    """Collect what a module returns while the network that holds it runs."""
    kept: list[Any] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept.append(output)

    hook = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


@contextmanager
def caught(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect, in the mapping given, what these layers put out while a network runs."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            outputs[name] = output if isinstance(output, Tensor) else output[0]

        return hook

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def check_pool(pool: str | None, choices: Sequence[str] = POOLS) -> PositionPool | None:
    """Return a pooling that is one of the choices, or None for the encoder's own."""
    return None if pool is None else cast(PositionPool, check_choice(pool, choices, "pool"))


def pool_positions(
    values: Tensor, pool: PositionPool, *, n_prefix: int = 0, channels_last: bool | None = None
) -> Tensor:
    """Return one row per item of what a layer put out.

    Parameters
    ----------
    values : Tensor of shape (n, width), (n, positions, width), (n, width, h, w), or (n, h, w, width)
    pool : {"mean", "max", "cls"}
        Mean or maximum over the positions behind the prefix; or the first position, the class token.
    n_prefix : int
        Class and register tokens in front of the positions, in the layers that have them.
    channels_last : bool, optional
        How four dimensions are to be read; by default the two that are equal are height and width.

    Raises
    ------
    OptionError
        If the class token is asked for where there is none.
    """
    if values.ndim == 2:
        return values
    if values.ndim == 4:
        if channels_last is None:
            channels_last = values.shape[1] == values.shape[2] != values.shape[3]
        # (n, h, w, c) or (n, c, h, w) -> (n, h w, c)
        values, n_prefix = values.flatten(1, 2) if channels_last else values.flatten(2).transpose(1, 2), 0
    if pool == "cls" and n_prefix == 0:
        message = "`pool` must be 'mean' or 'max' for a layer that has no class token; got 'cls'."
        raise OptionError(message)
    if pool == "cls":
        return values[:, 0]
    values = values[:, n_prefix:]
    return values.amax(1) if pool == "max" else values.mean(1)  # (n, positions, c) -> (n, c)


def prefix_of(values: Tensor, n_prefix: int) -> int:
    """Return how many of a hidden layer's positions are class and register tokens; some networks add them late.

    They are not there yet if the positions fill a square without them.
    """
    if values.ndim != 3 or (_is_square(values.shape[1]) and not _is_square(values.shape[1] - n_prefix)):
        return 0
    return n_prefix


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
