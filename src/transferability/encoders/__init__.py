"""Encoders: anything that turns pictures or texts into features."""

from transferability.encoders.base import FEATURES as FEATURES
from transferability.encoders.base import PROBABILITIES as PROBABILITIES
from transferability.encoders.base import Encoder as Encoder
from transferability.encoders.base import MultiOutputEncoder as MultiOutputEncoder
from transferability.encoders.base import TrainableEncoder as TrainableEncoder
from transferability.encoders.identity import identity_of as identity_of
from transferability.encoders.outputs import OutputView as OutputView
from transferability.encoders.outputs import accepts as accepts
from transferability.encoders.outputs import every_layer as every_layer
from transferability.encoders.outputs import forward as forward
from transferability.encoders.outputs import hidden_layers as hidden_layers
from transferability.encoders.outputs import outputs_of as outputs_of
from transferability.encoders.outputs import preprocess_of as preprocess_of
from transferability.encoders.outputs import select as select
from transferability.encoders.outputs import spread_layers as spread_layers
from transferability.encoders.outputs import start as start
from transferability.encoders.precomputed import FeatureFiles as FeatureFiles
from transferability.encoders.registry import load_encoder as load_encoder
from transferability.encoders.trainable import as_trainable as as_trainable

__all__ = [
    "FEATURES",
    "PROBABILITIES",
    "Encoder",
    "FeatureFiles",
    "MultiOutputEncoder",
    "OutputView",
    "TrainableEncoder",
    "accepts",
    "as_trainable",
    "every_layer",
    "forward",
    "hidden_layers",
    "identity_of",
    "load_encoder",
    "outputs_of",
    "preprocess_of",
    "select",
    "spread_layers",
    "start",
]
