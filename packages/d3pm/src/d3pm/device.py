"""Which device a model runs on: one answer for training, sampling, evaluation and encoding."""

from __future__ import annotations

import torch

from d3pm.errors import OptionError

__all__ = ["choose_device"]


def choose_device(name: str | None = None) -> torch.device:
    """Return the device of that name, or by default CUDA where there is one and the CPU elsewhere.

    Raises
    ------
    OptionError
        If the name is not a device's, or this machine has no such device.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).cpu()  # a device may have a name and not be here
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        present = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        message = f"`device` must be a device of this machine ({', '.join(present)}); got {name!r}. Leave it out."
        raise OptionError(message) from error
    return device
