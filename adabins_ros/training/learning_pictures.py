# SPDX-License-Identifier: Apache-2.0
"""What the network sees and says while it learns, as pictures in TensorBoard."""

from __future__ import annotations

from typing import Any

from adabins_ros.geometry.colors import depth_colors, std_colors
from adabins_ros.model import AdaBinsConfig, DepthDistribution
from adabins_ros.training.losses import resize_like, valid_depth
import numpy as np
from numpy.typing import NDArray
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
import torch

MOST_IMAGES = 4
# Error at the bright end of its colours, as a share of the true depth.
LARGEST_ERROR = 0.25
_BINS_HEIGHT = 12


class TrainingPictures(Callback):
    """
    Draw the first validation batch: colour, truth, prediction, relative error, bins below.

    Parameters
    ----------
    every : int
        Validations between pictures.

    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._validations = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Hand the pictures to TensorBoard, of the first batch of every n-th validation."""
        if batch_idx:
            return
        self._validations += 1
        if (self._validations - 1) % self.every:
            return
        network: Any = pl_module.network
        board: Any = trainer.logger
        picture = batch_picture(batch, DepthDistribution(**outputs), network.config)
        board.experiment.add_image('validation', picture, trainer.global_step, dataformats='HWC')

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {'validations': self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        self._validations = state_dict['validations']


def batch_picture(
    batch: dict[str, Any], output: DepthDistribution, config: AdaBinsConfig
) -> NDArray[np.uint8]:
    """
    Draw the first images of a batch below each other.

    Parameters
    ----------
    batch : dict
        With ``image`` (B, 3, H, W) normalised and ``depth`` (B, 1, H, W) m.
    output : DepthDistribution
        Of the network.
    config : AdaBinsConfig
        Of the network; its depth range gives the colours.

    Returns
    -------
    (H', 4 W, 3) uint8
        RGB.

    """
    truth = batch['depth'][:MOST_IMAGES].float()
    prediction = resize_like(output.depth[:MOST_IMAGES], truth)
    mean, std = (
        torch.tensor(values, device=truth.device).view(3, 1, 1)
        for values in (config.mean, config.std)
    )
    colors = (batch['image'][:MOST_IMAGES].float() * std + mean).clamp(0, 1).mul(255)
    images = colors.byte().permute(0, 2, 3, 1).cpu().numpy()
    low, high = config.min_depth, config.max_depth
    known = valid_depth(truth, low, high)
    error = torch.where(known, (prediction - truth).abs() / truth, torch.nan)
    shown = torch.where(known, truth, torch.nan)
    rows = []
    for i, image in enumerate(images):
        depths = [t[i, 0].cpu().numpy() for t in (shown, prediction)]
        panels = [
            image,
            *(depth_colors(depth, low, high) for depth in depths),
            std_colors(error[i, 0].cpu().numpy(), LARGEST_ERROR),
        ]
        row = np.hstack(panels)
        centers = output.bin_centers[i].float().cpu().numpy()
        rows += [row, _bins(centers, low, high, row.shape[1])]
    return np.vstack(rows)


def _bins(centers: NDArray[Any], low: float, high: float, width: int) -> NDArray[np.uint8]:
    """Draw the bin centres as ticks on the depth range, in the colours of their depths."""
    strip = np.full((_BINS_HEIGHT, width, 3), 24, np.uint8)
    columns = ((centers - low) / (high - low) * (width - 1)).round().astype(int)
    ticks = depth_colors(centers[np.newaxis].astype(np.float32), low, high) if len(centers) else 0
    strip[:, columns.clip(0, width - 1)] = ticks
    return strip
