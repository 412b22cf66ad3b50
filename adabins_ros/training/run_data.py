# SPDX-License-Identifier: Apache-2.0
"""The loaders of a run, which can go on inside an epoch."""

from __future__ import annotations

import signal
from typing import Any

from adabins_ros.training.config import DataConfig
from adabins_ros.training.sampling import EpochDataset, EpochSampler, ValidationSampler
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Sampler


class RunData(pl.LightningDataModule):
    """
    Load batches for this process; the place in the epoch is saved with checkpoints.

    Parameters
    ----------
    train, validation : map-style data sets of dict
        With the tensors ``image`` (3, h, w) normalised, ``depth`` (1, h, w) m (0 unknown) and
        ``focal_scale`` (); the validation set may be empty or None.
    config : DataConfig
        Batch size and workers.
    seed : int
        Of the run.

    """

    def __init__(self, train: Any, validation: Any | None, config: DataConfig, seed: int) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self.config, self.seed = config, seed
        self._go_on: tuple[int, int] | None = None

    @property
    def has_validation(self) -> bool:
        """Whether there is anything to validate on."""
        return self.validation is not None and len(self.validation) > 0

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Make the loader of training batches, from where the run stopped."""
        assert self.trainer is not None
        sampler = EpochSampler(
            len(self.train),
            self.config.batch_size,
            seed=self.seed,
            process=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )
        if self._go_on is not None:
            sampler.go_on(*self._go_on)
        return self._loader(self.train, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Make the loader of validation batches."""
        assert self.trainer is not None
        assert self.validation is not None
        sampler = ValidationSampler(
            len(self.validation),
            process=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )
        return self._loader(self.validation, sampler)

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the epoch, at the end of a batch."""
        assert self.trainer is not None
        epoch, done = self.trainer.current_epoch, self.trainer.fit_loop.batch_idx + 1
        if done >= self.trainer.num_training_batches:
            epoch, done = epoch + 1, 0
        return {'epoch': epoch, 'batches_done': done, 'processes': self.trainer.world_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at the place of a checkpoint."""
        self._go_on = (state_dict['epoch'], state_dict['batches_done'])

    def _loader(self, dataset: Any, sampler: Sampler[Any]) -> DataLoader[dict[str, Any]]:
        workers = self.config.workers
        return DataLoader(
            EpochDataset(dataset),
            batch_size=self.config.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=getattr(dataset, 'collate', None),
            worker_init_fn=_ignore_interrupts,
            # Its own generator: a loader that starts takes nothing from the network's random
            # numbers.
            generator=torch.Generator().manual_seed(self.seed),
        )


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the run ends its workers once it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
