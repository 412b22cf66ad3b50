# SPDX-License-Identifier: Apache-2.0
"""When a run saves itself and when it stops: checkpoints are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import threading
from time import monotonic
from types import FrameType
from typing import Any

from adabins_ros.training.config import TrainerConfig
from adabins_ros.whole_files import remove_left_overs, whole_file
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
import torch

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """The user stopped the run; it has been saved."""


class InterruptRequest:
    """
    Note Ctrl-C and SIGTERM while inside the `with` block; a second one ends the program as usual.

    Elsewhere than in the main thread nothing is noted.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> InterruptRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        text = 'Stopping: saving at the end of this step. Once more to stop at once.\n'
        os.write(2, text.encode())

    def _restore(self) -> None:
        # Twice after a Ctrl-C: the trainer puts back in the end what it found when it began.
        for number, handler in self._before.items():
            signal.signal(number, handler)


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place and then move it there."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """
        Save so that neither a kill nor a power cut leaves half a file under the name.

        Raises
        ------
        OSError
            With the name; the checkpoint before is still there.

        """
        path = Path(path)
        try:
            with whole_file(path) as partial, partial.open('wb') as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            # Torch's writer covers what stopped it by an error of its own.
            reason = error.__context__ if isinstance(error, RuntimeError) else error
            if not isinstance(reason, OSError):
                raise
            raise OSError(reason.errno, reason.strerror, str(path)) from error


class RunCheckpoints(Callback):
    """
    Save the run as the configuration says, and end it in good order.

    Checkpoints are taken after steps of the optimiser, never between accumulated batches, and at
    the end of an epoch, or of the run, after its validation.

    Parameters
    ----------
    path : Path
        The checkpoint, which each one replaces.
    config : TrainerConfig
        Interval and limits.
    interrupt : InterruptRequest
        Tells when the user wants to stop.

    Attributes
    ----------
    out_of_time : bool
        Whether `max_minutes` ended the run.
    time_share : float
        The part of `max_minutes` that the run has had, with all its continuations; 0 without.

    """

    def __init__(self, path: Path, config: TrainerConfig, interrupt: InterruptRequest) -> None:
        self.path, self.config, self.interrupt = path, config, interrupt
        self.out_of_time = False
        self.time_share = 0.0
        self._started = monotonic()
        self._seconds_before = 0.0
        self._step = 0
        self._at_end = False
        self._epoch_is_whole = False
        # What a run that was killed while it saved has left.
        remove_left_overs(path)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note where and when the run starts, if it has not made its last step already."""
        self._step = trainer.global_step
        self._started = monotonic()
        # The first step's rates follow it.
        self.time_share = self._agree(trainer)[1]
        stopped_early = any(
            stopping.stopped_epoch for stopping in trainer.early_stopping_callbacks
        )
        if stopped_early or self._is_last(self._step):
            trainer.should_stop = True

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save and stop where it is time."""
        self._epoch_is_whole = batch_idx + 1 >= trainer.num_training_batches
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        self._at_end = self._is_last(step)
        interrupted, self.time_share = self._agree(trainer)
        self.out_of_time = self.time_share >= 1
        stops = self._at_end or interrupted or self.out_of_time
        is_due = stops or step % self.config.checkpoint_every == 0
        if is_due and not self._epoch_is_whole and not self._at_end:
            trainer.save_checkpoint(self.path)
            if interrupted:
                raise Interrupted
        if stops:
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save at the end of an epoch; one that was stopped inside has been saved there."""
        if self._epoch_is_whole or self._at_end:
            trainer.save_checkpoint(self.path)
        if self._agree(trainer)[0]:
            raise Interrupted

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        return {'seconds': self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what a checkpoint holds."""
        self._seconds_before = state_dict['seconds']

    def _is_last(self, step: int) -> bool:
        return self.config.max_steps is not None and step >= self.config.max_steps

    @property
    def seconds(self) -> float:
        """How long the run has trained, with all its continuations, s."""
        return self._seconds_before + monotonic() - self._started

    def _agree(self, trainer: pl.Trainer) -> tuple[bool, float]:
        """Tell whether any process was interrupted, and the time's share on the slowest clock."""
        minutes = self.config.max_minutes
        share = 0.0 if minutes is None else self.seconds / (60 * minutes)
        if trainer.world_size == 1:
            return self.interrupt.requested, share
        wishes = torch.tensor(
            [float(self.interrupt.requested), share], device=trainer.strategy.root_device
        )
        wishes = trainer.strategy.reduce(wishes, reduce_op='max')
        return bool(wishes[0] > 0), float(wishes[1])
