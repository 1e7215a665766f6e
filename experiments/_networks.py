"""Small networks of 32×32 pictures, and ways to pre-train them without a hub."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["METHODS", "ConvNet", "SmallViT", "pretrain"]

SIZE = 32


class ConvNet(nn.Module):
    """Three blocks of convolution; features are its last map on a 2×2 grid, 16 · width of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for block, channels in enumerate((width, 2 * width, 4 * width)):
            pool = nn.MaxPool2d(2) if block < 2 else nn.AdaptiveAvgPool2d(2)
            layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(), pool]
            before = channels
        self.body = nn.Sequential(*layers)
        self.n_features = 16 * width

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels).flatten(1)  # (n, 3, 32, 32) -> (n, 16 · width)


class SmallViT(nn.Module):
    """A transformer of 8×8 patches of 4×4 pixels; features are the mean of its last tokens."""

    def __init__(self, n_features: int, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, n_features, 4, stride=4)
        self.positions = nn.Parameter(0.02 * torch.randn(1, (SIZE // 4) ** 2, n_features))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(n_features, 4, 2 * n_features, 0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(n_features)
        self.n_features = n_features

    def tokens(self, pixels: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the last tokens (n, 64, d); patches where `hidden` (n, 64) is True are blanked."""
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)  # (n, d, 8, 8) -> (n, 64, d)
        if hidden is not None:
            tokens = tokens.masked_fill(hidden[..., None], 0.0)
        tokens = tokens + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.tokens(pixels).mean(1)


def supervised(network: nn.Module, pixels: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Class labels."""
    return functional.cross_entropy(head(network(pixels)), labels)


def adversarial(network: nn.Module, pixels: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Class labels of pictures moved against the network, one step of at most 8/255 from a random start."""
    size = 8 / 255 * 2  # pixels lie in −1..1
    moved = (pixels + torch.empty_like(pixels).uniform_(-size, size)).requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(head(network(moved)), labels), moved)
    worst = pixels + (moved.detach() + 1.25 * size * gradient.sign() - pixels).clamp(-size, size)
    return functional.cross_entropy(head(network(worst.clamp(-1, 1))), labels)


def rotation(network: nn.Module, pixels: Tensor, _labels: Tensor, head: nn.Module) -> Tensor:
    """How far a picture was turned, in quarters; no labels are used."""
    quarters = torch.randint(4, (len(pixels),))
    turned = torch.stack([torch.rot90(each, int(k), (1, 2)) for each, k in zip(pixels, quarters, strict=True)])
    return functional.cross_entropy(head(network(turned))[:, :4], quarters)


def contrastive(network: nn.Module, pixels: Tensor, _labels: Tensor, head: nn.Module) -> Tensor:
    """Two views of a picture must be alike, and unlike those of others (SimCLR); no labels are used."""
    views = functional.normalize(head(network(torch.cat([_view(pixels), _view(pixels)]))), dim=1)
    likeness = (views @ views.T / 0.2).fill_diagonal_(-torch.inf)  # (2n, 2n)
    return functional.cross_entropy(likeness, torch.arange(2 * len(pixels)).roll(len(pixels)))


def masked(network: nn.Module, pixels: Tensor, _labels: Tensor, head: nn.Module) -> Tensor:
    """Pixels of the patches that were blanked, half of all; no labels are used. For transformers."""
    hidden = torch.rand(len(pixels), (SIZE // 4) ** 2) < 0.5
    guessed = head(network.tokens(pixels, hidden))  # (n, 64, 48)
    truth = functional.unfold(pixels, 4, stride=4).transpose(1, 2)  # (n, 48, 64) -> (n, 64, 48)
    return (guessed - truth)[hidden].square().mean()


METHODS = {each.__name__: each for each in (supervised, adversarial, rotation, contrastive, masked)}


def pretrain(
    network: nn.Module, method: str, pixels: np.ndarray, labels: np.ndarray, *, epochs: int, seed: int
) -> float:
    """Train a network in place; return the mean loss of the last epoch."""
    torch.manual_seed(seed)
    outputs = {"contrastive": 64, "masked": 48}.get(method, max(4, int(labels.max()) + 1))
    head = nn.Linear(network.n_features, outputs)
    x, y = torch.from_numpy(pixels), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=2e-3, weight_decay=1e-2)
    steps = epochs * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(len(x))[: len(x) // 64 * 64].split(64):
            loss = METHODS[method](network, x[rows], y[rows], head)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
    network.eval()
    return float(np.mean(losses))


def _view(pixels: Tensor) -> Tensor:
    """Return a random window of each picture, in other light and contrast."""
    n = len(pixels)
    scale = torch.empty(n).uniform_(0.5, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = torch.empty(n, 2).uniform_(-1, 1) * (1 - scale)[:, None]
    grid = functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    cut = functional.grid_sample(pixels, grid, align_corners=False)
    tint = torch.empty(n, 3, 1, 1).uniform_(0.6, 1.4)
    return (cut * tint + torch.empty(n, 3, 1, 1).uniform_(-0.3, 0.3)).clamp(-1, 1)
