"""From a recipe to a process and a denoiser."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d3pm.config import Config, ProcessConfig
from d3pm.errors import ConfigError, D3PMError, check_choice
from d3pm.mutual_information import mutual_information_alphas
from d3pm.nets.head import Denoiser
from d3pm.nets.masked_lm import MaskedLanguageModel
from d3pm.nets.text import DilatedConv, Transformer
from d3pm.nets.unet import UNet
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.absorbing_uniform import AbsorbingUniform
from d3pm.processes.autoregressive import Autoregressive
from d3pm.processes.base import Process
from d3pm.processes.closed import Uniform
from d3pm.processes.dense import BandDiagonal, DiscretizedGaussian
from d3pm.processes.exponential import NearestNeighbour, NearestNeighbourMask, nearest_neighbour_rate
from d3pm.schedules import ContinuousSchedule, alphas_of, cosine_betas, inverse_betas, linear_betas
from d3pm.spec import DataSpec
from d3pm.spectrum import Spectrum

__all__ = ["build_denoiser", "build_process", "n_states_of"]

KINDS = (
    "uniform",
    "absorbing",
    "gaussian",
    "band",
    "nearest_neighbour",
    "nearest_neighbour_mask",
    "absorbing_uniform",
    "autoregressive",
)
NETS: dict[str, type[nn.Module]] = {
    "unet": UNet,
    "transformer": Transformer,
    "dilated_conv": DilatedConv,
    "masked_lm": MaskedLanguageModel,
}


def has_extra_mask(config: ProcessConfig) -> bool:
    """Return whether the process has a mask that is a symbol of its own, which x_0 never is."""
    check_choice(config.mask, ("extra", "middle"), "mask")
    if config.kind in ("nearest_neighbour_mask", "autoregressive"):
        return True
    return config.kind in ("absorbing", "absorbing_uniform") and config.mask == "extra"


def n_states_of(config: ProcessConfig, spec: DataSpec) -> int:
    """Return K: the data's values, and one more for a mask that is a symbol of its own and not in the vocabulary."""
    return spec.n_tokens + (has_extra_mask(config) and spec.mask is None)


def mask_of(config: ProcessConfig, spec: DataSpec) -> int:
    """Return the state that masks: the vocabulary's own mask, one more symbol, or the middle of the values."""
    if not has_extra_mask(config):
        return n_states_of(config, spec) // 2
    return spec.n_tokens if spec.mask is None else spec.mask


def build_process(
    config: ProcessConfig,
    spec: DataSpec,
    frequencies: np.ndarray | None = None,
    stored: Mapping[str, Tensor] | None = None,
) -> Process:
    """Return the process of a recipe.

    Parameters
    ----------
    config : ProcessConfig
    spec : DataSpec
    frequencies : array of shape (n_tokens,), optional
        Of the training data; the mutual-information schedule needs them.
    stored : mapping of tensors, optional
        `Process.stored` of the process when it was first built: nothing of it is computed again.
    """
    process = _process(config, spec, frequencies, stored or {})
    if check_choice(config.prior, ("stationary", "learned"), "prior") == "learned":
        process.learn_prior(_frequencies(frequencies, process.n_states))
    return process


def _process(
    config: ProcessConfig, spec: DataSpec, frequencies: np.ndarray | None, stored: Mapping[str, Tensor]
) -> Process:
    check_choice(config.kind, KINDS, "kind")
    K = n_states_of(config, spec)
    mask = mask_of(config, spec)
    if config.kind in ("gaussian", "band"):
        return _dense(config, K)
    if config.kind == "nearest_neighbour_mask" and spec.mask is not None:
        message = "`kind` must be absorbing for a vocabulary with a mask of its own; got nearest_neighbour_mask."
        raise ConfigError(message)
    if config.kind in ("nearest_neighbour", "nearest_neighbour_mask"):
        return _nearest_neighbour(config, spec.n_tokens, frequencies, stored)
    if config.kind == "autoregressive":
        if len(spec.shape) != 1:
            message = (
                f"`kind` = autoregressive needs tokens along one axis, in order; the data have shape {spec.shape}."
            )
            raise ConfigError(message)
        return Autoregressive(K, spec.shape[0])
    betas = stored.get("betas")
    if betas is None:
        betas = _betas(config, K, frequencies)
    if config.kind == "uniform":
        return Uniform(K, betas)
    if config.kind == "absorbing":
        return Absorbing(K, betas, mask)
    if isinstance(betas, ContinuousSchedule):
        message = "`steps` of an absorbing_uniform process must be at least 1; it has no continuous-time form here."
        raise ConfigError(message)
    return AbsorbingUniform(K, betas * (1 - config.uniform), betas * config.uniform, mask)


def _dense(config: ProcessConfig, n_states: int) -> Process:
    if config.steps < 1 or config.schedule != "linear":
        message = f"`schedule` of a {config.kind} process must be linear with steps ≥ 1; got {config.schedule!r}."
        raise ConfigError(message)
    betas = linear_betas(config.steps, config.start, config.stop)
    # float32 logarithms of float64 products: half the memory, and training runs in float32 anyway
    if config.kind == "gaussian":
        return DiscretizedGaussian(n_states, betas, table_dtype=torch.float32)
    return BandDiagonal(n_states, betas, config.width, table_dtype=torch.float32)


