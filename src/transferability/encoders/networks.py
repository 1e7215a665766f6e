"""Picture networks of torch as encoders: features, class probabilities and hidden layers in one pass. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transferability.encoders._compiler import Compiler, compiled_or_not, compiler_of, device_kind
from transferability.encoders._layers import PositionPool, caught, find_layers, pool_positions, prefix_of
from transferability.encoders._layout import put_channels_last
from transferability.encoders._pillow_steps import Window, in_pillow
from transferability.encoders._torch import (
    computing,
    pick_device,
    to_device,
    weights,
)
from transferability.encoders._transfer import Computing, Scaling, Transfer
from transferability.encoders.base import (
    FEATURES,
    PROBABILITIES,
    Identity,
    Item,
    Modality,
    Outputs,
    Precision,
    Preprocess,
)
from transferability.encoders.identity import settings_of
from transferability.errors import EncoderError, one_line

__all__ = ["PictureNetwork", "PixelInput", "Transform", "before_head"]

Compute = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""From a batch (n, c, h, w) to features (n, width) and, if asked for and there, the logits (n, n_classes)."""


@dataclass(frozen=True)
class Transform:
    """A library's transform of a picture to a tensor, as a `preprocess`."""

    to_tensor: Callable[[Any], Any]

    def __call__(self, item: Item) -> npt.NDArray[np.float32]:
        """Return the array (c, h, w) that the network gets."""
        return np.asarray(self.to_tensor(item), dtype=np.float32)

    def pixels(self) -> PixelInput | None:
        """Return the steps before the scaling, and the scaling; None where these are not the last two steps."""
        steps: Sequence[Any] = getattr(self.to_tensor, "transforms", ())
        names = [type(step).__name__ for step in steps[-2:]]
        if names not in (["ToTensor", "Normalize"], ["MaybeToTensor", "Normalize"]):
            return None
        mean, std = (tuple(np.ravel(each).tolist()) for each in (steps[-1].mean, steps[-1].std))
        return PixelInput(Window(in_pillow(steps[:-2])), Scaling(mean, std)) if len(mean) == len(std) == 3 else None


class PixelInput(NamedTuple):
    """A preprocessing in two: what makes 8-bit pixels of a picture, and the scaling, which the device does.

    Pixels are a quarter of the bytes that would go from process to process and to the device.
    """

    window: Preprocess
    scaling: Scaling


@dataclass(frozen=True)
class Grey:
    """A `preprocess` that is given pictures in grey."""

    prepare: Preprocess

    def __call__(self, item: Item) -> npt.NDArray[Any]:
        """Return the array (1, h, w) that the network gets."""
        return self.prepare(item.convert("L"))


