# SPDX-License-Identifier: Apache-2.0
"""The Lightning module: what happens in a step of training and of validation."""

from __future__ import annotations

from collections.abc import Callable
import math
import random
from typing import Any

from adabins_ros.model import AdaBins, DepthDistribution
from adabins_ros.training.augmentation import change_looks
from adabins_ros.training.config import TrainingConfig
from adabins_ros.training.losses import (
    BinCentersChamfer,
    LogGradient,
    resize_like,
    SILog,
    StdLikelihood,
)
from adabins_ros.training.metrics import (
    DepthErrorMetric,
    ScaleFactorMetric,
    StdCalibration,
)
import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

Batch = dict[str, Any]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class DepthTraining(pl.LightningModule):
    """
    Train a network of any bin strategy by the paper's recipe.

    Batches are dicts with ``image`` (B, 3, H, W) normalised, ``depth`` (B, 1, H, W) in metres as
    the network is to say them (0 unknown), and ``focal_scale`` (B,), which divides them into true
    metres.

    Parameters
    ----------
    network : AdaBins
        Trained in place.
    config : TrainingConfig
        The run.

    Attributes
    ----------
    time_share : callable
        Tells which part of `trainer.max_minutes` is over, alike in all processes.

    """

    _black: torch.Tensor
    _white: torch.Tensor

    def __init__(self, network: AdaBins, config: TrainingConfig) -> None:
        super().__init__()
        # Channels last: a step of the lite network takes two thirds of the time on a CPU.
        self.network = network.to(memory_format=torch.channels_last)
        self.config = config
        mean, std = (
            torch.tensor(x).view(3, 1, 1) for x in (network.config.mean, network.config.std)
        )
        self.register_buffer('_black', -mean / std, persistent=False)
        self.register_buffer('_white', (1 - mean) / std, persistent=False)
        changes = config.augmentation
        self._looks = (
            {'exchange': changes.exchange, 'textures': changes.textures} if changes.enabled else {}
        )
        self.time_share: Callable[[], float] = lambda: 0.0
        low, high = network.config.min_depth, network.config.max_depth
        loss = config.loss
        self.silog = SILog(low, high, lambda_=loss.silog_lambda, alpha=loss.silog_alpha)
        self.chamfer = BinCentersChamfer(low, high)
        self.gradient = LogGradient(low, high)
        self.std_likelihood = StdLikelihood(low, high)
        self.errors = DepthErrorMetric(low, high)
        self.std_calibration = StdCalibration(low, high)
        self.scale_factor = ScaleFactorMetric(low, high)
        if config.network.freeze_encoder:
            network.encoder.requires_grad_(False)
        keeps_norms = config.network.keeps_batch_norms(network.config.trained)
        norms = (module for module in network.modules() if isinstance(module, BATCH_NORMS))
        self._kept_norms = list(norms) if keeps_norms else []
        for norm in self._kept_norms:
            norm.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> DepthDistribution:
        """Estimate depth; as AdaBins."""
        output: DepthDistribution = self.network(
            image.contiguous(memory_format=torch.channels_last)
        )
        return output

    def train(self, mode: bool = True) -> DepthTraining:
        """Switch between training and evaluation; what is frozen stays in evaluation."""
        super().train(mode)
        if self.config.network.freeze_encoder:
            self.network.encoder.eval()
        for norm in self._kept_norms:
            norm.eval()
        return self

    def on_fit_start(self) -> None:
        """Leave the evaluation mode in which networks are loaded."""
        self.train()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """
        Seed every generator from the run's seed, the process and the step.

        So dropout is the same whether the run was interrupted or not. Its masks are others with
        another number of processes; without dropout, as in adabins-lite, that changes nothing.
        """
        step = (self.current_epoch << 32) + batch_idx
        seed = np.random.SeedSequence((self.config.seed, self.global_rank, step))
        numbers = seed.generate_state(3)
        random.seed(int(numbers[0]))
        np.random.seed(numbers[1])  # noqa: NPY002
        torch.manual_seed(int(numbers[2]))

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Compute the loss of a batch."""
        image = change_looks(batch['image'], self._black, self._white, **self._looks)
        output: DepthDistribution = self(image)
        losses = self.losses(output, batch['depth'], batch.get('scale_known'))
        size = len(batch['image'])
        for name, value in losses.items():
            value = value.detach()
            self.log(f'train/{name}', value, on_step=True, on_epoch=False, batch_size=size)
            self.log(
                f'train_epoch/{name}',
                value,
                on_step=False,
                on_epoch=True,
                batch_size=size,
                sync_dist=True,
            )
        return losses['loss']

    def losses(
        self,
        output: DepthDistribution,
        truth: torch.Tensor,
        scale_known: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Return ``loss`` and, unweighted, its parts.

        The chamfer distance is for bins that can be learned, the standard deviation's likelihood
        for strategies that have bins; both for images whose scale is known, as by default all are.
        """
        weights = self.config.loss
        losses = {'silog': self.silog(output.depth, truth, scale_known)}
        loss = weights.silog_weight * losses['silog']
        if weights.gradient_weight:
            losses['gradient'] = self.gradient(output.depth, truth)
            loss = loss + weights.gradient_weight * losses['gradient']
        if scale_known is not None:
            truth = truth * scale_known.view(-1, 1, 1, 1)
        if weights.chamfer_weight and output.bin_centers.requires_grad:
            losses['chamfer'] = self.chamfer(output.bin_centers, truth)
            loss = loss + weights.chamfer_weight * losses['chamfer']
        if weights.std_weight and output.bin_centers.shape[1]:
            losses['std'] = self.std_likelihood(output.depth, output.std, truth)
            loss = loss + weights.std_weight * losses['std']
        return {'loss': loss, **losses}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, torch.Tensor]:
        """Add a batch to the errors, in true metres; return the prediction by its fields."""
        output: DepthDistribution = self(batch['image'])
        truth = batch['depth'].float()
        scale = batch['focal_scale'].float().view(-1, 1, 1, 1)
        depth = resize_like(output.depth, truth)
        self.errors.update(depth / scale, truth / scale)
        self.scale_factor.update(depth / scale, truth / scale)
        self.std_calibration.update(depth, resize_like(output.std, truth), truth)
        return output._asdict()

    def on_validation_epoch_end(self) -> None:
        """Log the errors of the whole validation set, and what would calibrate the std."""
        errors = {
            **self.errors.compute(),
            **self.scale_factor.compute(),
            'std_factor': self.std_calibration.compute(),
        }
        for metric in (self.errors, self.scale_factor, self.std_calibration):
            metric.reset()
        # Computed over all processes already.
        self.log_dict({f'validation/{name}': value.float() for name, value in errors.items()})

    def configure_optimizers(self) -> Any:
        """Make AdamW, and OneCycle with a highest rate of its own for each group."""
        settings = self.config.optimiser
        groups = self.network.parameter_groups(
            settings.learning_rate,
            encoder_factor=settings.encoder_factor,
            weight_decay=settings.weight_decay,
        )
        optimizer = AdamW(groups, betas=(settings.highest_momentum, 0.999))
        schedule = OneCycleLR(
            optimizer,
            max_lr=[group['lr'] for group in groups],
            total_steps=self.total_steps,
            pct_start=settings.warmup_share,
            div_factor=settings.start_divisor,
            final_div_factor=settings.end_divisor,
            base_momentum=settings.lowest_momentum,
            max_momentum=settings.highest_momentum,
        )
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """
        Go on by one step, or further where the time allows fewer steps than were planned.

        So a run that `max_minutes` ends has come down to its lowest rates.
        """
        by_time = math.floor(self.time_share() * scheduler.total_steps)
        scheduler.last_epoch = min(
            max(self.trainer.global_step - 1, by_time), scheduler.total_steps - 1
        )
        scheduler.step()

    @property
    def total_steps(self) -> int:
        """Return how many steps the optimiser makes in the whole run."""
        steps = int(self.trainer.estimated_stepping_batches)
        most = self.config.trainer.max_steps
        return steps if most is None else min(steps, most)
