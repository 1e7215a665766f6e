"""Statistics of features and labels: streamed moments, shrinkage, spectra, entropies."""

from transferability.statistics.labels import conditional_entropy as conditional_entropy
from transferability.statistics.moments import ClassMoments as ClassMoments
from transferability.statistics.moments import class_moments as class_moments
from transferability.statistics.moments import merge_moments as merge_moments
from transferability.statistics.shrinkage import ledoit_wolf_shrinkage as ledoit_wolf_shrinkage
from transferability.statistics.shrinkage import shrunk_covariance as shrunk_covariance

__all__ = [
    "ClassMoments",
    "class_moments",
    "conditional_entropy",
    "ledoit_wolf_shrinkage",
    "merge_moments",
    "shrunk_covariance",
]