def _nearest_neighbour(
    config: ProcessConfig, n_tokens: int, frequencies: np.ndarray | None, stored: Mapping[str, Tensor]
) -> Process:
    rate = stored["rate"] if "rate" in stored else _rate(config, n_tokens)
    spectrum = Spectrum.of_rate(rate)
    mask_rate = config.mask_rate if config.kind == "nearest_neighbour_mask" else 0.0
    alphas: Tensor | ContinuousSchedule
    if "alphas" in stored:
        alphas = stored["alphas"]
    elif config.steps and config.schedule == "mutual_information":
        p0 = _frequencies(frequencies, n_tokens)
        alphas = mutual_information_alphas(p0, config.steps, spectrum, mask_rate)
    else:
        betas = _betas(config, n_tokens, frequencies)
        # An exponent cannot be infinite: a step that forgets everything comes as near as its eigenvalues let it.
        alphas = betas if isinstance(betas, ContinuousSchedule) else alphas_of(betas)
    return NearestNeighbourMask(spectrum, alphas, mask_rate) if mask_rate else NearestNeighbour(spectrum, alphas)


def _betas(config: ProcessConfig, n_states: int, frequencies: np.ndarray | None) -> Tensor | ContinuousSchedule:
    """Return β_1 … β_T, or the continuous schedule."""
    if config.steps == 0:
        check_choice(config.schedule, ("linear", "cosine", "geometric"), "schedule")
        return ContinuousSchedule(config.schedule)  # type: ignore[arg-type]
    name = check_choice(config.schedule, ("linear", "cosine", "inverse", "mutual_information"), "schedule")
    if name == "linear":
        return linear_betas(config.steps, config.start, config.stop)
    if name == "cosine":
        return cosine_betas(config.steps)
    if name == "inverse" or config.kind in ("absorbing", "absorbing_uniform"):
        return inverse_betas(config.steps)  # what mutual information comes to for masks [A.7]
    return -torch.expm1(-mutual_information_alphas(_frequencies(frequencies, n_states), config.steps))


def _frequencies(frequencies: np.ndarray | None, n_states: int) -> np.ndarray:
    if frequencies is None:
        message = "`schedule` = mutual_information and `prior` = learned need the frequencies of the training data."
        raise ConfigError(message)
    p0 = np.zeros(n_states)
    p0[: len(frequencies)] = frequencies
    return p0


def _rate(config: ProcessConfig, n_tokens: int) -> Tensor:
    path = Path(config.embeddings)
    if not config.embeddings or not path.is_file():
        message = f"`embeddings` must name an .npy file of shape ({n_tokens}, d); got {config.embeddings!r}."
        raise ConfigError(message)
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"`embeddings` must name an .npy file of shape ({n_tokens}, d); {path} cannot be read: {error}."
        raise ConfigError(message) from error
    if not isinstance(embeddings, np.ndarray) or not np.isfinite(embeddings).all():
        message = f"`embeddings` must be finite numbers of shape ({n_tokens}, d); {path} holds something else."
        raise ConfigError(message)
    if embeddings.ndim != 2 or len(embeddings) != n_tokens:
        message = f"`embeddings` must have shape ({n_tokens}, d); {path} has {embeddings.shape}."
        raise ConfigError(message)
    return nearest_neighbour_rate(embeddings, config.neighbours)


def build_denoiser(config: Config, spec: DataSpec, n_states: int) -> Denoiser:
    """Return the denoiser of a recipe, with weights drawn from torch's global generator."""
    options = dict(config.net)
    kind = check_choice(options.pop("kind", "unet"), NETS, "net.kind")
    fixed: dict[str, Any] = {"n_states": n_states, "n_classes": spec.n_classes}
    if kind == "unet":
        fixed["n_channels"] = spec.n_channels
    if (kind == "unet") != (spec.modality == "image"):
        fitting = ", ".join(name for name in NETS if (name == "unet") == (spec.modality == "image"))
        message = f"`net.kind` must be one of {fitting} for {spec.modality} data; got {kind}."
        raise ConfigError(message)
    outer: tuple[str, ...] = ()
    head, skip = "logits", "none"
    if kind == "masked_lm":  # has a head of its own; where its weights come from is no part of the net
        options.pop("path", None)
    else:
        head, skip, outer = options.pop("head", "logits"), options.pop("skip", "learned"), ("head", "skip")
    known = set(inspect.signature(NETS[kind]).parameters) - set(fixed)
    for key in options:
        if key not in known:
            message = f"`{key}` in [net] must be an option of {kind}: {', '.join([*sorted(known), *outer])}."
            raise ConfigError(message)
    try:
        backbone = NETS[kind](**fixed, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, D3PMError):
            raise
        message = f"`net` must hold options that fit {kind}; {error}."
        raise ConfigError(message) from error
    forbid = mask_of(config.process, spec) if has_extra_mask(config.process) else None
    return Denoiser(backbone, n_states, spec.n_channels, head, skip, forbid, config.conventions)
