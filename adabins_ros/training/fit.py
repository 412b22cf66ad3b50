# SPDX-License-Identifier: Apache-2.0
"""Put a run together and let it go: network, data, Lightning's Trainer and its callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import logging
from typing import Any
import warnings

from adabins_ros.frames import RecordingError
from adabins_ros.model import AdaBins
from adabins_ros.training.best_weights import BestWeights, LARGER_IS_BETTER
from adabins_ros.training.checkpoints import (
    Interrupted,
    InterruptRequest,
    RunCheckpoints,
    WholeFileCheckpointIO,
)
from adabins_ros.training.config import TrainerConfig, TrainingConfig
from adabins_ros.training.learning_pictures import TrainingPictures
from adabins_ros.training.loaders import RunData
from adabins_ros.training.module import DepthTraining
from adabins_ros.training.run_directory import RunDirectory, RunError
import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    RichProgressBar,
)
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from timm.layers import convert_sync_batchnorm
import torch

_IN_TRACE = f'{RecordingError.__name__}: '


@dataclass(frozen=True)
class TrainingResult:
    """
    How a run ended.

    Attributes
    ----------
    run : RunDirectory
        Its files; ``run.best`` is what the node loads.
    steps : int
        Steps of the optimiser made so far.
    ending : str
        'finished', 'interrupted' or 'out of time'; the latter two can go on.
    metrics : dict
        What the best weights reached.
    minutes : float
        That it has had, with all its continuations; 0 if it had finished before.

    """

    run: RunDirectory
    steps: int
    ending: str
    metrics: dict[str, Any]
    minutes: float = 0.0


def fit(
    run: RunDirectory,
    config: TrainingConfig,
    network: AdaBins,
    data: Any,
    source: str,
    more_callbacks: Sequence[Callback] = (),
) -> TrainingResult:
    """
    Train until the configuration says that it is enough, or the user.

    A run folder with a checkpoint goes on from it; the result is that of a run which was never
    interrupted.

    Parameters
    ----------
    run : RunDirectory
        New, or to go on with.
    config : TrainingConfig
        Of the run.
    network : AdaBins
        What the run starts from, `starting_network`; trained in place.
    data : TrainingData
        What is trained and validated on; any `train` and `validation` that RunData takes will do.
    source : str
        Names the data in the provenance of the weights.
    more_callbacks : sequence of Callback
        Beside those of every run.

    Raises
    ------
    RunError
        If there is nothing to train on.
    RecordingError
        No frame can be used.

    """
    if len(data.train) == 0:
        raise RunError('there is no frame to train on: see what --dry-run finds')
    _quiet()
    pl.seed_everything(config.seed, verbose=False)
    loaders = RunData(data.train, data.validation, config.data, config.seed)
    module = DepthTraining(network, config)
    with InterruptRequest() as interrupt:
        checkpoints = RunCheckpoints(run.last, config.trainer, interrupt)
        module.time_share = lambda: checkpoints.time_share
        callbacks = _callbacks(run, config, loaders, checkpoints, source)
        trainer = _trainer(run, config, loaders, [*more_callbacks, *callbacks])
        on_gpus = trainer.world_size > 1 and trainer.strategy.root_device.type == 'cuda'
        if on_gpus and not config.network.keeps_batch_norms(network.config.trained):
            # As Trainer(sync_batchnorm=True), which would lose the activations in timm's norms.
            convert_sync_batchnorm(network)
        ending = 'finished'
        try:
            trainer.fit(
                module,
                loaders,
                ckpt_path=run.last if run.last.exists() else None,
                weights_only=True,
            )
        except Interrupted:
            ending = 'interrupted'
        except RecordingError as error:
            # In that of a loader's process torch has put the trace in front of the text.
            raise RecordingError(str(error).rpartition(_IN_TRACE)[2].strip()) from None
        if checkpoints.out_of_time:
            ending = 'out of time'
    steps, metrics = trainer.global_step, run.best_metrics()
    return TrainingResult(run, steps, ending, metrics, checkpoints.seconds / 60)


def errors_of(network: AdaBins, config: TrainingConfig, data: Any) -> dict[str, Any]:
    """Return what a network reaches on what is held out, before training; empty if nothing is."""
    _quiet()
    loaders = RunData(data.train, data.validation, config.data, config.seed)
    if not loaders.has_validation:
        return {}
    alone = {**_options(config.trainer), 'devices': 1, 'num_nodes': 1, 'strategy': 'auto'}
    trainer = pl.Trainer(**alone, logger=False)
    (errors,) = trainer.validate(DepthTraining(network, config), loaders, verbose=False)
    return dict(errors)


def _trainer(
    run: RunDirectory, config: TrainingConfig, loaders: RunData, callbacks: list[Callback]
) -> pl.Trainer:
    settings = config.trainer
    return pl.Trainer(
        **_options(settings),
        max_epochs=settings.max_epochs,
        accumulate_grad_batches=config.optimiser.accumulate,
        gradient_clip_val=config.optimiser.clip_norm or None,
        check_val_every_n_epoch=settings.validate_every,
        limit_val_batches=1.0 if loaders.has_validation else 0,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_every,
        use_distributed_sampler=False,
        logger=TensorBoardLogger(run.path, name='tensorboard', version=''),
        callbacks=callbacks,
        plugins=[WholeFileCheckpointIO()],
    )


def _callbacks(
    run: RunDirectory,
    config: TrainingConfig,
    loaders: RunData,
    checkpoints: RunCheckpoints,
    source: str,
) -> list[Callback]:
    """Return the callbacks in their order: the average before what saves it."""
    settings = config.trainer
    callbacks: list[Callback] = [
        BestWeights(run, decay=settings.ema_decay, monitor=settings.monitor, data=source),
        LearningRateMonitor('step', log_momentum=True),
    ]
    if settings.patience is not None and loaders.has_validation:
        better = 'max' if settings.monitor in LARGER_IS_BETTER else 'min'
        callbacks.append(
            EarlyStopping(
                f'validation/{settings.monitor}',
                patience=settings.patience,
                mode=better,
                # After the epoch it would count the validation only once that has been saved.
                check_on_train_epoch_end=False,
            )
        )
    if settings.pictures_every:
        callbacks.append(TrainingPictures(settings.pictures_every))
    if settings.progress:
        callbacks.append(RichProgressBar())
    return [*callbacks, checkpoints]


def check_hardware(settings: TrainerConfig) -> None:
    """
    Try whether this machine can train so.

    Raises
    ------
    RunError
        There is no such device, strategy or precision.

    """
    if settings.accelerator in ('gpu', 'cuda') and not torch.cuda.is_available():
        raise RunError(
            f'trainer.accelerator is {settings.accelerator}, but torch finds no GPU here: set it '
            'to auto or cpu, or install a torch that fits the driver'
        )
    if settings.precision == '16-mixed' and not _on_gpu(settings):
        raise RunError('trainer.precision is 16-mixed, which needs a GPU: set it to auto')
    _quiet()
    try:
        pl.Trainer(**_options(settings), logger=False)
    except (MisconfigurationException, ValueError) as error:
        raise RunError(
            f'no training on trainer.devices={settings.devices} with trainer.strategy='
            f'{settings.strategy}: {str(error).split(". ")[0]}'
        ) from error


def _options(settings: TrainerConfig) -> dict[str, Any]:
    """Return what every Trainer is told: the hardware, and what this package does by itself."""
    chosen = settings.model_dump(include={'accelerator', 'devices', 'num_nodes', 'strategy'})
    if settings.devices == 'auto' and not _on_gpu(settings):
        chosen['devices'] = 1  # on GPUs Lightning's 'auto' is all of them
    precision: str = settings.precision
    if precision == 'auto':
        mixed = _on_gpu(settings) and torch.cuda.is_bf16_supported()
        precision = 'bf16-mixed' if mixed else '32-true'
    return {
        **chosen,
        'precision': precision,
        'enable_checkpointing': False,
        'enable_model_summary': False,
        'enable_progress_bar': settings.progress,
    }


def _on_gpu(settings: TrainerConfig) -> bool:
    return settings.accelerator != 'cpu' and torch.cuda.is_available()


def _quiet() -> None:
    """Leave out what Lightning says of things that are meant so."""
    logging.getLogger('pytorch_lightning').setLevel(logging.WARNING)
    for meant in (
        'eval mode',
        'not resumable',
        'does not have many workers',
        'logging interval',
        'LeafSpec',
        # Of 1x1 convolutions both layouts are one.
        'Grad strides do not match',
        # The errors are computed over all processes.
        'It is recommended to use .* sync_dist=True',
    ):
        warnings.filterwarnings('ignore', f'.*{meant}')
