# SPDX-License-Identifier: Apache-2.0
"""What a training run can be told: typed, with defaults, from YAML and KEY=VALUE words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from adabins_ros import settings
from adabins_ros.frames.config import HomePath, HomePaths, Section, SourceConfig
from adabins_ros.model.config import BinSpace, BinStrategy
from pydantic import Field
import yaml


class NetworkConfig(Section):
    """What is trained."""

    model: str = Field('adabins-lite', description='preset or model file to start from')
    from_scratch: bool = Field(
        False, description="random weights in place of the model's, whose architecture stays"
    )
    encoder: str | None = Field(
        None,
        description='another timm model, such as convnext_tiny.dinov3_lvd1689m, with its own '
        'normalisation and, with encoder_weights, weights; none: as the model has it',
    )
    encoder_weights: str | None = Field(
        None,
        description="what the encoder starts from: 'imagenet' (timm fetches it), or a file of "
        'weights of the same timm model; none: as the model has it',
    )
    bin_strategy: BinStrategy | None = Field(
        None, description="row of the paper's Table 2; none: as the model has it"
    )
    bin_space: BinSpace | None = Field(
        None, description='adaptive bins in linear or log depth; none: as the model has it'
    )
    num_bins: int | None = Field(None, ge=2, description='none: as the model has it')
    min_depth: float | None = Field(None, gt=0, description='m; none: as the model has it')
    max_depth: float | None = Field(None, gt=0, description='m; none: as the model has it')
    freeze_encoder: bool = Field(False, description='leave the encoder as it is (small data)')
    freeze_batch_norm: bool | None = Field(
        None,
        description="keep the batch norms' statistics and scales; none: those of trained weights, "
        'for a few new frames would move all their depths',
    )

    def keeps_batch_norms(self, trained: bool) -> bool:
        """Tell whether batch norms stay, for weights that were trained or not."""
        if self.freeze_batch_norm is None:
            return trained and self.encoder_weights is None and not self.from_scratch
        return self.freeze_batch_norm


class DataConfig(SourceConfig):
    """Where the frames come from and how they are cut and batched."""

    frames: HomePath | None = Field(
        None, description='folder for the frames of recordings; none: frames/ in that of the run'
    )
    split: Literal['time', 'bag'] = Field(
        'time', description='hold out the ends of time blocks, or whole recordings'
    )
    split_blocks: int = Field(1, ge=1, description='time blocks per recording')
    split_gap_s: float = Field(
        1.0, ge=0, le=1e6, description='frames so near to the held out ones are not used'
    )
    validation_bags: HomePaths = Field((), description='recordings that are held out')
    size: tuple[int, int] | None = Field(
        None, description='height, width that the network sees, px; none: its input_size'
    )
    batch_size: int = Field(8, ge=1, description='images per step and process')
    workers: int = Field(2, ge=0, description='processes that load frames; 0: none')
    validation_share: float = Field(0.2, ge=0, lt=1, description='share of the frames held out')
    draws: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description='times that an epoch shows each frame of a source, by the name of its '
        'file or folder: {kitchen: 2, hall: 0.5}; 1 where nothing is said',
    )
    scale_unknown: tuple[str, ...] = Field(
        (), description='sources that teach shape alone: a common factor of a frame costs nothing'
    )


class AugmentationConfig(Section):
    """What is done to colour and depth alike; a 0 switches its kind off."""

    enabled: bool = Field(True, description='false switches all of them off')
    flip: float = Field(0.5, ge=0, le=1, description='probability of mirroring')
    crop: float = Field(0.3, ge=0, lt=1, description='largest share of each side cut away')
    wide: float = Field(
        0.3,
        ge=0,
        le=1,
        description='probability that a picture is cut to be wider than the network sees, up to '
        'twice, and its border repeated, as those of wide cameras are',
    )
    rotation_deg: float = Field(2.5, ge=0, le=45, description='largest turn, depth nearest')
    colour: float = Field(0.5, ge=0, le=1, description='probability of the next three')
    gamma: float = Field(0.1, ge=0, lt=1, description='largest change of the exponent')
    brightness: float = Field(0.25, ge=0, lt=1, description='largest relative change')
    channels: float = Field(0.1, ge=0, lt=1, description='likewise, of each colour channel')
    blur: float = Field(0.1, ge=0, le=1, description='probability of a soft or moved picture')
    noise: float = Field(0.1, ge=0, le=1, description='probability of sensor noise')
    jpeg: float = Field(0.1, ge=0, le=1, description='probability of JPEG artefacts')
    exchange: float = Field(
        0.0,
        ge=0,
        le=1,
        description='probability that a picture takes some of the mean and contrast of each '
        'colour channel from another one of its batch',
    )
    textures: float = Field(
        0.0,
        ge=0,
        le=1,
        description='probability that a picture takes some of itself behind a random filter, '
        'which changes its textures and colours',
    )
    depth_dropout: float = Field(0.1, ge=0, le=1, description='probability of holes in depth')


class OptimiserConfig(Section):
    """AdamW, with a OneCycle schedule of its own for the encoder and for the rest."""

    learning_rate: float = Field(
        3.57e-4, gt=0, le=1, description='highest rate of all but the encoder'
    )
    encoder_factor: float = Field(
        0.1, gt=0, le=1000, description="the encoder's rate relative to that"
    )
    weight_decay: float = Field(0.01, ge=0, description='not for norms, biases and positions')
    warmup_share: float = Field(0.3, gt=0, lt=1, description='share of the steps going up')
    start_divisor: float = Field(25.0, ge=1, description='highest rate over the first')
    end_divisor: float = Field(100.0, ge=1, description='first rate over the last')
    lowest_momentum: float = Field(0.85, gt=0, lt=1, description='beta1 at the highest rate')
    highest_momentum: float = Field(0.95, gt=0, lt=1, description='beta1 at both ends')
    clip_norm: float = Field(0.1, ge=0, description='largest norm of the gradient; 0: any')
    accumulate: int = Field(1, ge=1, description='batches per step')


class LossConfig(Section):
    """SILog, chamfer distance of the bin centres, edges, and the std's likelihood."""

    silog_weight: float = Field(1.0, ge=0)
    silog_lambda: float = Field(0.85, ge=0, le=1, description='1: blind to scale')
    silog_alpha: float = Field(10.0, gt=0, description='factor of SILog')
    chamfer_weight: float = Field(0.1, ge=0, description='0: none')
    gradient_weight: float = Field(
        0.0, ge=0, description='of the edges of log depth, beyond the paper; 0: none'
    )
    std_weight: float = Field(
        0.0,
        ge=0,
        description="of the standard deviation's likelihood, beyond the paper; 0: none",
    )


