"""Which pre-trained encoder should I fine-tune, how well will it do, and why?"""

from importlib.metadata import version as _version

from transferability.errors import TransferabilityError as TransferabilityError
from transferability.task import Task as Task

__version__ = _version("transferability")

__all__ = ["Task", "TransferabilityError", "__version__"]
