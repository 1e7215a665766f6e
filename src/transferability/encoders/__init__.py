"""Encoders: anything that turns pictures or texts into features."""

from transferability.encoders.base import Encoder as Encoder
from transferability.encoders.precomputed import FeatureFiles as FeatureFiles
from transferability.encoders.registry import load_encoder as load_encoder

__all__ = ["Encoder", "FeatureFiles", "load_encoder"]
