"""Which pre-trained encoder should I fine-tune, how well will it do, and why?"""

import typing as _typing
from importlib import import_module as _import_module

from transferability.errors import TransferabilityError as TransferabilityError

if _typing.TYPE_CHECKING:
    from transferability.datasets import load_dataset as load_dataset
    from transferability.encoders import load_encoder as load_encoder
    from transferability.pipeline import rank as rank
    from transferability.pipeline import relate as relate
    from transferability.pipeline.make_pack import make_pack as make_pack
    from transferability.ranking.result import Ranking as Ranking
    from transferability.relatedness.certify import CertifiedBound as CertifiedBound
    from transferability.relatedness.certify import certify as certify
    from transferability.relatedness.estimator import TaskRelatedness as TaskRelatedness
    from transferability.relatedness.packs.pack import ReferencePack as ReferencePack
    from transferability.relatedness.results.result import Relatedness as Relatedness
    from transferability.settings import Settings as Settings
    from transferability.task import Task as Task

    __version__: str

# SciPy takes half a second to import. Names are imported when they are used, so that `transferability --help`, workers
# that only decode, and whoever needs a single name do not wait for it.
_MODULES = {
    "CertifiedBound": "transferability.relatedness.certify",
    "Ranking": "transferability.ranking.result",
    "ReferencePack": "transferability.relatedness.packs.pack",
    "Relatedness": "transferability.relatedness.results.result",
    "Settings": "transferability.settings",
    "Task": "transferability.task",
    "TaskRelatedness": "transferability.relatedness.estimator",
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


def __getattr__(name: str) -> _typing.Any:
    if name == "__version__":
        from importlib.metadata import version

        value: _typing.Any = version("transferability")
    elif name in _MODULES:
        value = getattr(_import_module(_MODULES[name]), name)
    else:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message, name=name, obj=None)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
