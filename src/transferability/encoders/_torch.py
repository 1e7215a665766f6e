"""What the encoders that run on torch share: device, weights, a loop-free picture encoder. Imports torch."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transferability.encoders.base import Identity, Item, Modality
from transferability.errors import EncoderError, OptionError, TransferabilityError

__all__ = [
    "RANDOM",
    "TorchPictureEncoder",
    "count_parameters",
    "loading",
    "pick_device",
    "seeded",
    "versions",
    "weights",
]

RANDOM = "random"
"""Revision that stands for untrained weights: the baseline that every trained encoder should beat."""


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
        reason = str(error).splitlines()[0]
        message = f"`device` must be one that torch can use here, such as 'cpu'; got {device!r} ({reason})."
        raise OptionError(message) from error
    return chosen


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while weights are found, fetched and read into one sentence."""
    try:
        with redirect_stdout(sys.stderr):  # torch.hub announces its downloads where data belong
            yield
    except TransferabilityError:
        raise
    except Exception as error:  # the libraries below share no base of errors
        reason = " ".join(str(error).split())[:300].rstrip(".")
        message = (
            f"encoder {name!r} cannot be loaded: {reason}. If it must be downloaded, check its name and the network; "
            "without a network, fetch it elsewhere and carry the cache over (HF_HOME, TORCH_HOME)."
        )
        raise EncoderError(message) from error


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Make random weights the same every time, and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def weights(model: torch.nn.Module) -> str:
    """Return a hash of every parameter and buffer: the one name of a model that cannot go stale."""
    total = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        total.update(f"{key} {values.dtype} {tuple(values.shape)}".encode())
        total.update(values.reshape(-1).view(torch.uint8).numpy())
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


class TorchPictureEncoder:
    """A torch module that maps a batch of tensors to features, and the transform that makes the tensors.

    Parameters
    ----------
    name : str
        What the user wrote.
    model : torch.nn.Module
        From (n, c, h, w) to (n, n_features).
    transform : callable
        From a PIL picture to a tensor (c, h, w).
    details : dict
        Preprocessing and versions, as JSON values; hash of the weights and device are added.
    device : str, optional
        See `pick_device`.
    """

    modality: Modality = "image"

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        transform: Callable[[Any], torch.Tensor],
        details: Identity,
        device: str | None,
    ) -> None:
        self.name = name
        self.n_parameters = count_parameters(model)
        self._device = pick_device(device)
        self._model = model.float().eval().to(self._device)
        self._transform = transform
        self._details = details

    def identity(self) -> Identity:
        """Return the details, the hash of the weights and the kind of device (a GPU rounds differently)."""
        return {**self._details, "weights": self._weights, "device": self._device.type}

    @cached_property
    def _weights(self) -> str:
        return weights(self._model)

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of pictures."""
        batch = torch.stack([self._transform(item) for item in items]).to(self._device)  # (n, c, h, w)
        with torch.inference_mode():
            features: npt.NDArray[np.float32] = self._model(batch).float().cpu().numpy()
        return features
