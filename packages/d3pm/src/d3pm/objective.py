"""What to minimise: the bound, or one of its relatives."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

from d3pm.conventions import Conventions
from d3pm.counted import masks_linearly
from d3pm.errors import OptionError, TimesWarning, check_choice, check_number
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import Process

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """What to minimise.

    Attributes
    ----------
    kind : {"bound", "masked", "counted", "simple", "cross_entropy"}
        "bound": the term of L_vb, plus `cross_entropy` times the cross-entropy (L_λ; λ = 0.001 for the paper's images,
        0.01 for its absorbing text). "masked": the absorbing process's closed form. "counted": the same bound in
        continuous time with less variance, by masking an exact number of positions; see `d3pm.counted`. "simple":
        cross-entropy at masked positions with weight one at every masking ratio, a masked language model's objective;
        for encoders.
        "cross_entropy": the auxiliary term of equation 5 alone, at all positions and times, for any process.
    cross_entropy : float, default=0
        λ of equation 5.
    low, high : float, default=0, 1
        Range of times trained on, as fractions of T. An encoder sees little noise at use: (0.05, 0.6) serves it.
    times : {"uniform", "importance"}, default="uniform"
        "importance": more often where the loss is large, weighted to the same mean; see `TimeImportance`. For "bound"
        and "masked".
    """

    kind: Literal["bound", "masked", "counted", "simple", "cross_entropy"] = "bound"
    cross_entropy: float = 0.0
    low: float = 0.0
    high: float = 1.0
    times: Literal["uniform", "importance"] = "uniform"

    def __post_init__(self) -> None:
        check_choice(self.kind, ("bound", "masked", "counted", "simple", "cross_entropy"), "kind")
        check_choice(self.times, ("uniform", "importance"), "times")
        if self.times == "importance" and self.kind not in ("bound", "masked"):
            message = f"`times` = 'importance' needs `kind` = 'bound' or 'masked'; got {self.kind!r}."
            raise OptionError(message)
        check_number(self.cross_entropy, "cross_entropy", 0)
        if not 0 <= self.low < self.high <= 1:
            message = f"`low` and `high` must be 0 ≤ low < high ≤ 1; got {self}."
            raise OptionError(message)

    def say_untrained(self, use: str) -> None:
        """Warn that some times are left out of training, if they are, and how they are used nevertheless."""
        left_out = [f"below {self.low:g} T"] * (self.low > 0) + [f"above {self.high:g} T"] * (self.high < 1)
        if left_out:
            message = f"This net was not trained at times {' and '.join(left_out)} (loss.low, loss.high), {use}."
            warnings.warn(message, TimesWarning, stacklevel=3)

    def check(self, process: Process, conventions: Conventions) -> None:
        """Raise `OptionError` if this objective does not train that model of that process."""
        conventions.check(process)
        if conventions.mode == "score" and (self.kind != "bound" or self.cross_entropy):
            message = f"`kind` must be 'bound' without cross-entropy for a net of scores, which says no p̃; got {self}."
            raise OptionError(message)
        masks = self.kind in ("masked", "counted", "simple")
        if masks and not isinstance(process, Absorbing):
            message = (
                f"`kind` must be 'bound' or 'cross_entropy' for a {process.kind} process; "
                f"got {self.kind!r}, which needs masks."
            )
            raise OptionError(message)
        if self.kind == "counted" and not masks_linearly(process):
            message = "`kind` = 'counted' needs continuous time, process.steps = 0, and process.schedule = 'linear'."
            raise OptionError(message)
        if masks and conventions.first != "eq4":
            message = f"`first` must be 'eq4' with `kind` = {self.kind!r}, the closed form of equation 4; got 'direct'."
            raise OptionError(message)
