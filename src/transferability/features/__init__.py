"""From an encoder and a data set to features, kept on disk."""

from transferability._files import Features as Features
from transferability._files import read_features as read_features
from transferability._files import write_features as write_features
from transferability.features.extract import extract_blocks as extract_blocks
from transferability.features.extract import extract_features as extract_features
from transferability.features.extract import extract_outputs as extract_outputs
from transferability.features.extract import extract_to_files as extract_to_files
from transferability.features.share import ShareDone as ShareDone
from transferability.features.share import extract_share as extract_share
from transferability.features.store import FeatureCache as FeatureCache
from transferability.features.store import default_cache_folder as default_cache_folder

__all__ = [
    "FeatureCache",
    "Features",
    "ShareDone",
    "default_cache_folder",
    "extract_blocks",
    "extract_features",
    "extract_outputs",
    "extract_share",
    "extract_to_files",
    "read_features",
    "write_features",
]
