"""The transformation that a fit found, to apply, to look at and to keep."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from transferability._array import FloatArray
from transferability._tensors import Arrays, read_tensors, write_tensors
from transferability._validate import check_features
from transferability.errors import FeatureError, FileDamagedError
from transferability.relatedness.maps.affine_map import AffineMap, FactoredMap
from transferability.relatedness.tasks.standardize import Scaler

__all__ = ["Transform", "lipschitz_behind"]

_FORMAT = 2
_LARGEST = 1e60  # products of three such numbers are finite


def lipschitz_behind(feature_map: AffineMap, weights: FloatArray) -> float:
    """Return the largest distance between two rows of ``W Ā``."""
    rows = feature_map.then(weights, np.zeros(len(weights))).matrix
    squares = np.einsum("kd,kd->k", rows, rows)
    distances = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    return float(np.sqrt(np.maximum(distances, 0.0).max()))


@dataclass(frozen=True, eq=False)
class Transform:
    r"""What turns the reference task into the target, and target features into predictions.

    A target feature :math:`z` is standardised, mapped to :math:`f(z) = \bar A z + \bar b` in the (standardised) space
    of the reference, classified there by :math:`h_R` and relabelled: :math:`h'(z) = B h_R(f(z))`.
    """

    feature_map: AffineMap  # Ā and b̄
    B: FloatArray  # P(y'' = i | y' = j), (K_T, K_R), columns sum to 1
    D: FloatArray  # transformed reference prior, (K_R,)
    weights: FloatArray  # W of h_R, (K_R, d_R)
    intercept: FloatArray  # c of h_R, (K_R,)
    reference_scaler: Scaler
    target_scaler: Scaler

    @property
    def map(self) -> FloatArray:
        """Ā, shape (d_R, d_T); computed from its factors where it is kept as such."""
        return self.feature_map.matrix

    @property
    def offset(self) -> FloatArray:
        """b̄, shape (d_R,)."""
        return self.feature_map.offset

    @property
    def scalers(self) -> tuple[Scaler, Scaler]:
        """The standardisation of the reference and of the target."""
        return self.reference_scaler, self.target_scaler

    @property
    def lipschitz(self) -> float:
        """Largest distance between two rows of ``W Ā``: the constant of ``−log h_R(f(z))`` in the target's space."""
        return lipschitz_behind(self.feature_map, self.weights)

    def apply(self, features: FloatArray) -> FloatArray:
        """Return target features in the standardised space of the reference, shape (n, d_R)."""
        checked = check_features(features)
        if checked.shape[1] != self.feature_map.shape[1]:
            message = (
                f"`features` must have {self.feature_map.shape[1]} columns, as the target that was fitted; got "
                f"{checked.shape[1]}. Use features of the same encoder."
            )
            raise FeatureError(message)
        return self.feature_map.apply(self.target_scaler.apply(checked))

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Return ``h'(z) = B h_R(f(z))``: target class probabilities without a classifier trained on the target."""
        logits = self.apply(features) @ self.weights.T + self.intercept
        probabilities: FloatArray = np.exp(logits - logsumexp(logits, axis=1, keepdims=True)) @ self.B.T
        return probabilities

    def save(self, path: str | Path) -> None:
        """Write the transformation to a safetensors file, whole or not at all."""
        factors = ("left", "right") if isinstance(self.feature_map, FactoredMap) else ("matrix",)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {("map" if name == "matrix" else name): getattr(self.feature_map, name) for name in factors}
        arrays = {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}
        for part, scaler in zip(("reference", "target"), self.scalers, strict=True):
            arrays[f"{part}_mean"] = scaler.mean.astype(np.float64)
            arrays[f"{part}_scale"] = scaler.scale.astype(np.float64)
            arrays[f"{part}_limit"] = np.array([scaler.limit])
        about = json.dumps({"format": _FORMAT, "holds": "transform"})
        write_tensors(Path(path), arrays, {"transferability": about})

    @classmethod
    def load(cls, path: str | Path) -> Transform:
        """Read what `save` wrote.

        Raises
        ------
        FileDamagedError
            If the file is truncated or holds something else.
        """
        arrays, _ = read_tensors(Path(path), "a transformation")
        try:
            _check_shapes(arrays)
            return cls(
                feature_map=_feature_map(arrays),
                B=arrays["B"],
                D=arrays["D"],
                weights=arrays["weights"],
                intercept=arrays["intercept"],
                reference_scaler=_scaler(arrays, "reference"),
                target_scaler=_scaler(arrays, "target"),
            )
        except (KeyError, ValueError) as error:
            message = f"{str(path)!r} is damaged or no transformation ({error}). Save it again from its result."
            raise FileDamagedError(message) from error


def _check_shapes(arrays: Arrays) -> None:
    """Raise `ValueError` unless the arrays fit each other and are finite."""
    wanted: dict[str, tuple[int, ...]]
    if "map" in arrays:  # as all files were before the factors were kept
        n_out, n_in = arrays["map"].shape
        wanted = {"map": (n_out, n_in)}
    else:
        (n_out, rank), n_in = arrays["left"].shape, arrays["right"].shape[-1]
        wanted = {"left": (n_out, rank), "right": (rank, n_in)}
    n_target, n_reference = arrays["B"].shape
    wanted |= {"offset": (n_out,), "D": (n_reference,), "weights": (n_reference, n_out), "intercept": (n_reference,)}
    wanted |= {"reference_mean": (n_out,), "reference_scale": (n_out,), "target_mean": (n_in,), "target_scale": (n_in,)}
    wanted |= {"B": (n_target, n_reference), "reference_limit": (1,), "target_limit": (1,)}
    for name, shape in wanted.items():
        array = arrays[name]
        least = 1 / _LARGEST if name.endswith("_scale") else 0.0 if name in ("B", "D") else -_LARGEST
        # No limit is infinity. The comparisons are false for nan.
        within = name.endswith("_limit") or bool(((array >= least) & (array <= _LARGEST)).all())
        if array.shape != shape or array.dtype != np.float64 or not within:
            message = f"`{name}` must be float64 of shape {shape} within {least:.0e} and {_LARGEST:.0e}; "
            message += f"got {array.dtype} of shape {array.shape}"
            raise ValueError(message)


def _feature_map(arrays: Arrays) -> AffineMap:
    if "map" in arrays:
        return AffineMap(arrays["map"], arrays["offset"])
    return FactoredMap(arrays["left"], arrays["right"], arrays["offset"])


def _scaler(arrays: Arrays, part: str) -> Scaler:
    return Scaler(arrays[f"{part}_mean"], arrays[f"{part}_scale"], float(arrays[f"{part}_limit"][0]))


_ARRAYS = ("offset", "B", "D", "weights", "intercept")
