# SPDX-License-Identifier: Apache-2.0
"""Everything that a training run can be told, typed, with defaults; a YAML file holds the same."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adabins_ros.model.config import BinStrategy
from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and a made one does not change."""

    model_config = ConfigDict(
        frozen=True, extra='forbid', coerce_numbers_to_str=True, validate_default=True
    )


class NetworkConfig(Section):
    """What is trained."""

    model: str = Field('adabins-lite', description='preset or model file to start from')
    imagenet_encoder: bool = Field(
        False, description="start the encoder from timm's ImageNet weights (a download)"
    )
    bin_strategy: BinStrategy | None = Field(
        None, description="row of the paper's Table 2; none: as the model has it"
    )
    num_bins: int | None = Field(None, ge=2, description='none: as the model has it')
    min_depth: float | None = Field(None, gt=0, description='m; none: as the model has it')
    max_depth: float | None = Field(None, gt=0, description='m; none: as the model has it')
    freeze_encoder: bool = Field(False, description='leave the encoder as it is (small data)')
    freeze_batch_norm: bool = Field(
        False, description="keep the batch norms' statistics and scales (small batches)"
    )


class DataConfig(Section):
    """Where the frames come from and how they are cut and batched."""

    bags: tuple[Path, ...] = Field((), description='recordings')
    folders: tuple[Path, ...] = Field((), description='RGB-D folders with rgb/ and depth/')
    size: tuple[int, int] | None = Field(
        None, description='height, width that the network sees, px; none: its input_size'
    )
    batch_size: int = Field(8, ge=1, description='images per step and process')
    workers: int = Field(2, ge=0, description='processes that load frames; 0: none')
    validation_share: float = Field(0.2, ge=0, lt=1, description='share of the frames held out')


class AugmentationConfig(Section):
    """What is done to colour and depth alike; a 0 switches its kind off."""

    enabled: bool = Field(True, description='false switches all of them off')
    flip: float = Field(0.5, ge=0, le=1, description='probability of mirroring')


class OptimiserConfig(Section):
    """AdamW, with a OneCycle schedule of its own for the encoder and for the rest."""

    learning_rate: float = Field(3.57e-4, gt=0, description='highest rate of all but the encoder')
    encoder_factor: float = Field(0.1, gt=0, description="the encoder's rate relative to that")
    weight_decay: float = Field(0.01, ge=0, description='not for norms, biases and positions')
    warmup_share: float = Field(0.3, gt=0, lt=1, description='share of the steps going up')
    start_divisor: float = Field(25.0, ge=1, description='highest rate over the first')
    end_divisor: float = Field(100.0, ge=1, description='first rate over the last')
    lowest_momentum: float = Field(0.85, gt=0, lt=1, description='beta1 at the highest rate')
    highest_momentum: float = Field(0.95, gt=0, lt=1, description='beta1 at both ends')
    clip_norm: float = Field(0.1, ge=0, description='largest norm of the gradient; 0: any')
    accumulate: int = Field(1, ge=1, description='batches per step')


class LossConfig(Section):
    """SILog, and the chamfer distance between bin centres and true depths."""

    silog_weight: float = Field(1.0, ge=0)
    silog_lambda: float = Field(0.85, ge=0, le=1, description='1: blind to scale')
    silog_alpha: float = Field(10.0, gt=0, description='factor of SILog')
    chamfer_weight: float = Field(0.1, ge=0, description='0: none')


class TrainerConfig(Section):
    """How long and on what."""

    max_epochs: int = Field(25, ge=1)
    max_steps: int | None = Field(None, ge=1, description='stop earlier, after so many steps')
    max_minutes: float | None = Field(None, gt=0, description='stop earlier, after so long')
    accelerator: Literal['auto', 'cpu', 'gpu', 'cuda'] = 'auto'
    devices: int | Literal['auto'] = Field('auto', description='processes per node')
    num_nodes: int = Field(1, ge=1)
    strategy: str = Field('auto', description="Lightning's, such as ddp")
    precision: Literal['auto', '32-true', '16-mixed', 'bf16-mixed'] = Field(
        'auto', description='auto: mixed on a GPU that has bfloat16, else single precision'
    )
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description='of the averaged weights, which are validated; 0: none'
    )
    checkpoint_every: int = Field(
        500, ge=1, description='steps between checkpoints, beside the ends of epochs'
    )
    validate_every: int = Field(1, ge=1, description='epochs between validations')
    patience: int | None = Field(
        None, ge=1, description='validations without gain before an early stop; none: never'
    )
    pictures_every: int = Field(5, ge=0, description='validations between pictures; 0: none')
    log_every: int = Field(10, ge=1, description='steps between logged values')
    progress: bool = Field(True, description='show a progress bar')


class TrainingConfig(Section):
    """One run."""

    seed: int = Field(0, ge=0)
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loss: LossConfig = LossConfig()
    trainer: TrainerConfig = TrainerConfig()
