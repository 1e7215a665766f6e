"""End-to-end fine-tuning of an encoder on a target: the truth that scores are held against. Imports torch.

A linear head reads the features, which are standardised by the mean and deviation that they have before training:
encoders differ in the scale of their features by orders of magnitude, and one learning rate must serve them all. AdamW,
a warm-up of one epoch, then a cosine; the weights with the smallest validation loss are kept. No augmentation: digits,
letters and signs must not be flipped, and what is right for one data set is wrong for the next.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transferability._array import IntArray
from transferability.datasets import Dataset, split
from transferability.encoders import Encoder, TrainableEncoder
from transferability.errors import EncoderError, LabelError
from transferability.validation.settings import FineTuning, Measured, Rates

__all__ = ["FineTuner", "check_trainable"]

_KEEP_PREPARED = 2**30  # bytes of prepared items kept between epochs; beyond, they are prepared again
_CHOICE_SEED = 0


class _Parts(NamedTuple):
    """Rows of the data set."""

    train: IntArray
    validation: IntArray
    test: IntArray


def check_trainable(encoder: Encoder) -> TrainableEncoder:
    """Return the encoder as one that can be trained.

    Raises
    ------
    EncoderError
        If it does not run in torch.
    """
    if not isinstance(encoder, TrainableEncoder):
        message = f"encoder {encoder.name!r} cannot be fine-tuned: only encoders that run in torch can "
        message += "(timm:, torchvision:, hf:, st:). Take method 'probe', which trains a linear classifier on top."
        raise EncoderError(message)
    return encoder


class FineTuner:
    """Trains one encoder on one target, as often as asked, each time from the weights it came with.

    Parameters
    ----------
    encoder : Encoder
        One that runs in torch. Its weights are put back after every run.
    dataset : Dataset
        With labels.
    fit_rows, test_rows : array of int
        Rows to train and validate on, and rows to measure on.
    settings : FineTuning, optional

    Raises
    ------
    EncoderError
        If the encoder cannot be trained.
    LabelError
        If the data have no labels.
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        fit_rows: IntArray,
        test_rows: IntArray,
        settings: FineTuning | None = None,
    ) -> None:
        if dataset.labels is None:
            message = f"data {dataset.name!r} must have labels to be trained on; got none."
            raise LabelError(message)
        self.settings = settings or FineTuning()
        self._encoder = check_trainable(encoder)
        self._labels = torch.from_numpy(dataset.labels.astype(np.int64))
        self._n_classes = int(dataset.labels.max()) + 1
        train, validation = split(dataset.labels[fit_rows], self.settings.validation_share, seed=0)
        self._parts = _Parts(fit_rows[train], fit_rows[validation], test_rows)
        self._items = _Items(self._encoder, dataset)

    def choose(self) -> Rates:
        """Return the learning rate and weight decay with the smallest validation loss after a few epochs."""
        settings = self.settings
        frozen = settings.frozen_norms if self._norms() else (False,)
        tried = [Rates(*each) for each in itertools.product(settings.learning_rates, settings.weight_decays, frozen)]
        if len(tried) == 1:
            return tried[0]

        def loss(rates: Rates) -> float:
            with self._restored():
                return self._train(rates, _CHOICE_SEED, settings.choice_epochs)[1]

        losses = {rates: loss(rates) for rates in tried}
        best = min(tried, key=losses.__getitem__)
        if not math.isfinite(losses[best]):
            message = f"encoder {self._encoder.name!r} cannot be fine-tuned: its loss is not finite at any of the "
            message += f"learning rates {', '.join(map(str, settings.learning_rates))}. Take smaller ones."
            raise EncoderError(message)
        return best

    def run(self, rates: Rates, seed: int) -> Measured:
        """Train with one seed, of head order and dropout, and measure on the test rows."""
        with self._restored():
            return self._measured(rates, seed)

    def train(self, rates: Rates, seed: int) -> Measured:
        """As `run`, but the encoder keeps its new weights."""
        return self._measured(rates, seed)

    def _measured(self, rates: Rates, seed: int) -> Measured:
        predict, _, epochs = self._train(rates, seed, self.settings.epochs)
        loss, accuracy = self._evaluate(predict, self._parts.test)
        return Measured(accuracy, loss, self._evaluate(predict, self._parts.validation)[1], epochs)

    def _train(self, rates: Rates, seed: int, n_epochs: int) -> tuple[Callable[[list[Any]], Tensor], float, int]:
        """Train; return what gives logits of a batch, the smallest validation loss, and after how many epochs."""
        settings, network = self.settings, self._encoder.module
        rng = np.random.default_rng(seed)
        device = next(network.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)  # of dropout and stochastic depth
            head = self._head().to(device)
            body, top = list(network.parameters()), list(head.linear.parameters())
            groups = [{"params": body}, {"params": top, "lr": rates.learning_rate * settings.head_factor}]
            optimizer = torch.optim.AdamW(groups, lr=rates.learning_rate, weight_decay=rates.weight_decay)
            n_batches = math.ceil(len(self._parts.train) / settings.batch_size)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(n_batches, n_epochs * n_batches))

            def predict(batch: list[Any]) -> Tensor:
                return head(self._encoder.differentiable(batch))

            best, best_epoch, kept = math.inf, 0, None
            for layer in self._norms():
                # Some networks come with .01, for runs of a hundred thousand steps. In a hundred their means would
                # stay behind the weights, and the network be right in training and wrong in use.
                layer.momentum = max(layer.momentum or 0.0, 0.1)
            for epoch in range(1, n_epochs + 1):
                network.train()
                for layer in self._norms():
                    layer.train(not rates.frozen_norm)
                for rows in np.array_split(rng.permutation(self._parts.train), n_batches):
                    losses = nn.functional.cross_entropy(predict(self._items[rows]), self._labels[rows].to(device))
                    optimizer.zero_grad()
                    losses.backward()
                    nn.utils.clip_grad_norm_([*body, *top], 1.0)
                    optimizer.step()
                    schedule.step()
                loss, _ = self._evaluate(predict, self._parts.validation)
                if loss < best:
                    best, best_epoch = loss, epoch
                    kept = copy.deepcopy((network.state_dict(), head.state_dict()))
                elif not math.isfinite(loss) or epoch - best_epoch >= settings.patience:
                    break
        if kept is not None:  # else the loss was never finite
            network.load_state_dict(kept[0])
            head.load_state_dict(kept[1])
        return predict, best, best_epoch

    def _evaluate(self, predict: Callable[[list[Any]], Tensor], rows: IntArray) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        self._encoder.module.eval()
        loss = right = 0.0
        with torch.no_grad():
            for part in np.array_split(rows, math.ceil(len(rows) / (4 * self.settings.batch_size))):
                logits = predict(self._items[part]).cpu()
                loss += float(nn.functional.cross_entropy(logits, self._labels[part], reduction="sum"))
                right += int((logits.argmax(1) == self._labels[part]).sum())
        return loss / len(rows), right / len(rows)

    def _norms(self) -> list[Any]:
        """Return the layers of batch normalisation."""
        kind = nn.modules.batchnorm._BatchNorm
        return [layer for layer in self._encoder.module.modules() if isinstance(layer, kind)]

    def _head(self) -> _Head:
        mean, scale = self._moments
        return _Head(mean, scale, self._n_classes)

    @property
    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the features before training, of as many rows as decide them well enough."""
        self._encoder.module.eval()
        rows = self._parts.train[:: max(1, len(self._parts.train) // 512)]
        with torch.no_grad():
            parts = np.array_split(rows, math.ceil(len(rows) / (4 * self.settings.batch_size)))
            features = torch.cat([self._encoder.differentiable(self._items[part]) for part in parts])
        deviation = features.std(0)
        # A feature that is all but dead now may wake up; divided by what it varies now it would drown the others.
        return features.mean(0), deviation.clamp(min=0.3 * float(deviation.square().mean().sqrt()) + 1e-30)

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """Put weights, mode and gradients back to what they are now."""
        network = self._encoder.module
        before, training = copy.deepcopy(network.state_dict()), network.training
        momenta = [(layer, layer.momentum) for layer in self._norms()]
        try:
            yield
        finally:
            network.load_state_dict(before)
            for layer, momentum in momenta:
                layer.momentum = momentum
            network.train(training)
            network.zero_grad(set_to_none=True)


class _Head(nn.Module):  # type: ignore[misc]
    """A linear classifier of standardised features; it begins at zero, all classes alike."""

    def __init__(self, mean: Tensor, scale: Tensor, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.linear = nn.Linear(len(mean), n_classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear((features - self.mean) / self.scale)  # (n, d) -> (n, K)


class _Items:
    """Prepared items of rows, kept between epochs while memory allows."""

    def __init__(self, encoder: TrainableEncoder, dataset: Dataset) -> None:
        self._prepare, self._dataset = encoder.preprocess, dataset
        self._kept: dict[int, Any] = {}
        self._bytes = 0

    def __getitem__(self, rows: IntArray) -> list[Any]:
        return [self._kept[row] if row in self._kept else self._read(row) for row in rows.tolist()]

    def _read(self, row: int) -> Any:
        (item,) = self._dataset.items([row])
        prepared: Any = item if self._prepare is None else self._prepare(item)
        size = prepared.nbytes if isinstance(prepared, np.ndarray) else 0
        if self._bytes + size <= _KEEP_PREPARED:
            self._kept[row] = prepared
            self._bytes += size
        return prepared


def _warm_cosine(warm: int, total: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return factor
