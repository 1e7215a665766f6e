"""Denoisers as encoders: the hidden layers of a diffusion model as features.

For an absorbing process the net is a masked language model of every masking ratio; it reads clean tokens at time 0.
For uniform and Gaussian noise some features are best at a little noise, averaged over a few draws. Layers in the middle
and a little after it separate classes best; the last one, and p̃, speak of the vocabulary instead. Choose layer and
noise on the source task, never on a target's labels: a ranking of encoders would be biased by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from d3pm.checkpoint import Checkpoint, load_checkpoint
from d3pm.corpus import encode_examples, say_cut
from d3pm.data import Batch
from d3pm.device import choose_device
from d3pm.errors import DataError, OptionError, check_choice
from d3pm.losses import fraction
from d3pm.nets.layers import layer_outputs
from d3pm.picture_tokens import PictureTokens
from d3pm.pooling import Pool, check_noise, pooled
from d3pm.processes.autoregressive import Autoregressive

__all__ = ["DiffusionEncoder", "Pool", "encoder_factory"]

DEFAULT_DEPTH = 2 / 3
FEATURES = "features"


class DiffusionEncoder:
    """A checkpoint that turns pictures or texts into features.

    Parameters
    ----------
    checkpoint : str, Path or Checkpoint
    layer : str, optional
        One of `layers`; two thirds of the way down the list by default.
    t : float, default=0
        Share of T at which tokens are shown: 0 is clean.
    n_draws : int, default=1
        Noisy copies to average over, where t > 0.
    pool : {"mean", "max", "grid"}, optional
        Over positions; "grid" keeps the four quarters of a picture apart. By default "grid" for pictures, "mean" for
        texts.
    device : str, optional
        CUDA where there is one, by default.

    Notes
    -----
    A conditional model is told no class (the null class that it was trained with). Texts are read at their own length,
    without padding; one that is longer than the model reads is cut, with a `TruncationWarning` the first time. An
    autoregressive model masks the last t N of its N places, as in training: a shorter text has fewer masks, or none.

    Examples
    --------
    >>> DiffusionEncoder("runs/mnist").encode(pictures).shape  # doctest: +SKIP
    (100, 256)
    """

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint,
        *,
        layer: str | None = None,
        t: float = 0.0,
        n_draws: int = 1,
        pool: Pool | None = None,
        device: str | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(checkpoint, Checkpoint):
            self.checkpoint = checkpoint
            self.device = next(checkpoint.denoiser.parameters()).device if device is None else choose_device(device)
            checkpoint.denoiser.to(self.device)
            checkpoint.process.to(self.device)
        else:
            self.device = choose_device(device)
            self.checkpoint = load_checkpoint(checkpoint, self.device)
        if self.checkpoint.spec.n_classes and not self.checkpoint.config.train.class_dropout:
            message = (
                "`checkpoint` must have a null class to encode without labels; this one was trained with "
                "train.class_dropout = 0. Train it with 0.1, or without data.conditional."
            )
            raise OptionError(message)
        self._backbone = self.checkpoint.denoiser.backbone
        self.layers: list[str] = list(self._backbone.layer_names)
        self.layer = self.layers[int(DEFAULT_DEPTH * (len(self.layers) - 1))] if layer is None else layer
        check_choice(self.layer, self.layers, "layer")
        pool = pool or ("grid" if self.modality == "image" else "mean")
        self.t, self.n_draws, self.pool = check_noise(t, n_draws, pool, self.modality)
        self._said_cut = False
        self.name = name or f"d3pm:{self.checkpoint.path}"

    # ------------------------------------------------------------------ what a ranking of encoders asks for

    @property
    def modality(self) -> Literal["image", "text"]:
        """Return what it encodes."""
        return "image" if self.checkpoint.spec.modality == "image" else "text"

    @property
    def n_parameters(self) -> int:
        """Return the number of weights."""
        return sum(p.numel() for p in self.checkpoint.denoiser.parameters())

    def identity(self) -> dict[str, Any]:
        """Return everything that changes the features, as JSON's values."""
        digest = hashlib.sha256()
        for key, value in sorted(self.checkpoint.section("ema").items()):
            digest.update(key.encode() + value.contiguous().numpy().tobytes())
        return {
            "source": "d3pm",
            "weights": digest.hexdigest(),
            "process": self.checkpoint.process.describe(),
            "data": self.checkpoint.spec.to_dict(),
            "layer": self.layer,
            "t": self.t,
            "n_draws": self.n_draws,
            "pool": self.pool,
            "padding": "masked",
            "condition": "none",
            **({"pictures": "upright, on white, fitted"} if self.modality == "image" else {}),
            "torch": torch.__version__,
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of all it can return: the features, which are those of `layer`, then each layer."""
        return (FEATURES, *self.layers)

    @property
    def pooling(self) -> str:
        """Return how positions become one row."""
        return f"{self.pool} over positions"

    source_class_names: tuple[str, ...] | None = None

    @property
    def preprocess(self) -> PictureTokens | None:
        """Return what makes tokens of a picture; None for texts, which `forward` takes as they are."""
        spec = self.checkpoint.spec
        return PictureTokens(tuple(spec.shape), spec.n_tokens) if spec.modality == "image" else None

    def forward(self, batch: Sequence[Any], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Return these outputs of one batch: of texts, or of pictures that `preprocess` made tokens of."""
        wanted = {name: self.layer if name == FEATURES else name for name in outputs}
        for name in wanted.values():
            check_choice(name, self.layers, "layer")
        items = torch.from_numpy(np.stack(batch)) if self.preprocess is not None else batch
        found = self._run(items, list(dict.fromkeys(wanted.values())), None, None, None)
        return {name: found[layer] for name, layer in wanted.items()}

    def encode(
        self,
        items: Sequence[Any] | np.ndarray | Tensor,
        layer: str | None = None,
        t: float | None = None,
        n_draws: int | None = None,
        pool: Pool | None = None,
    ) -> np.ndarray:
        """Return the features of a batch, (n, width of the layer) float32.

        Parameters
        ----------
        items : sequence
            PIL pictures of any mode but F, uint8 arrays (n, H, W[, C]), texts, or the model's own tokens: an integer
            tensor (n, …), or a `Batch` of them where they differ in length.
        layer, t, n_draws, pool
            In place of the encoder's own.
        """
        layer = self.layer if layer is None else check_choice(layer, self.layers, "layer")
        return self._run(items, [layer], t, n_draws, pool)[layer]

    def encode_multi(
        self,
        items: Sequence[Any] | np.ndarray | Tensor,
        t: float | None = None,
        n_draws: int | None = None,
        pool: Pool | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the features of every layer, by name; one run of the net gives them all."""
        return self._run(items, self.layers, t, n_draws, pool)

    # ------------------------------------------------------------------ how

    @torch.no_grad()
    def _run(
        self, items: Any, layers: list[str], t: float | None, n_draws: int | None, pool: Pool | None
    ) -> dict[str, np.ndarray]:
        share, draws, pool = check_noise(
            self.t if t is None else t,
            self.n_draws if n_draws is None else n_draws,
            pool or self.pool,
            self.modality,
        )
        batch = self.tokens(items)
        process = self.checkpoint.process
        whole = process.n_steps or 1
        time = torch.tensor(share * whole if process.n_steps is None else round(share * whole), device=self.device)
        time = time.double() if process.n_steps is None else time.long()
        sums: dict[str, Tensor] = {}
        for draw in range(draws):
            x_t = batch.tokens if float(time) == 0 else self._noisy(batch, time, draw)
            shares = fraction(process, time).expand(len(x_t))
            # Convolutions on CUDA are TF32 by default, of ten bits: a row would depend on its batch by 1e-4.
            with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
                hidden = layer_outputs(self._backbone, layers, x_t, shares, None, batch.attention_mask)
            for name, value in hidden.items():
                features = pooled(value, batch.attention_mask, pool, last=self._backbone.position_axes == (1,))
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + features / draws
        return {name: value.float().cpu().numpy() for name, value in sums.items()}

    def _noisy(self, batch: Batch, time: Tensor, draw: int) -> Tensor:
        """Return x_t; the noise of an item depends on the item alone, not on its batch or its padding."""
        process, x_t = self.checkpoint.process, batch.tokens.clone()
        if isinstance(process, Autoregressive):  # masks by place, none by chance: of padded rows, as in training
            masked = process.corrupt(x_t, time.reshape(1, 1))
            return masked if batch.attention_mask is None else torch.where(batch.attention_mask, masked, x_t)
        for i, row in enumerate(batch.tokens):
            real = row if batch.attention_mask is None else row[batch.attention_mask[i]]
            digest = hashlib.sha256(real.cpu().numpy().tobytes() + bytes([draw % 256, draw // 256])).digest()
            generator = torch.Generator(self.device).manual_seed(int.from_bytes(digest[:7], "big"))
            noisy = process.corrupt(real[None], time.reshape(1, *(1,) * real.ndim), generator)[0]
            x_t[i] = noisy if batch.attention_mask is None else row.masked_scatter(batch.attention_mask[i], noisy)
        return x_t

    def tokens(self, items: Any) -> Batch:
        """Return items as the model's tokens (n, …), without labels.

        Pictures are read as a folder of them is for training: see `d3pm.picture_values.shown`. Those of another size
        are scaled and their middle cut out (`PIL.ImageOps.fit`). Texts that are longer than the model reads are cut.
        """
        spec = self.checkpoint.spec
        if isinstance(items, Batch):
            items = items.to(self.device)
            return Batch(self.checkpoint.process.check_tokens(items.tokens, "items"), None, items.attention_mask)
        if isinstance(items, str):
            message = f"`items` must be a list of texts or pictures; got the text {items[:40]!r} alone. Pass [text]."
            raise DataError(message)
        if isinstance(items, Tensor):
            if items.ndim != len(spec.shape) + 1 or (spec.modality == "image" and items.shape[1:] != spec.shape):
                wanted = ", ".join(map(str, spec.shape))
                message = f"`items` must be tokens of shape (n, {wanted}); got {tuple(items.shape)}."
                raise DataError(message)
            return Batch(self.checkpoint.process.check_tokens(items, "items").to(self.device), None, None)
        if spec.modality == "text":
            for item in items:
                if not isinstance(item, str):
                    message = f"`items` must be single texts; got {type(item).__name__}. It reads no pairs."
                    raise DataError(message)
            return self._text_tokens(list(items))
        make = PictureTokens(tuple(spec.shape), spec.n_tokens)
        tokens = np.array([make(item) for item in items], dtype=np.int64).reshape(len(items), *spec.shape)
        return Batch(torch.from_numpy(tokens).to(self.device), None, None)

    def _text_tokens(self, texts: list[str]) -> Batch:
        tokens, lengths, _, cut = encode_examples(self.checkpoint.spec, texts)
        if cut and not self._said_cut:
            say_cut(cut, len(texts), self.checkpoint.spec.shape[0])
            self._said_cut = True
        longest = int(lengths.max(initial=1))
        real = torch.from_numpy(np.arange(longest) < lengths[:, None])
        return Batch(torch.from_numpy(tokens[:, :longest]), None, real).to(self.device)


def encoder_factory(spec: str, *, device: str | None = None, pool: Pool | None = None) -> DiffusionEncoder:
    """Load what follows `d3pm:` in an encoder's name: a checkpoint, and options after a question mark.

    `runs/mnist`, `runs/mnist?layer=up.1_0&t=0.05&n_draws=4&pool=grid`. A `pool` given beside it goes before.

    Raises
    ------
    OptionError
        If an option is unknown.
    """
    path, _, query = spec.partition("?")
    options: dict[str, Any] = {}
    kinds: dict[str, Callable[[str], Any]] = {"layer": str, "t": float, "n_draws": int, "pool": str}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        check_choice(key, kinds, "option")
        try:
            options[key] = kinds[key](value)
        except ValueError as error:
            message = f"`{key}` must be a number; got {value!r}."
            raise OptionError(message) from error
    if pool is not None:
        options["pool"] = pool
    return DiffusionEncoder(path, device=device, name=f"d3pm:{spec}", **options)
