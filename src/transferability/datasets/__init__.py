"""Data sets: rows with ids, items and labels."""

from transferability.datasets.base import Dataset as Dataset
from transferability.datasets.duplicates import duplicate_groups as duplicate_groups
from transferability.datasets.duplicates import same_rows as same_rows
from transferability.datasets.duplicates import split_rows as split_rows
from transferability.datasets.registry import load_dataset as load_dataset
from transferability.datasets.sampling import folds as folds
from transferability.datasets.sampling import split as split
from transferability.datasets.sampling import stratified_sample as stratified_sample

__all__ = [
    "Dataset",
    "duplicate_groups",
    "folds",
    "load_dataset",
    "same_rows",
    "split",
    "split_rows",
    "stratified_sample",
]
