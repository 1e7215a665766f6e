"""How data are read and turned into features: every option declared once, with its type, default, range and help.

Commands make their options of these declarations, study files their keys, and Python calls pass `Settings`. A new
option is a field here, and a parameter of what it changes.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict, TypeVar, get_args

from transferability.errors import OptionError

__all__ = [
    "DType",
    "DataOptions",
    "ExtractionArguments",
    "ExtractionOptions",
    "LoadingOptions",
    "Precision",
    "Settings",
]

DType = Literal["float32", "float16"]
"""What features are rounded to and kept as."""
Precision = Literal["float32", "bfloat16", "float16"]
"""Number format of a model's arithmetic."""

T = TypeVar("T")


def _option(
    default: T, text: str, *, least: float | None = None, most: float | None = None, of_machine: bool = False
) -> T:
    """Return a field that commands offer as an option.

    Parameters
    ----------
    default : Any
        Of a switch, False, or True where the option switches it off.
    text : str
        Help of the option.
    least, most : float, optional
        Range.
    of_machine : bool, default=False
        Whether it says how to compute and not what: a ranking that is continued elsewhere may have another value, and
        features in the cache serve every value.
    """
    about = {"help": text, "min": least, "max": most, "of_machine": of_machine}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class DataOptions:
    """How data are read and split."""

    limit: int | None = _option(None, "Maximum rows per data set (stratified). By default all rows.", least=2)
    test_share: float = _option(
        0.3, "Share of each class kept for measuring, where the target is not in folds.", least=0.01, most=0.99
    )
    folds: int | Literal["auto"] = _option(
        "auto", "Folds of the target for cross-fitting; 1 for a single split. auto: 5 below 2,000 rows, else 1."
    )
    seed: int = _option(0, "Seed of every random choice; the same seed gives the same numbers.", least=0)
    near_duplicates: bool = _option(False, "Keep pictures that look the same on one side of every split.")
    use_labels: bool = True  # False: the target is treated as unlabelled. `--unlabelled` of the commands that can


@dataclass(frozen=True)
class LoadingOptions:
    """How encoders are loaded: arguments of `load_encoder`."""

    layer: str | int | None = _option(
        None, "Hidden layer: a name, a number (negative from the end), or all (one pass). By default the features."
    )
    pool: str | None = _option(None, "Pooling over positions: mean, cls or max. By default the encoder's own.")
    precision: Precision = _option("float32", "Number format the encoder computes in.")
    compile: bool = _option(
        False,
        "Compile encoders that run in torch (torch.compile): minutes at first, then faster; for many rows.",
        of_machine=True,
    )
    device: str | None = _option(
        None, "Device: cpu, cuda, cuda:1 or mps. By default the fastest available.", of_machine=True
    )
    trust_remote_code: bool = _option(
        False, "Run code that comes with hf: and st: models; read it first.", of_machine=True
    )


@dataclass(frozen=True)
class ExtractionOptions:
    """How features are computed and kept: arguments of `extract_features`; a job has them as `job.options`."""

    dtype: DType = _option("float32", "Number format of the feature cache; float16 halves its size.", of_machine=True)
    batch_size: int | None = _option(
        None, "Items per forward pass. By default chosen by the encoder.", least=1, of_machine=True
    )
    workers: int | None = _option(
        None,
        "Decoding processes; 0 for none. By default started when the encoder waits for items.",
        least=0,
        of_machine=True,
    )
    cache: bool = _option(True, "Do not read or write the feature cache.", of_machine=True)


class ExtractionArguments(TypedDict, total=False):
    """The fields of `ExtractionOptions` but `cache`, as the keyword arguments of functions that extract."""

    dtype: DType
    batch_size: int | None
    workers: int | None


@dataclass(frozen=True)
class Settings(ExtractionOptions, LoadingOptions, DataOptions):
    """How data are read, split and turned into features; the same for every encoder.

    Raises
    ------
    OptionError
        If a value is of another type than its option, or out of range.
    """

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("seed", 0), ("batch_size", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None or name == "seed":
                object.__setattr__(self, name, _integer(value, name, f"an integer, at least {least}", least))
        if self.folds != "auto":
            object.__setattr__(self, "folds", _integer(self.folds, "folds", "a whole number ≥ 1 or 'auto'", 1))
        share = self.test_share
        real = isinstance(share, numbers.Real) and not isinstance(share, bool)
        _require(real and 0 < share < 1, "test_share", "between 0 and 1", share)
        object.__setattr__(self, "test_share", float(share))
        for name in ("near_duplicates", "use_labels", "compile", "trust_remote_code", "cache"):
            _require(isinstance(getattr(self, name), bool), name, "True or False", getattr(self, name))
        for name, choices in (("precision", get_args(Precision)), ("dtype", get_args(DType))):
            value = getattr(self, name)
            _require(value in choices, name, f"one of {', '.join(map(repr, choices))}", value)
        if self.layer is not None and not isinstance(self.layer, str):
            object.__setattr__(self, "layer", _integer(self.layer, "layer", "a name or a number", None))
        _require(isinstance(self.pool, str | None), "pool", "a name, such as 'mean'", self.pool)

    def of(self, options: type) -> dict[str, Any]:
        """Return the values of one group of options by name, to be passed on as arguments."""
        return {each.name: getattr(self, each.name) for each in fields(options)}


def _integer(value: Any, name: str, wanted: str, least: int | None) -> int:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    _require(whole and (least is None or value >= least), name, wanted, value)
    return int(value)  # one of NumPy is no value of JSON


def _require(fits: bool, name: str, wanted: str, value: Any) -> None:
    if not fits:
        message = f"`{name}` must be {wanted}; got {value!r}."
        raise OptionError(message)