class TrainerConfig(Section):
    """How long and on what."""

    max_epochs: int = Field(25, ge=1)
    max_steps: int | None = Field(None, ge=1, description='stop earlier, after so many steps')
    max_minutes: float | None = Field(
        None,
        gt=0,
        description='end after so long, all continuations together; the rates come down in time',
    )
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
    monitor: Literal['abs_rel', 'sq_rel', 'rms', 'rms_log', 'log10', 'silog', 'd1', 'd2', 'd3'] = (
        Field('abs_rel', description='error that decides which weights are the best')
    )
    patience: int | None = Field(
        None, ge=1, description='validations without gain before an early stop; none: never'
    )
    pictures_every: int = Field(5, ge=0, description='validations between pictures; 0: none')
    log_every: int = Field(10, ge=1, description='steps between logged values')
    progress: bool = Field(True, description='show a progress bar')


class TrainingConfig(Section):
    """One run."""

    seed: int = Field(0, ge=0, description='of the order of frames, augmentation and dropout')
    network: NetworkConfig = NetworkConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    loss: LossConfig = LossConfig()
    trainer: TrainerConfig = TrainerConfig()


def load_config(file: Path | None = None, overrides: Sequence[str] = ()) -> TrainingConfig:
    """
    Make the configuration of a run: the defaults, then the file's values, then the overrides.

    Parameters
    ----------
    file : Path, optional
        YAML with any of the keys of TrainingConfig.
    overrides : sequence of str
        KEY=VALUE with dots in the key, 'optimiser.learning_rate=1e-4'; the value is YAML.

    Returns
    -------
    TrainingConfig

    Raises
    ------
    ConfigError
        If a key is unknown, a value is wrong or the file can't be read.

    """
    values = {} if file is None else settings.read_settings_file(TrainingConfig, file)
    return settings.load_settings(TrainingConfig, values, overrides)


def save_config(config: TrainingConfig, file: Path) -> None:
    """Write every value of the configuration as YAML that `load_config` reads."""
    values = config.model_dump(mode='json')
    file.write_text(yaml.safe_dump(values, sort_keys=False, width=99), encoding='utf-8')


def setting_names() -> list[str]:
    """Return all keys with their dots, 'data.batch_size' for one."""
    return settings.setting_names(TrainingConfig)
