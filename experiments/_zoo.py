"""The zoo that the experiments share: packaged networks, and small ones pre-trained here in different ways.

Everything has its seed. Weights lie in `<cache>/weights`; they are trained on rows that no target is given.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from _data import FOR_TARGETS, pictures
from threadpoolctl import threadpool_limits

from transferability.datasets import Dataset
from transferability.encoders import load_encoder
from transferability.encoders.image_input import PictureInput

__all__ = ["PACKAGED", "PANEL", "RECIPES", "TARGETS", "encoder", "encoder_from", "network_of", "zoo"]

TARGETS = ("cifar10", "mnist", "fashion_mnist", "mnist_m_cifar", "sign_digits", "omniglot_alphabet")
PANEL = ("cifar10", "mnist", "fashion_mnist")  # references; a target is not its own
INPUT = PictureInput((32, 32), fit="stretch", filter="bilinear", mean=0.5, std=0.5)
PACKAGED = ("efficientnet-lite0", "efficientnet-lite1")
LITE_SIZE = 64  # in place of 224 to 260 pixels, so that two cores can fine-tune them


@dataclass(frozen=True)
class Recipe:
    """A network, and how it is pre-trained; without a source it stays random."""

    kind: str
    width: int
    source: str | None = None
    method: str = "supervised"
    seed: int = 0


RECIPES = {
    "conv-random": Recipe("conv", 24),
    "conv-cifar10": Recipe("conv", 24, "cifar10"),
    "conv-cifar10-adversarial": Recipe("conv", 24, "cifar10", "adversarial"),
    "conv-cifar10-rotation": Recipe("conv", 24, "cifar10", "rotation"),
    "conv-cifar10-contrastive": Recipe("conv", 24, "cifar10", "contrastive"),
    "conv-mnist": Recipe("conv", 24, "mnist"),
    "conv-fashion": Recipe("conv", 24, "fashion_mnist"),
    "conv-mnist-m": Recipe("conv", 24, "mnist_m_cifar"),
    "conv-omniglot": Recipe("conv", 24, "omniglot_alphabet"),
    "conv-wide-cifar10": Recipe("conv", 48, "cifar10"),
    "conv-narrow-mnist-m": Recipe("conv", 12, "mnist_m_cifar"),
    "vit-random": Recipe("vit", 64),
    "vit-cifar10": Recipe("vit", 64, "cifar10"),
    "vit-mnist-m": Recipe("vit", 64, "mnist_m_cifar"),
    "vit-cifar10-masked": Recipe("vit", 64, "cifar10", "masked"),
}


def zoo(quick: bool) -> tuple[str, ...]:
    """Return the names of the encoders of a run, small ones first."""
    if quick:
        return tuple(name for name in RECIPES if name.startswith("conv") and "wide" not in name)
    return (*RECIPES, *PACKAGED)


def encoder(name: str, data: Path, cache: Path, quick: bool, device: str = "cpu"):
    """Return an encoder of the zoo, pre-trained now if it has not been.

    On the CPU packaged networks get small pictures; elsewhere they get the size that they were trained with.
    """
    if name in RECIPES:
        return encoder_from(name, network_of(name, data, cache, quick), device)
    full = load_encoder(f"packaged:{name}", device=device)
    if device != "cpu":
        return full
    from transferability.encoders.networks import before_head

    small = PictureInput((LITE_SIZE, LITE_SIZE), fit="stretch", filter="bilinear", mean=127 / 255, std=128 / 255)
    network = full.module
    return _picture_network(name, network, before_head(network, network._fc), small, network._fc)


def encoder_from(name: str, network, device: str = "cpu"):
    """Return a network of this folder as an encoder."""
    return _picture_network(name, network, lambda batch, _: (network(batch), None), INPUT, device=device)


def network_of(name: str, data: Path, cache: Path, quick: bool):
    """Return the network of a recipe."""
    import torch
    from _networks import ConvNet, SmallViT, pretrain
    from safetensors.torch import load_file, save_file

    recipe = RECIPES[name]
    n_rows, epochs = (1500, 4) if quick else (4000, 10)
    torch.manual_seed(recipe.seed)
    network = ConvNet(recipe.width) if recipe.kind == "conv" else SmallViT(recipe.width)
    if recipe.source is None:
        return network.eval()
    mark = hashlib.sha256(f"{recipe} {n_rows} {epochs} 1".encode()).hexdigest()[:12]
    path = cache / "weights" / f"{name}-{mark}.safetensors"
    if not path.exists():
        source = pictures(data, recipe.source, "train", n_rows, leave=FOR_TARGETS)
        with threadpool_limits(1, "blas"):
            loss = pretrain(network, recipe.method, batch_of(source), source.labels, epochs=epochs, seed=recipe.seed)
        print(f"pre-trained {name}: loss {loss:.3f}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(network.state_dict(), path.with_suffix(f".{os.getpid()}"))
        path.with_suffix(f".{os.getpid()}").replace(path)
    network.load_state_dict(load_file(path))
    return network.eval()


def batch_of(dataset: Dataset) -> np.ndarray:
    """Return all pictures as the networks of this folder see them, (n, 3, 32, 32)."""
    return np.stack([INPUT.one(each) for each in dataset.items(range(len(dataset)))])


def _picture_network(name, network, compute, picture: PictureInput, head=None, device: str = "cpu"):
    from transferability.encoders.networks import PictureNetwork

    versions = {package: version(package) for package in ("torch", "pillow")}
    details = {"source": name, "preprocessing": picture.identity(), "versions": versions}
    size = sum(each.numel() for each in network.parameters())
    size -= 0 if head is None else sum(each.numel() for each in head.parameters())
    return PictureNetwork(name, network, compute, picture.one, details, device, n_parameters=size, pooling="own")
