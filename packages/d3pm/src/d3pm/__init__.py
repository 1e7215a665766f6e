"""Structured denoising diffusion models in discrete state-spaces.

Read `processes.base` first, then `losses`, `sampling`, `training`.
"""

from d3pm.likelihood import Likelihood, negative_log_likelihood
from d3pm.losses import Objective, bound_term, training_loss
from d3pm.processes.base import Process
from d3pm.processes.closed import Absorbing, AbsorbingUniform, Uniform
from d3pm.processes.dense import BandDiagonal, Custom, DiscretizedGaussian
from d3pm.processes.exponential import NearestNeighbour, nearest_neighbour_rate
from d3pm.schedules import (
    ContinuousSchedule,
    cosine_betas,
    inverse_betas,
    linear_betas,
    mutual_information_alphas,
)

__all__ = [
    "Absorbing",
    "AbsorbingUniform",
    "BandDiagonal",
    "ContinuousSchedule",
    "Custom",
    "DiscretizedGaussian",
    "Likelihood",
    "NearestNeighbour",
    "Objective",
    "Process",
    "Uniform",
    "bound_term",
    "cosine_betas",
    "inverse_betas",
    "linear_betas",
    "mutual_information_alphas",
    "nearest_neighbour_rate",
    "negative_log_likelihood",
    "training_loss",
]