class PictureNetwork:
    """A torch network of pictures as an encoder that can be fine-tuned.

    Features are kept under a hash of the weights, of `details` and of every other parameter, so they cannot go stale.

    Parameters
    ----------
    name : str
        Shown in results.
    network : nn.Module
        Weights, layers and, where it has one, the head.
    compute : callable
        From a batch (n, c, h, w), and whether class probabilities are wanted, to the features (n, width) and the logits
        (n, n_classes) or None.
    preprocess : callable
        From a PIL picture to an array (c, h, w).
    details : dict
        Preprocessing and versions, as JSON values; pooling, precision, hash of the weights and device are added.
    device : str or None
        Of torch, such as "cpu" or "cuda:1"; None for CUDA, MPS or the CPU, the first that is there.
    n_parameters : int
        Number of weights without the head.
    pooling : str
        How the features come about, in words.
    probabilities : bool
        Whether `compute` gives logits.
    class_names : sequence of str, optional
        One per logit.
    layer_pool : {"mean", "max", "cls"}
        How positions of hidden layers become one row.
    n_prefix : int
        Class and register tokens in front of the positions.
    body : nn.Module, optional
        The part whose layers are shown, all of it by default.
    channels : int
        That it takes: 3, or 1 for pictures in grey.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic.
    pixels : PixelInput, optional
        `preprocess` in two, where it can be divided.
    channels_last : bool
        Whether it takes values whose channels come last in memory. Weights of its convolutions are then laid out so on
        a CPU, which computes them faster (`benchmarks/channels_last.py`); features are the same but for rounding.
        What wants a weight of `module` as one row of memory, such as safetensors, needs its `.contiguous()`.

    Raises
    ------
    OptionError
        If torch cannot use the device.
    EncoderError
        If the network takes other than 1 or 3 channels.
    """

    modality: Modality = "image"

    def __init__(
        self,
        name: str,
        network: nn.Module,
        compute: Compute,
        preprocess: Preprocess,
        details: Identity,
        device: str | None,
        *,
        n_parameters: int,
        pooling: str,
        probabilities: bool = False,
        class_names: Sequence[str] | None = None,
        layer_pool: PositionPool = "mean",
        n_prefix: int = 0,
        body: nn.Module | None = None,
        channels: int = 3,
        precision: Precision = "float32",
        pixels: PixelInput | None = None,
        channels_last: bool = False,
    ) -> None:
        self.name = name
        self.n_parameters = n_parameters
        self._prepare = preprocess if channels == 3 else _grey(preprocess, channels, name)
        self.preprocess: Preprocess | None = self._prepare
        self.pooling = f"{pooling}; hidden layers: {layer_pool}"
        self.source_class_names = None if class_names is None else tuple(class_names)
        self._layers = find_layers(body or network)
        self.outputs = (FEATURES, *((PROBABILITIES,) if probabilities else ()), *self._layers)
        self._device = pick_device(device)
        self._network = network.float().eval().to(self._device)
        if channels_last and self._device.type == "cpu":
            put_channels_last(self._network)
        self._compute = compute
        self._details = details
        self._layer_pool: PositionPool = layer_pool
        self._n_prefix = n_prefix
        self._precision: Precision = precision
        self._settings = settings_of(self)
        pixels = pixels if channels == 3 else None  # after the hash, as it changes no feature
        self.window = None if pixels is None else pixels.window
        self._scaling = None if pixels is None else pixels.scaling
        self._transfer = Transfer(self._device)
        self._compiler: Compiler | None = None

    def identity(self) -> Identity:
        """Return the details, hashes of all settings and of the weights, and the kind of device.

        A GPU rounds differently, and so does compiled code.
        """
        return {
            **self._details,
            "settings": self._settings,
            "pooling": self.pooling,
            "precision": self._precision,
            "weights": self._weights,
            "device": device_kind(self._device, self._compiler),
        }

    @property
    def _weights(self) -> str:
        return weights(self._network)

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> Outputs:
        """Return these outputs of one batch of prepared pictures, or of their windows; the network runs once."""
        return self.start(batch, outputs).result()

    def start(self, batch: Sequence[Any], outputs: Sequence[str]) -> Computing:
        """Give the network a batch as `forward` does, without waiting for a GPU to compute it."""
        wanted = {name: self._layers[name] for name in outputs if name not in (FEATURES, PROBABILITIES)}
        compiled = compiled_or_not(self._compiler, len(batch))
        with computing(self._device, self._precision), compiled, caught(wanted) as hidden:
            values, running = self._transfer.start(batch)
            features, logits = self._compute(self._scaled(values), PROBABILITIES in outputs)
            unused = sorted(wanted.keys() - hidden.keys())
            if unused:
                message = f"layers {', '.join(unused)} of encoder {self.name!r} take no part in what it computes. "
                message += "Choose others."
                raise EncoderError(message)
            found = {
                name: pool_positions(values.float(), self._layer_pool, n_prefix=prefix_of(values, self._n_prefix))
                for name, values in hidden.items()
            }
            found[FEATURES] = features
            if logits is not None:
                found[PROBABILITIES] = logits.float().softmax(-1)
            return running.returns({name: found[name] for name in outputs})

    def _scaled(self, batch: Tensor) -> Tensor:
        return batch if self._scaling is None or batch.dtype != torch.uint8 else self._scaling(batch)

    def compile(self) -> None:
        """Have the blocks of the network compiled while it encodes; see `load_encoder`."""
        self._compiler = compiler_of(self.name, self._layers, self._device)

    @property
    def module(self) -> nn.Module:
        """The network, with its head if it has one."""
        return self._network

    def differentiable(self, batch: Sequence[Any] | Tensor) -> Tensor:
        """Return the features of one batch of prepared pictures, or of a tensor of them, with gradients."""
        return self._compute(to_device(batch, self._device), False)[0].float()

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the features of one batch of pictures."""
        return self.forward([self._prepare(item) for item in items], [FEATURES])[FEATURES]


def _grey(preprocess: Preprocess, channels: int, name: str) -> Preprocess:
    """Return what prepares pictures in grey, or say that there is no such picture."""
    from PIL import Image

    grey, reason = Grey(preprocess), "pictures have 3, or 1 in grey"
    if channels == 1:
        try:
            made = grey(Image.new("RGB", (64, 64))).shape[0]
            if made == 1:
                return grey
            reason = f"its preprocessing makes {made} of a picture in grey"
        except Exception as error:  # noqa: BLE001 - of whatever library made the preprocessing
            reason = f"its preprocessing does not take pictures in grey ({one_line(error)})"
    message = (
        f"encoder {name!r} takes pictures of {channels} channels; {reason}. Choose a model of 3 channels, or give "
    )
    raise EncoderError(message + "it mean and deviation for 1.")


def before_head(network: nn.Module, head: nn.Module) -> Compute:
    """Return what runs a classifier and takes as features what enters its last layer, a map averaged over positions."""

    def compute(batch: Tensor, _probabilities: bool) -> tuple[Tensor, Tensor | None]:
        entered: list[Tensor] = []
        hook = head.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
        try:
            logits = network(batch)
        finally:
            hook.remove()
        features = entered[-1]
        # A convolution as the last layer, SqueezeNet's, has maps on both sides: (n, c, h, w) -> (n, c).
        return features.mean((2, 3)) if features.ndim == 4 else features, logits

    return compute
