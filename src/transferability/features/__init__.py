"""From an encoder and a data set to features, kept on disk."""

from transferability._files import Features as Features
from transferability._files import read_features as read_features
from transferability._files import write_features as write_features
from transferability.features.cache import FeatureCache as FeatureCache
from transferability.features.cache import default_cache_folder as default_cache_folder
from transferability.features.extract import extract_features as extract_features

__all__ = [
    "FeatureCache",
    "Features",
    "default_cache_folder",
    "extract_features",
    "read_features",
    "write_features",
]
