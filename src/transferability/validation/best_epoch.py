"""Which weights of a run are kept: those that are most accurate on the validation rows. Imports torch."""

from __future__ import annotations

import copy
import math

from torch import nn

__all__ = ["BestEpoch"]


class BestEpoch:
    """The most accurate weights so far; of equally accurate ones those of the smallest loss.

    The loss alone does not decide: it grows with the confidence of a network that is more and more accurate, and would
    keep one that has learned little.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    head : nn.Module
        What is on top of it before the first epoch: these weights are kept until an epoch is better.
    loss, accuracy : float
        Of both on the validation rows.

    Attributes
    ----------
    epoch : int
        Whose weights are kept; 0 for those before the first.
    accuracy : float
        Of these.
    smallest_loss : float
        Of an epoch, whichever is kept; inf before the first of a finite loss.
    """

    def __init__(self, network: nn.Module, head: nn.Module, *, loss: float, accuracy: float) -> None:
        self._network = network
        self._keep(0, head, loss, accuracy)
        self.smallest_loss = math.inf

    def add(self, epoch: int, head: nn.Module, loss: float, accuracy: float) -> bool:
        """Measure the weights as they are after an epoch against those before; return whether the loss is finite.

        Weights whose loss is not are never kept, and there is no use in training them further.
        """
        if not math.isfinite(loss):
            return False
        if (accuracy, -loss) > (self.accuracy, -self._loss):
            self._keep(epoch, head, loss, accuracy)
        self.smallest_loss = min(self.smallest_loss, loss)
        return True

    def put_back(self, head: nn.Module) -> None:
        """Give the network and `head` the weights that are kept."""
        self._network.load_state_dict(self._weights[0])
        head.load_state_dict(self._weights[1])

    def _keep(self, epoch: int, head: nn.Module, loss: float, accuracy: float) -> None:
        self.epoch, self._loss, self.accuracy = epoch, loss, accuracy
        self._weights = copy.deepcopy(self._network.state_dict()), copy.deepcopy(head.state_dict())
