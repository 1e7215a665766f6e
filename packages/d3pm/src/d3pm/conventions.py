"""How a net's output p̃(x_0 | x_t) becomes a model: one object, the same in loss, evaluation and sampling.

The official codes differ in these choices, and each combination is another model with another likelihood. A model that
is trained by one convention and sampled by another is two models. The choice is therefore a part of the model: the
recipe's table `[conventions]`, stored in the checkpoint, carried by `Denoiser.conventions`, and read by all functions
that turn p̃ into a reverse step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from d3pm.errors import OptionError, check_choice
from d3pm.processes.absorbing import Absorbing
from d3pm.processes.base import Mode, Process
from d3pm.processes.closed import Uniform

__all__ = ["Conventions", "Final", "First", "conventions_of"]

First = Literal["eq4", "direct"]
Final = Literal["draw", "argmax"]


@dataclass(frozen=True)
class Conventions:
    """What p̃ means and how x_0 is drawn.

    Attributes
    ----------
    mode : {"joint", "mixture", "score"}, default="joint"
        How the logits are read. "joint" and "mixture": as p̃; see `Process.reverse`. "score": as the ratios of SEDD,
        log p_t(x_t with j in its place) / p_t(x_t) less that at x_t; for uniform and absorbing processes in continuous
        time with a schedule that ends at a finite exponent ("geometric"). Their bound is the score entropy.
    first : {"eq4", "direct"}, default="eq4"
        The law of x_0 in the last reverse step. "eq4": p_θ(x_0 | x_1) by equation 4 like every other step, as in the
        authors' text code; its cost L_0 vanishes as T grows, and a masked model keeps the tokens it has. "direct": p̃
        itself, as in the authors' image code; L_0 leaves a cost of reconstruction however large T is. Discrete time
        only: in the limit of continuous time equation 4 is all there is.
    final : {"draw", "argmax"}, default="draw"
        How x_0 comes from that law. The bound is that of the drawn samples; "argmax" is what both official codes do.
    """

    mode: Mode = "joint"
    first: First = "eq4"
    final: Final = "draw"

    def __post_init__(self) -> None:
        check_choice(self.mode, ("joint", "mixture", "score"), "mode")
        check_choice(self.first, ("eq4", "direct"), "first")
        check_choice(self.final, ("draw", "argmax"), "final")

    def check(self, process: Process) -> Conventions:
        """Return self, or raise `OptionError` if the process has no such model."""
        if self.first == "direct" and process.n_steps is None:
            message = "`first` must be 'eq4' in continuous time, whose last step is infinitely short; got 'direct'."
            raise OptionError(message)
        if self.mode == "score" and not (process.n_steps is None and _ends(process)):
            message = (
                "`mode` = 'score' needs a uniform or absorbing process in continuous time with the schedule "
                f"'geometric'; got a {process.kind} process."
            )
            raise OptionError(message)
        return self

    def read(self, logits: Tensor) -> Tensor:
        """Return what losses take for log p̃: normalised logits, or scores as they are."""
        return logits if self.mode == "score" else logits.log_softmax(-1)

    def log_reverse(self, process: Process, x_t: Tensor, log_p: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """Return log p_θ(x_s | x_t), (..., K), of log p̃ (..., K); s and t are one time for all."""
        if self.first == "direct" and float(s) == 0:
            return log_p
        return process.log_reverse(x_t, log_p, s, t, self.mode)


def _ends(process: Process) -> bool:
    """Return whether the exponent at the end is finite, so that scores can be brought back from there."""
    return isinstance(process, Uniform | Absorbing) and bool(process.final_exponent.isfinite())


def conventions_of(denoiser: Any, conventions: Conventions | None = None) -> Conventions:
    """Return the conventions given, else the denoiser's own (`Denoiser.conventions`), else the defaults."""
    if conventions is not None:
        return conventions
    own = getattr(denoiser, "conventions", None)
    return own if isinstance(own, Conventions) else Conventions()
