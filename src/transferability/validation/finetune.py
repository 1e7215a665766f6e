"""End-to-end fine-tuning of an encoder on a target: the truth that scores are held against. Imports torch.

The head first, as a linear probe of the frozen features; then all weights, from this head or a fresh one, by AdamW with
a warm-up of one epoch and a cosine. The weights that are most accurate on the validation part are kept, of equal ones
those with the smallest loss, and the probe of the frozen encoder is among them: there fine-tuning is never worse than
the probe. The loss does not decide alone, as it grows with the confidence of a network that is more and more accurate.
No run ends before its schedule: the accuracy rises most where the rate falls.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transferability._array import IntArray
from transferability.datasets import Dataset, duplicate_groups, split
from transferability.encoders import Encoder, TrainableEncoder, as_trainable
from transferability.errors import EncoderError, LabelError
from transferability.validation.augment import shift_and_zoom
from transferability.validation.batch_norm import estimate_untouched, norms_of, short_memory
from transferability.validation.batches import PreparedItems
from transferability.validation.best_epoch import BestEpoch
from transferability.validation.choice import choose
from transferability.validation.framework_errors import check_reached, said_of
from transferability.validation.head import Head, fit_head, loss_and_accuracy
from transferability.validation.network_state import restored
from transferability.validation.passes import Passes
from transferability.validation.schedule import warm_cosine
from transferability.validation.settings import FineTuning, Hyperparameters, TrainingResult

__all__ = ["FineTuner"]

_CHOICE_SEED = 0
_STATISTICS_BATCHES = 8


class _Parts(NamedTuple):
    """Rows of the data set."""

    train: IntArray
    validation: IntArray
    test: IntArray


class _Trained(NamedTuple):
    predict: Callable[[Any], Tensor]  # logits of a batch
    loss: float  # the smallest validation loss of an epoch; inf if none was finite
    accuracy: float  # on the validation part, of the weights that were kept
    epochs: int  # passes up to these


class _Start(NamedTuple):
    head: Head
    loss: float  # on the validation part
    validation_accuracy: float
    accuracy: float  # on the test rows


class FineTuner:
    """Trains one encoder on one target, as often as asked, each time from the weights it came with.

    Parameters
    ----------
    encoder : Encoder
        One that runs in torch, or an ONNX graph that can be converted. Its weights are put back after every run.
    dataset : Dataset
        With labels.
    fit_rows, test_rows : array of int
        Rows to train and validate on, and rows to measure on.
    settings : FineTuning, optional
    groups : array of int, optional
        Of all rows of the data: rows of one number are validated or trained on together; by default copies.
    workers : int, optional
        Processes that decode; by default as many as pay.

    Raises
    ------
    EncoderError
        If the encoder cannot be trained.
    LabelError
        If the data have no labels.

    Notes
    -----
    Pictures are decoded once and kept, as 8-bit pixels where the preprocessing allows; beyond 1 GiB in a file that is
    mapped. A step costs little more than its passes forward and backward (`benchmarks/finetune.py`).
    """

    def __init__(
        self,
        encoder: Encoder,
        dataset: Dataset,
        fit_rows: IntArray,
        test_rows: IntArray,
        settings: FineTuning | None = None,
        *,
        groups: IntArray | None = None,
        workers: int | None = None,
    ) -> None:
        if dataset.labels is None:
            message = f"data {dataset.name!r} must have labels to be trained on; got none."
            raise LabelError(message)
        self.settings, self._name = settings or FineTuning(), dataset.name
        with said_of(encoder.name):
            self._encoder: TrainableEncoder = as_trainable(encoder)
            network: nn.Module = self._encoder.module
            self._device = next(network.parameters()).device
            self._labels = torch.from_numpy(dataset.labels.astype(np.int64)).to(self._device)
            self._n_classes = int(dataset.labels.max()) + 1
            self._groups = duplicate_groups(dataset) if groups is None else groups
            self._parts = self._split(fit_rows, test_rows)
            self._items = PreparedItems(
                self._encoder, dataset, np.concatenate([fit_rows, test_rows]), self._device, workers
            )
            self._passes = Passes(self._encoder, self._device, lambda: self._items.first(2))
            self._norms = norms_of(network)

    def with_settings(self, settings: FineTuning) -> FineTuner:
        """Return a tuner of the same encoder and rows with other settings; it reads no picture again."""
        other = copy.copy(self)
        other.settings = settings
        other.__dict__.pop("_start", None)
        fit_rows = np.sort(np.concatenate([self._parts.train, self._parts.validation]))
        other._parts = other._split(fit_rows, self._parts.test)
        return other

    def choose(self) -> Hyperparameters:
        """Return the settings with the smallest validation loss after a few epochs.

        Learning rates are tried for each beginning of the head, as a probe wants smaller ones than a fresh head, then
        normalisation and weight decay with the best of both. A try has at least 50 steps, as far as `epochs` allows:
        after fewer, the fastest head wins.

        Raises
        ------
        EncoderError
            If no learning rate gives a finite loss.
        """
        n_epochs = self._epochs_of_a_try

        def try_out(tried: Hyperparameters) -> tuple[float, float]:
            with restored(self._encoder.module):
                found = self._train(tried, _CHOICE_SEED, n_epochs)
            return found.loss, found.accuracy

        with self._ready():
            return choose(self.settings, try_out, normalised=bool(self._norms), encoder=self._encoder.name)

    def run(self, chosen: Hyperparameters, seed: int, *, epochs: int | None = None) -> TrainingResult:
        """Train with one seed, of batches and dropout, and measure on the test rows; `epochs` passes."""
        with self._ready(), restored(self._encoder.module):
            return self._measured(chosen, seed, epochs)

    def train(self, chosen: Hyperparameters, seed: int) -> TrainingResult:
        """As `run`, but the encoder keeps its new weights."""
        with self._ready():
            return self._measured(chosen, seed, None)

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with said_of(self._encoder.name), self._passes.layout():
            yield

    def _split(self, fit_rows: IntArray, test_rows: IntArray) -> _Parts:
        labels = self._labels.cpu().numpy()[fit_rows]
        train, validation = split(labels, self.settings.validation_share, seed=0, groups=self._groups[fit_rows])
        if not len(train) or not len(validation):
            message = f"data {self._name!r} have too few rows to fine-tune on: a class needs two to fit on that differ."
            raise LabelError(message)
        return _Parts(fit_rows[train], fit_rows[validation], test_rows)

    @property
    def _epochs_of_a_try(self) -> int:
        return self.settings.epochs_of_a_try(len(self._parts.train))

    def _measured(self, chosen: Hyperparameters, seed: int, epochs: int | None) -> TrainingResult:
        predict, _, _, n_epochs = self._better_trained(chosen, seed, epochs or self.settings.epochs)
        loss, accuracy = self._evaluate(predict, self._parts.test)
        validation_loss, validation = self._evaluate(predict, self._parts.validation)
        return TrainingResult(accuracy, loss, validation, n_epochs, self._start.accuracy, validation_loss)

    def _better_trained(self, chosen: Hyperparameters, seed: int, n_epochs: int) -> _Trained:
        """Train for so many epochs, or as short as a try where that was more accurate; keep the more accurate.

        The rate of a short run falls soon; the loss of a long one grows with its confidence, and does not decide.
        """
        network, short = self._encoder.module, self._epochs_of_a_try
        if chosen.tried_accuracy is None or short >= n_epochs:
            return self._train(chosen, seed, n_epochs)
        with restored(network):
            found = self._train(chosen, seed, n_epochs)
            weights = copy.deepcopy(network.state_dict())
        if found.accuracy < chosen.tried_accuracy:
            with restored(network):
                other = self._train(chosen, seed, short)
                if other.accuracy > found.accuracy:
                    found, weights = other, copy.deepcopy(network.state_dict())
        network.load_state_dict(weights)
        return found

    def _train(self, chosen: Hyperparameters, seed: int, n_epochs: int) -> _Trained:
        settings, network = self.settings, self._encoder.module
        head, head_rate = copy.deepcopy(self._start.head), chosen.learning_rate
        if chosen.head == "fresh":
            head.forget()
            head_rate *= settings.head_factor
        self._estimate_statistics()
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(seed)  # of dropout, stochastic depth and augmentation
            body, top = list(network.parameters()), list(head.linear.parameters())
            groups = [{"params": body}, {"params": top, "lr": head_rate}]
            optimizer = torch.optim.AdamW(
                groups, chosen.learning_rate, weight_decay=chosen.weight_decay, fused=self._device.type == "cuda"
            )
            n_batches = math.ceil(len(self._parts.train) / settings.batch_size)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_cosine(n_batches, n_epochs * n_batches))

            def predict(batch: Any) -> Tensor:
                return head(self._features(batch))

            start = self._start
            best = BestEpoch(network, start.head, loss=start.loss, accuracy=start.validation_accuracy)
            with short_memory(self._norms):
                for epoch in range(1, n_epochs + 1):
                    network.train()
                    for layer in self._norms:
                        layer.train(not chosen.frozen_norm)
                    for rows, batch in self._epoch(rng.permutation(self._parts.train), n_batches):
                        loss = nn.functional.cross_entropy(predict(batch), self._labels[rows])
                        optimizer.zero_grad()
                        loss.backward()
                        check_reached(self._encoder.name, body)
                        nn.utils.clip_grad_norm_([*body, *top], 1.0)
                        optimizer.step()
                        schedule.step()
                    if not best.add(epoch, head, *self._evaluate(predict, self._parts.validation)):
                        break
        best.put_back(head)
        return _Trained(predict, best.smallest_loss, best.accuracy, best.epoch)

    def _epoch(self, rows: IntArray, n_batches: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield the rows and the pictures of each batch."""
        parts = np.array_split(rows, n_batches)
        with self._items.batches(parts) as batches:
            for part, batch in zip(parts, batches, strict=True):
                moved = shift_and_zoom(batch) if self.settings.augmentation and isinstance(batch, Tensor) else batch
                yield torch.from_numpy(part).to(self._device), moved

    def _evaluate(self, predict: Callable[[Any], Tensor], rows: IntArray) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return loss_and_accuracy(self._forward(predict, rows), self._labels[torch.from_numpy(rows)])

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _forward(self, compute: Callable[[Any], Tensor], rows: IntArray) -> Tensor:
        """Return what the network in evaluation gives of rows."""
        self._encoder.module.eval()
        parts = np.array_split(rows, math.ceil(len(rows) / (4 * self.settings.batch_size)))
        with self._items.batches(parts) as batches:
            return torch.cat([compute(batch) for batch in batches])

    @cached_property
    def _start(self) -> _Start:
        """What every run can begin with, and must beat: a probe of the frozen features."""
        with restored(self._encoder.module):
            self._estimate_statistics()
            features = [self._forward(self._features, rows) for rows in self._parts]
        if not all(each.isfinite().all() for each in features):
            message = f"encoder {self._encoder.name!r} cannot be fine-tuned: its features are not finite."
            raise EncoderError(message)
        labels = [self._labels[torch.from_numpy(rows)] for rows in self._parts]
        x, y, x_held_out, y_held_out = (
            t.cpu().numpy() for pair in zip(features[:2], labels, strict=False) for t in pair
        )
        head = fit_head(x, y, x_held_out, y_held_out, self._n_classes).to(self._device)
        with torch.no_grad():
            held_out, (_, accuracy) = (loss_and_accuracy(head(features[k]), labels[k]) for k in (1, 2))
        return _Start(head, *held_out, accuracy)

    def _estimate_statistics(self) -> None:
        size = self.settings.batch_size
        rows = self._parts.train[: _STATISTICS_BATCHES * size]
        parts = np.array_split(np.random.default_rng(0).permutation(rows), math.ceil(len(rows) / size))
        with self._items.batches(parts) as batches:
            estimate_untouched(self._encoder.module, batches, self._encoder.differentiable)

    def _features(self, batch: Any) -> Tensor:
        return self._passes.features(batch, mixed=self.settings.mixed_precision)
