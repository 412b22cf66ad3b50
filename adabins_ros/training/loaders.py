# SPDX-License-Identifier: Apache-2.0
"""In which order frames are loaded: the same for a seed, whatever was interrupted in between."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
import logging
import os
import shutil
import signal
from typing import Any

from adabins_ros.training.config import DataConfig
import numpy as np
from numpy.typing import NDArray
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

log = logging.getLogger(__name__)
SHARED_MEMORY = '/dev/shm'
_AMPLE = 1 << 30
# Two that wait for each worker, and one that is trained on.
_BATCHES_AHEAD = 3
Draw = tuple[int, int]
"""The epoch, and the index of a frame, or -1 - index for a frame that only fills up."""


class EpochSampler(Sampler[Draw]):
    """
    Shuffle anew in every epoch, by seed and epoch alone, and deal the batches to processes.

    All processes shuffle alike. Batch k of the run's global batches consists of the k-th
    ``batch_size * processes`` frames, so several processes together see what one process with
    the whole batch would see. A remainder that fills no global batch is left out of the epoch.

    Parameters
    ----------
    frames : int or (N,) float
        Length of the data set, at least 1, or how often an epoch shows each of its frames, such as
        0.5: every second one. Fewer frames than one global batch are repeated.
    batch_size : int
        Frames per batch and process.
    seed : int
        Of the run.
    process, processes : int
        Which one of how many this is.

    """

    def __init__(
        self,
        frames: int | NDArray[np.float64],
        batch_size: int,
        *,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        draws = np.ones(frames) if isinstance(frames, int) else frames
        self.draws = torch.as_tensor(draws, dtype=torch.float64)
        self.frames = max(1, round(self.draws.sum().item()))
        self.batch_size, self.seed = batch_size, seed
        self.process, self.processes = process, processes
        self.epoch = 0
        self.first_batch = 0

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return max(1, self.frames // (self.batch_size * self.processes))

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch; an epoch that was set by `go_on` keeps its place."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def go_on(self, epoch: int, batches_done: int) -> None:
        """Continue inside an epoch: the next iteration leaves out what was done."""
        self.epoch, self.first_batch = epoch, batches_done

    def __len__(self) -> int:
        """Count this process's frames of a whole epoch."""
        return self.batches * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        """Yield this process's frames that are left of the epoch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        # The frames in any order, each as long as it is to be drawn: what lies at every whole
        # number from a random start. So none comes a whole time more or less often.
        line = torch.randperm(len(self.draws), generator=generator)
        ends = self.draws[line].cumsum(0)
        places = torch.arange(self.frames) + torch.rand(1, generator=generator)
        drawn = torch.searchsorted(ends, places * (ends[-1] / self.frames), right=True)
        order = line[drawn[torch.randperm(self.frames, generator=generator)]]
        wanted = self.batches * self.batch_size * self.processes
        order = order.repeat(-(-wanted // self.frames))[:wanted]
        mine = order.view(self.batches, self.processes, self.batch_size)[:, self.process]
        for batch in islice(mine.tolist(), self.first_batch, None):
            for index in batch:
                yield self.epoch, index


class ValidationSampler(Sampler[Draw]):
    """
    Deal the frames in order to processes, each once; shorter shares are filled up.

    The processes must take the same number of batches, as they wait for each other. A frame that
    fills up has its truth removed by `EpochDataset`, so it does not count in any error.
    """

    def __init__(self, frames: int, *, process: int = 0, processes: int = 1) -> None:
        self.frames, self.process, self.processes = frames, process, processes

    def __len__(self) -> int:
        """Count this process's frames with those that fill up."""
        return (self.frames + self.processes - 1) // self.processes

    def __iter__(self) -> Iterator[Draw]:
        """Yield this process's frames."""
        for index in range(self.process, len(self) * self.processes, self.processes):
            yield 0, index if index < self.frames else -1


class EpochDataset(Dataset[dict[str, Any]]):
    """
    Let a data set know the epoch, in whichever process it is read.

    Parameters
    ----------
    dataset : map-style data set of dict
        With ``depth`` among its tensors. Where it has ``set_epoch``, this is called, for an
        augmentation that depends on seed, epoch and index alone.

    """

    def __init__(self, dataset: Any) -> None:
        self.dataset: Any = dataset

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """Read a frame; one that only fills up comes without its truth."""
        epoch, index = draw
        if hasattr(self.dataset, 'set_epoch'):
            self.dataset.set_epoch(epoch)
        if index >= 0:
            sample: dict[str, Any] = self.dataset[index]
            return sample
        sample = self.dataset[-1 - index]
        return {**sample, 'depth': torch.zeros_like(sample['depth'])}


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
            getattr(self.train, 'draws', len(self.train)),
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
        workers = usable_workers(self.config.workers, self.config.batch_size, dataset)
        return DataLoader(
            EpochDataset(dataset),
            batch_size=self.config.batch_size,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_ignore_interrupts,
            # Its own generator: a loader that starts takes nothing from the network's random
            # numbers.
            generator=torch.Generator().manual_seed(self.seed),
        )


def usable_workers(workers: int, batch_size: int, dataset: Any) -> int:
    """
    Return how many processes may load: none where shared memory does not hold their batches.

    They hand them over there, and where it is small (64 MiB in Docker) or read-only a run would
    end by SIGBUS in the middle.
    """
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free if os.access(SHARED_MEMORY, os.W_OK) else 0
    except OSError:
        free = 0
    if not workers or free > _AMPLE:
        return workers
    sample = EpochDataset(dataset)[(0, 0)]
    size = sum(value.nbytes for value in sample.values() if hasattr(value, 'nbytes'))
    needed = _BATCHES_AHEAD * workers * batch_size * size
    if needed < free:
        return workers
    log.warning(
        '%s has %d MiB free and %d workers need %d MiB: this process loads by itself, more '
        'slowly; give the container more (docker run --shm-size=1g)',
        SHARED_MEMORY,
        free >> 20,
        workers,
        needed >> 20,
    )
    return 0


def _ignore_interrupts(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the run ends its workers once it has saved.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
