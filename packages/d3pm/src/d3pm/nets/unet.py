"""The U-Net of DDPM [B.1], on tokens in place of real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d3pm.errors import OptionError, check_choice, check_list, check_number
from d3pm.nets.head import TimeEmbedding

__all__ = ["UNet"]


class UNet(nn.Module):
    """Residual blocks down and up again, attention where the picture is small.

    Parameters
    ----------
    n_states : int
        K of the tokens.
    n_channels : int or None
        C of tokens (B, H, W, C); None for tokens (B, H, W).
    width : int
        Channels at full resolution; 128 in the paper.
    multipliers : sequence of int
        Channels at each level, as multiples of `width`; each level halves the picture. (1, 2, 2, 2) in the paper.
    n_blocks : int
        Residual blocks per level; 2 in the paper.
    attention : sequence of int
        Levels with attention; the paper's 16 × 16 of 32 × 32 is level 1.
    dropout : float
    inputs : {"embedding", "scaled"}
        Learned vectors for the states, or their values scaled to [−1, 1], as in the paper.
    n_classes, time_free
        See `TimeEmbedding`.
    """

    position_axes = (2, 3)  # of a layer's output, for pooling
    head_kernel = 3  # of the convolution that makes logits of its features, as in DDPM

    def __init__(
        self,
        n_states: int,
        n_channels: int | None = None,
        width: int = 128,
        multipliers: Sequence[int] = (1, 2, 2, 2),
        n_blocks: int = 2,
        attention: Sequence[int] = (1,),
        dropout: float = 0.1,
        inputs: str = "embedding",
        n_classes: int = 0,
        time_free: bool = False,
    ) -> None:
        super().__init__()
        check_number(width, "width", 1, whole=True)
        check_number(n_blocks, "n_blocks", 1, whole=True)
        check_number(dropout, "dropout", 0, 1)
        for multiplier in check_list(multipliers, "multipliers"):
            check_number(multiplier, "multipliers", 1, whole=True)
        self.n_states, self.n_channels, self.width = n_states, n_channels, width
        self.factor = 2 ** (len(multipliers) - 1)
        channels = n_channels or 1
        if check_choice(inputs, ("embedding", "scaled"), "inputs") == "embedding":
            self.embedding = nn.Embedding(channels * n_states, width)
            nn.init.normal_(self.embedding.weight, std=channels**-0.5)
        else:
            self.embedding = None
        self.time = TimeEmbedding(width, n_classes, time_free=time_free, n_out=4 * width)
        self.time_free = time_free
        self.enter = nn.Conv2d(width if self.embedding is not None else channels, width, 3, padding=1)
        self.layer_names: list[str] = []

        sizes, now = [width], width
        self.down, self.mid, self.up = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for level, multiplier in enumerate(multipliers):
            for block in range(n_blocks):
                self.down[f"{level}_{block}"] = _Block(now, multiplier * width, 4 * width, dropout, level in attention)
                now = multiplier * width
                sizes.append(now)
            if level < len(multipliers) - 1:
                self.down[f"{level}_half"] = nn.Conv2d(now, now, 3, stride=2, padding=1)
                sizes.append(now)
        self.mid["0"] = _Block(now, now, 4 * width, dropout, attention=bool(attention))
        self.mid["1"] = _Block(now, now, 4 * width, dropout, attention=False)
        for level in reversed(range(len(multipliers))):
            for block in range(n_blocks + 1):
                self.up[f"{level}_{block}"] = _Block(
                    now + sizes.pop(), multipliers[level] * width, 4 * width, dropout, level in attention
                )
                now = multipliers[level] * width
            if level:
                self.up[f"{level}_double"] = nn.Conv2d(now, now, 3, padding=1)
        self.leave = nn.GroupNorm(_groups(width), width)
        self.layer_names = [
            f"{part}.{name}"
            for part in ("down", "mid", "up")
            for name in getattr(self, part)
            if not name.endswith(("half", "double"))
        ]

    def forward(
        self, x_t: Tensor, time: Tensor, condition: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> Tensor:
        """Return features (B, H, W, width)."""
        if attention_mask is not None:
            message = "`attention_mask` must be None for pictures, which are whole. Use a net for text."
            raise OptionError(message)
        height, w = x_t.shape[1:3]
        if height % self.factor or w % self.factor:
            message = f"`x_t` must have sides divisible by {self.factor}; got {height} × {w}. Use fewer multipliers."
            raise OptionError(message)
        emb = self.time(time, condition)
        h = self.enter(self._embed(x_t).permute(0, 3, 1, 2))  # (B, width, H, W), channels last in memory
        kept = [h]
        for name, layer in self.down.items():
            h = layer(h) if name.endswith("half") else layer(h, emb)
            kept.append(h)
        for layer in self.mid.values():
            h = layer(h, emb)
        for name, layer in self.up.items():
            if name.endswith("double"):
                h = layer(F.interpolate(h, scale_factor=2.0, mode="nearest"))
            else:
                h = layer(torch.cat([h, kept.pop()], 1), emb)
        return F.silu(self.leave(h)).permute(0, 2, 3, 1)

    def _embed(self, x_t: Tensor) -> Tensor:
        """Return (B, H, W, width or C)."""
        tokens = x_t if self.n_channels else x_t[..., None]  # (B, H, W, C)
        if self.embedding is None:
            return 2 * tokens.to(self.enter.weight.dtype) / (self.n_states - 1) - 1
        offset = (
            torch.arange(tokens.shape[-1], device=x_t.device) * self.n_states
        )  # a vocabulary of its own per channel
        return self.embedding(tokens + offset).sum(-2)


class _Block(nn.Module):
    """Two convolutions around the time embedding, and attention after them if asked for."""

    def __init__(self, n_in: int, n_out: int, n_time: int, dropout: float, attention: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_groups(n_in), n_in), nn.GroupNorm(_groups(n_out), n_out)
        self.conv1, self.conv2 = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.time = nn.Linear(n_time, n_out)
        self.dropout = nn.Dropout(dropout)
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.attention = _Attention(n_out) if attention else None
        nn.init.zeros_(self.conv2.weight)  # every block starts as its shortcut
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(emb))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        h = h + self.shortcut(x)
        return h if self.attention is None else self.attention(h)


class _Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_groups(width), width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, 1, height * w, width)  # (B, one head, H W, width)
        h = F.scaled_dot_product_attention(*self.qkv(tokens).chunk(3, -1))
        return x + self.out(h).reshape(batch, height, w, width).permute(0, 3, 1, 2)


def _groups(width: int) -> int:
    """Return 32 groups as in the paper, or fewer where the width does not divide."""
    return next(
        groups for groups in (32, 16, 8, 4, 2, 1) if (width % groups == 0 and width // groups >= 2) or groups == 1
    )
