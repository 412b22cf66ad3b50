# SPDX-License-Identifier: Apache-2.0
"""The exponential moving average of the weights: smoother, and what a run hands out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
import torch
from torch import nn


class WeightAverage(Callback):
    """
    Keep an average of the network's weights, validate with it, and save it in checkpoints.

    After step n the average moves to the weights by 1 - d with d = min(decay, n / (n + 9)), so
    that the random start is soon forgotten. Statistics of batch norms are averaged too, counters
    are copied.

    Parameters
    ----------
    decay : float
        Per step of the optimiser; 0 makes the average the weights themselves.

    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average: dict[str, torch.Tensor] = {}
        self._weights: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the weights, or bring what a checkpoint had to the weights' device."""
        tensors = _network(pl_module).state_dict()
        known = self.average or tensors
        self.average = {
            name: known[name].detach().to(tensor.device, copy=True)
            for name, tensor in tensors.items()
        }

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the average, if the optimiser has made a step."""
        if trainer.global_step == self.steps:
            return
        self.steps = trainer.global_step
        share = 1.0 - min(self.decay, self.steps / (self.steps + 9))
        with torch.no_grad():
            for name, tensor in _network(pl_module).state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, share)
                else:
                    self.average[name].copy_(tensor)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the weights' place."""
        if self.average:
            network = _network(pl_module)
            self._weights = {name: t.clone() for name, t in network.state_dict().items()}
            network.load_state_dict(self.average)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the weights back."""
        self._put_back(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Put the weights back if a validation ends early."""
        self._put_back(pl_module)

    @contextmanager
    def applied(self, pl_module: pl.LightningModule) -> Iterator[nn.Module]:
        """Give the network with the average as its weights; afterwards they are as before."""
        network = _network(pl_module)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(self.average or before)
        try:
            yield network
        finally:
            network.load_state_dict(before)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {'steps': self.steps, 'average': self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        self.steps, self.average = state_dict['steps'], state_dict['average']

    def _put_back(self, pl_module: pl.LightningModule) -> None:
        if self._weights:
            _network(pl_module).load_state_dict(self._weights)
            self._weights = {}


def _network(pl_module: pl.LightningModule) -> nn.Module:
    network = pl_module.network
    assert isinstance(network, nn.Module)
    return network
