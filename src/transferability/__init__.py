"""Which pre-trained encoder should I fine-tune, how well will it do, and why?"""

from importlib.metadata import version as _version

from transferability.errors import TransferabilityError as TransferabilityError
from transferability.pipeline import make_pack as make_pack
from transferability.pipeline import rank as rank
from transferability.pipeline import relate as relate
from transferability.relatedness.certify import CertifiedBound as CertifiedBound
from transferability.relatedness.certify import certify as certify
from transferability.relatedness.estimator import TaskRelatedness as TaskRelatedness
from transferability.relatedness.pack import ReferencePack as ReferencePack
from transferability.relatedness.result import Relatedness as Relatedness
from transferability.task import Task as Task

__version__ = _version("transferability")

__all__ = [
    "CertifiedBound",
    "ReferencePack",
    "Relatedness",
    "Task",
    "TaskRelatedness",
    "TransferabilityError",
    "__version__",
    "certify",
    "make_pack",
    "rank",
    "relate",
]
