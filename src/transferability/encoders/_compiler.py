"""Blocks of a network compiled by `torch.compile`, while it encodes. Imports torch.

Each block (what `find_layers` finds: the blocks of transformers and residual networks, the layers of plain ones) is
compiled by itself, and what is around the blocks runs as it is. So hooks at the borders of blocks, hidden layers among
them, see what they see without it: in a network that is compiled as a whole, a hook that is registered later is
ignored without a word. Whatever outputs are asked for, a block is compiled once, and blocks of one kind share that.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from transferability.errors import one_line, passes_through

__all__ = ["BACKEND", "Compiler", "compiled_or_not", "compiler_of", "device_kind"]

BACKEND = "inductor"
_log = logging.getLogger(__name__)
_KINDS = 256  # of blocks with code of their own in common: torch compiles 8 by itself, and leaves the rest as they are


def compiler_of(
    name: str, blocks: Mapping[str, nn.Module], device: torch.device, *, texts: bool = False
) -> Compiler | None:
    """Return what compiles the blocks of an encoder, or say once why that cannot be had here and return None.

    Parameters
    ----------
    name : str
        Of the encoder, for what is said.
    blocks : mapping of str to nn.Module
        None of them within another.
    device : torch.device
    texts : bool, default=False
        Whether the second dimension of what blocks take is the length of a text.
    """
    # A single operation gains nothing, and a module may have several names.
    compound = {id(block): block for block in blocks.values() if any(True for _ in block.children())}
    if not compound:
        _log.warning("encoder %r is not compiled: it has no blocks of several operations. Leave `compile` out.", name)
        return None
    reason = _obstacle(device.type, BACKEND)
    if reason is None:
        return Compiler(name, tuple(compound.values()), texts=texts)
    if reason:
        _log.warning(_NOT_HERE, reason)
    return None


_NOT_HERE = (
    "encoders are not compiled: torch.compile does not work here (%s). On a CPU it needs a C++ compiler (install g++, "
    "or name one in CXX), on a GPU Triton and a C compiler. Features are the same without it, within rounding."
)
_told: set[str] = set()


def _obstacle(kind: str, backend: str) -> str | None:
    """Return why nothing can be compiled for a kind of device, None if it can, and "" if that was told before."""
    reason = _reason(kind, backend)
    if reason is not None and reason in _told:
        return ""
    _told.update({reason} if reason else ())
    return reason


@cache
def _reason(kind: str, backend: str) -> str | None:
    """Compile two operations and return what went wrong, None if nothing did."""
    device = torch.device(kind)

    def small(values: Tensor) -> Tensor:
        return torch.relu(values * 2 + 1)

    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own code
            torch.compile(small, backend=backend)(torch.zeros(2, 3, device=device))
    except Exception as error:
        if passes_through(error):
            raise
        return _short(error)
    return None


def _short(error: Exception) -> str:
    """Return what an error says, without torch's advice on how to find out more."""
    return one_line(str(error).partition("Set TORCHDYNAMO_VERBOSE")[0] or error)


class Compiler:
    """Compiled forms of the blocks of a network, made when a block first gets a batch.

    Parameters
    ----------
    name : str
        Of the encoder, for what is said.
    blocks : sequence of nn.Module
    texts : bool, default=False
        See `compiler_of`.
    """

    def __init__(self, name: str, blocks: Sequence[nn.Module], *, texts: bool = False) -> None:
        self._name, self._blocks, self._texts = name, blocks, texts
        self._forwards: list[Callable[..., Any]] | None = None
        self._failed = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._name, self._blocks, self._texts)  # compiled code belongs to a process

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let the blocks compute in their compiled form, and put everything back."""
        if self._failed:
            yield
            return
        if self._forwards is None:
            self._forwards = [self._forward_of(block) for block in self._blocks]
        before = [vars(block).get("forward") for block in self._blocks]
        for block, forward in zip(self._blocks, self._forwards, strict=True):
            vars(block)["forward"] = forward
        try:
            with _limits():
                yield
        finally:
            for block, forward in zip(self._blocks, before, strict=True):
                if forward is None:
                    vars(block).pop("forward", None)
                else:
                    vars(block)["forward"] = forward

    def _forward_of(self, block: nn.Module) -> Callable[..., Any]:
        plain = block.forward
        compiled = torch.compile(plain, backend=BACKEND)

        def forward(*inputs: Any, **named: Any) -> Any:
            if self._failed:
                return plain(*inputs, **named)
            for value in (*inputs, *named.values()):
                _let_vary(value, texts=self._texts)
            try:
                return compiled(*inputs, **named)
            except Exception as error:
                if passes_through(error) or "out of memory" in str(error).lower():
                    raise
                found = plain(*inputs, **named)  # raises what is wrong with the batch or the network itself
                self._failed = True
                _log.warning(_FAILED, self._name, type(error).__name__, _short(error))
                return found

        return forward


_FAILED = (
    "encoder %r goes on without torch.compile, which failed (%s: %s). Its features are the same, within rounding. "
    "Leave `compile` out for it."
)


def _made(name: str, blocks: Sequence[nn.Module], texts: bool) -> Compiler:
    return Compiler(name, blocks, texts=texts)


def compiled_or_not(compiler: Compiler | None, n_items: int) -> AbstractContextManager[None]:
    """Return what a batch is computed within: compiled, where it was asked for and can be had.

    A single item is computed as it is: torch compiles for one row anew, and it takes part in the trial of an encoder,
    which so compares compiled rows with others.
    """
    return nullcontext() if compiler is None or n_items < 2 else compiler.running()


def device_kind(device: torch.device, compiler: Compiler | None) -> str:
    """Return what identities say of the device: a GPU rounds otherwise than a CPU, and compiled code than other."""
    return device.type if compiler is None else f"{device.type}, compiled"


def _let_vary(value: Any, *, texts: bool) -> None:
    """Tell torch which sizes of a tensor differ from batch to batch, lest it compile for each of them."""
    if not isinstance(value, Tensor) or value.ndim < 2:
        return
    varying = range(value.ndim - (value.ndim == 3)) if texts else (0,)  # (n, tokens, d), or (n, 1, tokens, tokens)
    for dimension in varying:
        if value.shape[dimension] > 1:
            torch._dynamo.maybe_mark_dynamic(value, dimension)


@contextmanager
def _limits() -> Iterator[None]:
    """Let as many blocks as networks have be compiled."""
    config: Any = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # the name until 2.6
    with config.patch({limit: _KINDS}):
        yield
