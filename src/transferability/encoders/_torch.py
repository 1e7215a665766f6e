"""What the encoders that run on torch share: device, precision, weights. Imports torch."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import numpy as np
import numpy.typing as npt
import torch

from transferability._hub import is_no_name, refusal
from transferability.encoders._tensor_parts import is_plain, raw
from transferability.encoders.base import Identity, Precision
from transferability.encoders.identity import settings_hash
from transferability.errors import EncoderError, EncoderNameError, OptionError, one_line, passes_through

__all__ = [
    "RANDOM",
    "computing",
    "count_parameters",
    "loading",
    "pick_device",
    "seeded",
    "to_device",
    "to_numpy",
    "versions",
    "weights",
]

RANDOM = "random"
"""Revision of untrained weights: the baseline that every trained encoder should beat."""
_PLAIN_TENSORS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def pick_device(device: str | None) -> torch.device:
    """Return the device asked for, or the best there is: CUDA, then Apple's MPS, then the CPU."""
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = one_line(error).partition(" device type at start")[0]  # before it repeats what was given
        message = f"`device` must be one that torch can use here, such as 'cpu'; got {device!r} ({reason})."
        message += " A GPU of NVIDIA or AMD is 'cuda', one of Apple 'mps'." if "gpu" in device.lower() else ""
        raise OptionError(message) from error
    return chosen


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while weights are found, fetched and read into one sentence.

    No pickle runs code meanwhile: torch reads tensors and plain containers only, whatever a library asks it for.
    """
    before = os.environ.get(_PLAIN_TENSORS)
    os.environ[_PLAIN_TENSORS] = "1"
    try:
        with redirect_stdout(sys.stderr):  # torch.hub announces its downloads where data belong
            yield
    except BaseException as error:  # the libraries below share no base of errors
        if passes_through(error):
            raise
        message = f"encoder {name!r} cannot be loaded: {_reason(error, name)}"
        raise (EncoderNameError if is_no_name(error) else EncoderError)(message) from error
    finally:
        if before is None:
            del os.environ[_PLAIN_TENSORS]
        else:
            os.environ[_PLAIN_TENSORS] = before


def _reason(error: BaseException, name: str) -> str:
    """Return why a library could not load, and what to do."""
    said = str(error)
    if "trust_remote_code" in said:
        return (
            "it needs code from its repository, which is not run. If you have read that code and trust it: "
            "`--trust-remote-code`, or load_encoder(…, trust_remote_code=True)."
        )
    if "weights only load failed" in said.lower() or "weights_only" in said:
        return (
            "its weights are a pickle that holds more than tensors, which can run code when it is read. "
            "Save them again as safetensors."
        )
    if isinstance(error, MemoryError) or "out of memory" in said.lower():
        return "memory does not suffice. Choose a smaller encoder."
    if Path(name.partition(":")[2].removeprefix("local-dir:")).expanduser().exists():
        return f"{one_line(error)}."
    refused = refusal(error)
    if refused is not None:
        return refused
    return (
        f"{one_line(error)}. If it must be downloaded, check its name and the network; "
        "without a network, fetch it elsewhere and carry the cache over (HF_HOME, TORCH_HOME)."
    )


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Make random weights the same every time, and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def weights(model: torch.nn.Module) -> str:
    """Return a hash of every parameter and buffer, computed again when one of them has changed.

    torch counts what is written to a tensor in place; what is written to its `.data` it does not count.
    """
    tensors = sorted(model.state_dict(keep_vars=True).items())
    state = [(key, *_version(each)) for key, each in tensors]
    known = _KNOWN.get(model)
    if known is not None and known.state == state:
        pairs = zip(known.tensors, tensors, strict=True)
        if all(kept() is each for kept, (_, each) in pairs):
            return known.hash
    found = _hash_of(tensors)
    if all(len(each) > 1 for each in state):
        _KNOWN[model] = _Known(state, [ref(each) for _, each in tensors], found)
    return found


class _Known(NamedTuple):
    state: list[tuple[Any, ...]]
    tensors: list[ref[torch.Tensor]]  # another tensor may come to lie where one was
    hash: str


_KNOWN: WeakKeyDictionary[torch.nn.Module, _Known] = WeakKeyDictionary()


def _version(tensor: Any) -> tuple[Any, ...]:
    """Return what changes with the values of a tensor; nothing where torch does not count its changes."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_inference() or not is_plain(tensor):
        return ()  # values of a sparse tensor, in particular, are changed without a word
    return tensor._version, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape)


def _hash_of(tensors: Iterable[tuple[str, Any]]) -> str:
    total = hashlib.sha256()
    for key, tensor in tensors:
        if not isinstance(tensor, torch.Tensor):  # packed parameters of quantised layers, and what modules add
            total.update(f"{key} {settings_hash(tensor)}".encode())
        elif not is_plain(tensor):
            total.update(f"{key} {settings_hash(tensor.detach())}".encode())  # of a parameter it would be the shape
        else:
            total.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            total.update(raw(tensor.detach().cpu()))
    return total.hexdigest()


def count_parameters(model: torch.nn.Module) -> int:
    """Return the number of parameters, without the head that was cut off."""
    return sum(parameter.numel() for parameter in model.parameters())


def versions(*packages: str) -> Identity:
    """Return the versions of torch and of other packages that take part in the computation, None where not there."""
    found: Identity = {}
    for package in ("torch", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Run a model without gradients, its arithmetic in this precision where torch thinks it safe."""
    with torch.inference_mode():
        if precision == "float32":
            # Convolutions on CUDA are TF32 by default, of ten bits: a row would depend on its batch by 1e-4.
            with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
                yield
        else:
            with torch.autocast(device.type, getattr(torch, precision)):
                yield


def to_numpy(rows: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return rows as float32, whatever they were computed in."""
    found: npt.NDArray[np.float32] = rows.float().cpu().numpy()
    return found


def to_device(batch: Sequence[npt.NDArray[Any]] | torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return arrays of one shape, in a sequence or stacked already, as one tensor."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    stacked = batch if isinstance(batch, np.ndarray) else np.stack(batch)
    if not stacked.flags.writeable:  # torch warns of tensors over memory that must not change
        stacked = stacked.copy()
    return torch.from_numpy(stacked).to(device)
