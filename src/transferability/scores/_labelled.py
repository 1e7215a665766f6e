"""Labelled features, checked once, with what several scores are made of: moments, principal axes, a discriminant."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from transferability._array import Array, IntArray, Namespace
from transferability._class_numbers import class_codes
from transferability.scores._discriminant import Discriminant, fit_discriminant
from transferability.scores._principal import PrincipalAxes
from transferability.statistics._inputs import as_features, row_blocks
from transferability.statistics.moments import ClassMoments, class_moments
from transferability.statistics.roots import Rows

__all__ = ["LabelledFeatures"]


class LabelledFeatures:
    """Checked features and classes; everything else is made when it is first asked for, and kept.

    Attributes
    ----------
    array : array of shape (n_samples, n_features)
    xp : namespace
        Of the array.
    labels : int64 array of shape (n_samples,)
        On the host.

    Raises
    ------
    FeatureError, LabelError
        As `as_features` and `class_codes`.
    """

    array: Array
    xp: Namespace
    labels: IntArray

    def __init__(self, features: Any, labels: Any) -> None:
        self.array, self.xp = as_features(features)
        self.labels = class_codes(labels, self.array.shape[0])

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.array.shape[1])

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.labels.max()) + 1

    @property
    def tall(self) -> bool:
        """Whether there are more samples than features: moments are then the shorter way to a score."""
        return self.n_samples > self.n_features

    def blocks(self) -> Iterator[tuple[Array, IntArray]]:
        """Yield the features and labels of blocks of rows, in float64."""
        for start, block in row_blocks(self.xp, self.array):
            yield block, self.labels[start : start + block.shape[0]]

    def centred_rows(self) -> Rows:
        """Return the rows behind the scatter of `moments`."""
        return Rows(self.xp, self.array, self.moments.mean)

    @cached_property
    def moments(self) -> ClassMoments:
        """Class moments."""
        return class_moments(self.array, self.labels)

    @cached_property
    def principal(self) -> PrincipalAxes:
        """Principal axes of the centred features."""
        if self.tall:
            return PrincipalAxes(self.xp, self.array, self.moments.mean, self.moments.scatter)
        return PrincipalAxes(self.xp, self.array)

    @cached_property
    def discriminant(self) -> Discriminant:
        """Linear discriminant whose covariance is shrunk as SFDA does."""
        return fit_discriminant(self.moments, self.blocks)
