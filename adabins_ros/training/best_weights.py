# SPDX-License-Identifier: Apache-2.0
"""The file that a run is for: the averaged weights with the smallest error, ready for the node."""

from __future__ import annotations

import math
from typing import Any

from adabins_ros.model import AdaBins, save_checkpoint
from adabins_ros.provenance import git_revision
from adabins_ros.training.run_directory import RunDirectory, write_json
import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
import torch

LARGER_IS_BETTER = ('d1', 'd2', 'd3')


class BestWeights(WeightAveraging):
    """
    Average the weights, validate with the average, and keep the best one as best.safetensors.

    Beside it go best.json and a line of metrics for every validation. The standard deviation of
    the weights is calibrated on the validation set. Without validation data the latest weights
    count as the best.

    Parameters
    ----------
    run : RunDirectory
        Where the files go.
    decay : float
        Of the exponential average, per step of the optimiser; 0: the weights themselves. After
        step n it is n / (n + 9) at most, so that the random start is soon forgotten.
    monitor : str
        Name of the error that decides.
    data : str
        What is trained on, for the file's provenance.

    """

    def __init__(self, run: RunDirectory, *, decay: float, monitor: str, data: str) -> None:
        def move(average: Any, weights: Any, steps: torch.Tensor | int) -> None:
            step = int(steps) + 1
            if average[0].is_floating_point():
                torch._foreach_lerp_(average, weights, 1.0 - min(decay, step / (step + 9)))
            else:
                for copied, counter in zip(average, weights, strict=True):
                    copied.copy_(counter)

        super().__init__(multi_avg_fn=move)
        self.run, self.monitor, self.data = run, monitor, data

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the average where the training is, not where the network still lies."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the lines of steps that an interrupted run had made after its checkpoint."""
        if trainer.is_global_zero:
            self.run.forget_metrics_after(trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the errors and keep the average if it is the best."""
        values = _logged(trainer, 'validation/')
        if trainer.is_global_zero:
            self.run.add_metrics(trainer.global_step, trainer.current_epoch, values)
            if self._improved(values):
                self._write(trainer, self._averaged, values)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the mean losses of the epoch, or of what was done of it since the run went on."""
        super().on_train_epoch_end(trainer, pl_module)
        values = _logged(trainer, 'train_epoch/')
        if trainer.is_global_zero:
            self.run.add_metrics(trainer.global_step, trainer.current_epoch, values)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the latest average if no validation chose any."""
        if trainer.is_global_zero and not self.run.best_metrics().get(self._key):
            self._write(trainer, self._averaged, {})
        super().on_train_end(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave weights that can be used even if the run was stopped before a validation."""
        if trainer.is_global_zero and trainer.global_step and not self.run.best.exists():
            # While validating, average and weights have changed places.
            best: Any = pl_module.network if trainer.validating else self._averaged
            self._write(trainer, best, {})

    @property
    def _averaged(self) -> AdaBins:
        assert self._average_model is not None
        network = self._average_model.module.network
        assert isinstance(network, AdaBins)
        return network

    @property
    def _key(self) -> str:
        return f'validation/{self.monitor}'

    def _improved(self, values: dict[str, float]) -> bool:
        value, best = values.get(self._key), self.run.best_metrics().get(self._key)
        if value is None or value != value:
            return False
        if best is None or not self.run.best.exists():
            return True
        return value > best if self.monitor in LARGER_IS_BETTER else value < best

    def _write(self, trainer: pl.Trainer, network: AdaBins, values: dict[str, Any]) -> None:
        before = network.config
        provenance = (
            f'trained from {before.name} ({before.provenance or "no record"}) on {self.data}; '
            f'{trainer.global_step} steps; revision {git_revision() or "unknown"}; '
            f'torch {torch.__version__}, pytorch-lightning {pl.__version__}'
        )
        name = self.run.path.resolve().name
        changes = {'name': name, 'trained': True, 'provenance': provenance}
        factor = values.get('validation/std_factor', math.nan)
        if math.isfinite(factor):
            changes['std_factor'] = before.std_factor * factor
        network.config = before.model_copy(update=changes)
        try:
            # That of other weights is made anew at the end of the run.
            self.run.best_onnx.unlink(missing_ok=True)
            save_checkpoint(network, self.run.best, overwrite=True)
        finally:
            network.config = before
        write_json(self.run.best_metrics_file, {'step': trainer.global_step, **values})


def _logged(trainer: pl.Trainer, prefix: str) -> dict[str, float]:
    """Return what was logged; all processes must ask, as they compute it together."""
    metrics = trainer.callback_metrics
    return {name: float(value) for name, value in metrics.items() if name.startswith(prefix)}
