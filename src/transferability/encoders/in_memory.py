"""Models that are in memory as encoders: torch modules, functions."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transferability._array import is_sparse
from transferability.encoders.base import Encoder, Identity, Item, Modality, Precision
from transferability.encoders.compiled import compiled
from transferability.encoders.function import FunctionEncoder
from transferability.encoders.precomputed import FeatureArrays, FeatureFiles
from transferability.errors import EncoderError, OptionError, one_line, passes_through

__all__ = ["ModuleEncoder", "encoder_of", "is_array"]

_KINDS = (
    "an identifier such as timm:resnet18.a1_in1k, a torch module, a function from a list of items to an array, an "
    "array of features (n, n_features), or an encoder"
)


def encoder_of(
    given: Any, *, device: str | None = None, precision: Precision = "float32", compile: bool = False
) -> Encoder | FeatureFiles:
    """Return an encoder of whatever somebody has in memory.

    Parameters
    ----------
    given : object
        - An encoder: returned as it is.
        - A `SentenceTransformer`: as `st:` loads it.
        - A timm model: as `timm:` loads it, with the preprocessing of its own configuration; its weights are those
          that it has.
        - Any other torch module: its output on batches of pictures (n, 3, 224, 224), normalised with ImageNet's mean
          and deviation, or on batches of arrays (n, d). Positions of an output (n, c, h, w) or (n, positions, d) are
          averaged. A function prepares pictures otherwise:
          ``lambda items: model(torch.stack([prepare(item) for item in items]))``.
        - A function from a list of items (PIL pictures, texts, arrays) to an array (len(items), n_features).
        - Features that were computed elsewhere: an array (n, n_features) with the rows of the data in their order, or
          a mapping of names of data sets to such arrays.
    device : str, optional
        For torch modules; by default the one that their weights are on.
    precision : {"float32", "bfloat16", "float16"}
        Of the arithmetic of timm and sentence-transformers models.
    compile : bool, default=False
        Whether torch compiles these models while they encode; see `load_encoder`.

    Raises
    ------
    EncoderError
        If it is nothing of this kind.
    OptionError
        If a precision or `compile` is asked for where there is no choice.
    """
    if isinstance(given, Encoder | FeatureFiles):
        return given
    encoder = _new_encoder(given, device, precision)
    return compiled(encoder) if compile else encoder


def _new_encoder(given: Any, device: str | None, precision: Precision) -> Encoder | FeatureFiles:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.nn.Module):
        return _module_encoder(given, device, precision)
    if precision != "float32":
        message = f"`precision` must be 'float32' for {type(given).__name__}, which is no torch module; got "
        raise OptionError(message + f"{precision!r}.")
    if is_array(given) or (isinstance(given, Mapping) and given and all(map(is_array, given.values()))):
        return FeatureArrays("features", given)
    if isinstance(given, type) or not callable(given):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        message = f"`encoder` must be {_KINDS}; got {what}."
        raise EncoderError(message + _hint(given))
    return FunctionEncoder(_name(given), given)


def _hint(given: Any) -> str:
    """Return what to write in place of what is no encoder; empty where nobody can tell."""
    if isinstance(given, type):
        return " Make one: write its brackets."
    if is_sparse(given):
        return " A sparse matrix is given as an array: x.toarray()."
    method = next((name for name in ("transform", "encode", "embed") if callable(getattr(given, name, None))), None)
    if method is not None:
        return f" Give its method: {type(given).__name__.lower()}.{method}."
    if hasattr(given, "steps") and hasattr(given, "predict"):
        return " Give the method of all steps before the last: pipeline[:-1].transform."
    return ""


def is_array(given: Any) -> bool:
    """Tell whether this is an array or a table of numbers, of any library, and no encoder."""
    speaks = any(hasattr(given, name) for name in ("__array__", "__array_namespace__"))
    return speaks and hasattr(given, "shape") and not isinstance(given, type) and not callable(given)


def _name(function: Callable[..., Any]) -> str:
    inner = function.func if isinstance(function, functools.partial) else function
    name = getattr(inner, "__name__", type(inner).__name__)
    return "function" if name == "<lambda>" else name


def _module_encoder(module: Any, device: str | None, precision: Precision) -> Encoder:
    kind = type(module).__name__
    libraries = {each.__module__.partition(".")[0] for each in type(module).__mro__}
    if "sentence_transformers" in libraries:
        from transferability.encoders.sentences import SentenceEncoder

        return SentenceEncoder(kind, module, precision)
    if "transformers" in libraries:
        message = f"encoder {kind} is a transformers model without the processor that feeds it. Save both, "
        message += "model.save_pretrained('DIR') and processor.save_pretrained('DIR'), and write hf:DIR."
        raise EncoderError(message)
    if hasattr(module, "forward_head") and hasattr(module, "pretrained_cfg"):
        from transferability.encoders.timm import encoder_of_model

        name = str(module.pretrained_cfg.get("architecture") or kind)
        return encoder_of_model(module, name, device=device, precision=precision)
    if precision != "float32":
        message = f"`precision` must be 'float32' for a torch module of one's own; got {precision!r}."
        raise OptionError(message)
    return ModuleEncoder(kind, module, device)


class ModuleEncoder:
    """A torch module as an encoder of pictures or of arrays; see `encoder_of`. Its features are never kept."""

    modality: Modality | None = None

    def __init__(self, name: str, module: Any, device: str | None = None) -> None:
        from transferability.encoders._torch import count_parameters, pick_device
        from transferability.encoders.image_input import PictureInput

        self.name = name
        self.n_parameters = count_parameters(module)
        self._module = module
        first = next(module.parameters(), None)
        self._device = pick_device(device) if device is not None or first is None else first.device
        self._dtype = None if first is None else first.dtype
        self._picture = PictureInput()

    def identity(self) -> Identity | None:
        """Return None: what a module computes is code that nobody has a version of."""
        return None

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        """Return the module's output for one batch, its positions averaged."""
        import torch

        from transferability.encoders._torch import computing, to_numpy

        batch = torch.from_numpy(np.stack([self._array(item) for item in items])).to(self._device)
        batch = batch if self._dtype is None else batch.to(self._dtype)
        training = self._module.training
        try:
            self._module.eval()
            with computing(self._device, "float32"):
                output = self._module.to(self._device)(batch)
        except Exception as error:
            if passes_through(error):
                raise
            message = f"encoder {self.name!r} cannot encode a batch of shape {tuple(batch.shape)}: "
            message += f"{type(error).__name__}: {one_line(error)}. A function can prepare its items otherwise."
            raise EncoderError(message) from error
        finally:
            self._module.train(training)
        if not isinstance(output, torch.Tensor) or output.ndim not in (2, 3, 4) or len(output) != len(batch):
            shape = f" of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else ""
            message = f"encoder {self.name!r} must return a tensor (n, n_features), (n, positions, n_features) or "
            message += f"(n, channels, height, width); got {type(output).__name__}{shape}."
            raise EncoderError(message)
        pooled = output.mean(dim=(2, 3)) if output.ndim == 4 else output.mean(dim=1) if output.ndim == 3 else output
        return to_numpy(pooled.float())

    def _array(self, item: Item) -> npt.NDArray[np.float32]:
        if isinstance(item, np.ndarray):
            return item.astype(np.float32)
        if not hasattr(item, "getbands"):
            message = f"encoder {self.name!r} is a torch module of one's own, which takes pictures or arrays; got "
            message += f"{type(item).__name__}. Write a function that prepares its items."
            raise EncoderError(message)
        return np.asarray(self._picture.one(item), dtype=np.float32)
