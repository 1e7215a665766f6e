"""Tiny data, and the settings of runs on them that take a second."""

import numpy as np

from d3pm.config import Config


def stripes(n=400):
    """4 × 4 pictures of stripes across or down, in four shades: little entropy, much structure."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=n)
    shades = rng.integers(4, size=(n, 4)).astype(np.uint8)
    pictures = np.where(labels[:, None, None] == 0, shades[:, :, None], shades[:, None, :]) + np.zeros(
        (1, 4, 4), np.uint8
    )
    return pictures.astype(np.uint8), labels


def tiny(process="absorbing", **train_options):
    """Settings of a small net and a short run; `train_options` overwrite those of its [train]."""
    masked = process == "absorbing"
    return Config.from_dict(
        {
            "process": {
                "kind": process,
                "steps": 10,
                "schedule": "linear" if process == "gaussian" else "inverse",
                "start": 0.1,
                "stop": 0.5,
            },
            "net": {"kind": "unet", "width": 16, "multipliers": [1, 2], "n_blocks": 1, "attention": [], "dropout": 0.1},
            "loss": {"kind": "masked" if masked else "bound", "cross_entropy": 0.0 if masked else 0.01},
            "train": {
                "steps": 60,
                "batch": 32,
                "lr": 5e-3,
                "ema": 0.9,
                "log_every": 20,
                "checkpoint_every": 1000,
                **train_options,
            },
            "evaluate": {"times": 0, "examples": 50},
        }
    )
