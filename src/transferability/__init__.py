"""Which pre-trained encoder should I fine-tune, how well will it do, and why?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transferability.datasets import load_dataset as load_dataset
    from transferability.encoders import load_encoder as load_encoder
    from transferability.errors import TransferabilityError as TransferabilityError
    from transferability.pipeline import Settings as Settings
    from transferability.pipeline import make_pack as make_pack
    from transferability.pipeline import rank as rank
    from transferability.pipeline import relate as relate
    from transferability.ranking.result import Ranking as Ranking
    from transferability.relatedness.certify import CertifiedBound as CertifiedBound
    from transferability.relatedness.certify import certify as certify
    from transferability.relatedness.estimator import TaskRelatedness as TaskRelatedness
    from transferability.relatedness.pack import ReferencePack as ReferencePack
    from transferability.relatedness.result import Relatedness as Relatedness
    from transferability.task import Task as Task

    __version__: str

# Where each public name is; imported when it is asked for, so that `import transferability` costs nothing.
_PLACES = {
    "CertifiedBound": "transferability.relatedness.certify",
    "Ranking": "transferability.ranking.result",
    "ReferencePack": "transferability.relatedness.pack",
    "Relatedness": "transferability.relatedness.result",
    "Settings": "transferability.pipeline",
    "Task": "transferability.task",
    "TaskRelatedness": "transferability.relatedness.estimator",
    "TransferabilityError": "transferability.errors",
    "certify": "transferability.relatedness.certify",
    "load_dataset": "transferability.datasets",
    "load_encoder": "transferability.encoders",
    "make_pack": "transferability.pipeline",
    "rank": "transferability.pipeline",
    "relate": "transferability.pipeline",
}

__all__ = [
    "CertifiedBound",
    "Ranking",
    "ReferencePack",
    "Relatedness",
    "Settings",
    "Task",
    "TaskRelatedness",
    "TransferabilityError",
    "__version__",
    "certify",
    "load_dataset",
    "load_encoder",
    "make_pack",
    "rank",
    "relate",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("transferability")
    elif name in _PLACES:
        from importlib import import_module

        value = getattr(import_module(_PLACES[name]), name)
    else:
        message = f"module 'transferability' has no attribute {name!r}"
        raise AttributeError(message)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
