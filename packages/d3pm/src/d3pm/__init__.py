"""Structured denoising diffusion models in discrete state-spaces.

Read `processes.base` first, then `losses`, `sampling`, `training`.
"""

from importlib.metadata import version as _version

from d3pm.checkpoint import load_checkpoint
from d3pm.conventions import Conventions
from d3pm.generation import GenerationConfig, generate
from d3pm.infilling import sample_given
from d3pm.likelihood import Likelihood, negative_log_likelihood
from d3pm.losses import bound_term, training_loss
from d3pm.mutual_information import mutual_information_alphas
from d3pm.objective import Objective
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.absorbing_uniform import AbsorbingUniform
from d3pm.processes.autoregressive import Autoregressive
from d3pm.processes.base import Process
from d3pm.processes.closed import Uniform
from d3pm.processes.dense import BandDiagonal, Custom, DiscretizedGaussian
from d3pm.processes.exponential import NearestNeighbour, NearestNeighbourMask, nearest_neighbour_rate
from d3pm.sampling import sample, sample_first_hitting
from d3pm.schedules import (
    ContinuousSchedule,
    cosine_betas,
    inverse_betas,
    linear_betas,
)
from d3pm.times import sampling_times

__version__ = _version("d3pm")

__all__ = [
    "Absorbing",
    "AbsorbingUniform",
    "Autoregressive",
    "BandDiagonal",
    "ContinuousSchedule",
    "Conventions",
    "Custom",
    "DiscretizedGaussian",
    "GenerationConfig",
    "Likelihood",
    "NearestNeighbour",
    "NearestNeighbourMask",
    "Objective",
    "Process",
    "Uniform",
    "__version__",
    "bound_term",
    "cosine_betas",
    "generate",
    "inverse_betas",
    "linear_betas",
    "load_checkpoint",
    "mutual_information_alphas",
    "nearest_neighbour_rate",
    "negative_log_likelihood",
    "sample",
    "sample_first_hitting",
    "sample_given",
    "sampling_times",
    "training_loss",
]
