"""Golden values: independent float64 computations from the paper's formulas, and runs of the authors' image code."""

import json
from pathlib import Path

import torch

from d3pm import Absorbing, AbsorbingUniform, BandDiagonal, DiscretizedGaussian, NearestNeighbour, Uniform

GOLDEN = Path(__file__).parent / "golden"


def golden(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def double(values):
    """Nested lists as a float64 tensor: torch.tensor alone would round them to float32."""
    return torch.tensor(values, dtype=torch.float64)


def process_from(case):
    """The process of one golden transition file."""
    d = golden(f"transition_{case}")
    K, betas = d["K"], d.get("betas")
    if case == "uniform":
        return Uniform(K, betas)
    if case.startswith("absorbing_m"):
        return Absorbing(K, betas, mask=d["mask"])
    if case.startswith("gaussian"):
        return DiscretizedGaussian(K, betas)
    if case == "band":
        return BandDiagonal(K, betas, width=2)
    if case == "absorbing_uniform":
        return AbsorbingUniform(K, d["alphas"], betas, mask=d["mask"])
    return NearestNeighbour(d["R"], d["alphas"])


CASES = [
    "uniform",
    "absorbing_mask_last",
    "absorbing_mid",
    "gaussian_paper",
    "gaussian_wide",
    "band",
    "absorbing_uniform",
    "nearest_neighbour",
]


def golden_logits(case, t):
    """L[x_t, x_0] = 1.5 sin(0.7 x_0 + 1.3 x_t + 0.37 t) + 0.8 [x_t = x_0], none at an extra mask."""
    x_t, x_0 = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)[None, :]
    logits = 1.5 * torch.sin(0.7 * x_0 + 1.3 * x_t + 0.37 * t) + 0.8 * (x_t == x_0).double()
    if case in ("absorbing_mask_last", "absorbing_uniform"):
        logits[:, 7] = -1e30
    return logits
