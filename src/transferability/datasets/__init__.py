"""Data sets: rows with ids, items and labels."""

from transferability.datasets.base import Dataset as Dataset
from transferability.datasets.registry import load_dataset as load_dataset
from transferability.datasets.sampling import folds as folds
from transferability.datasets.sampling import split as split
from transferability.datasets.sampling import stratified_sample as stratified_sample

__all__ = ["Dataset", "folds", "load_dataset", "split", "stratified_sample"]
