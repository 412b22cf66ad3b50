# SPDX-License-Identifier: Apache-2.0
"""A checkpoint is there whole or as it was before, whatever ends the process."""

from collections.abc import Callable
import os
from pathlib import Path
import resource
import signal

from adabins_ros.training.checkpoints import (
    InterruptRequest,
    RunCheckpoints,
    WholeFileCheckpointIO,
)
from adabins_ros.training.config import TrainerConfig
import pytest
import torch


class Killer:
    """End the process in the middle of being saved."""

    def __reduce__(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def save_and_be_killed(path: Path) -> None:
    content = {'much': torch.zeros(1_000_000), 'step': 2, 'end': Killer()}
    WholeFileCheckpointIO().save_checkpoint(content, path)


def test_a_kill_while_saving_leaves_the_checkpoint_before_it(
    apart: Callable[..., Callable[[], int]], tmp_path: Path
) -> None:
    path = tmp_path / 'last.ckpt'
    WholeFileCheckpointIO().save_checkpoint({'step': 1}, path)
    assert apart(save_and_be_killed, path)() == -signal.SIGKILL
    assert torch.load(path, weights_only=True) == {'step': 1}
    assert len(list(tmp_path.iterdir())) == 2
    RunCheckpoints(path, TrainerConfig(), InterruptRequest())
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / 'last.ckpt'
    for step in range(2):
        WholeFileCheckpointIO().save_checkpoint({'step': step}, path)
    assert torch.load(path, weights_only=True) == {'step': 1}
    assert list(tmp_path.iterdir()) == [path]


def test_without_room_for_a_new_checkpoint_the_one_before_stays(tmp_path: Path) -> None:
    path = tmp_path / 'last.ckpt'
    WholeFileCheckpointIO().save_checkpoint({'step': 1}, path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError, match='File too large') as raised:
            WholeFileCheckpointIO().save_checkpoint({'much': torch.zeros(1_000_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(path)
    assert torch.load(path, weights_only=True) == {'step': 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_second_ctrl_c_ends_the_program(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptRequest() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        assert 'Once more' in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before
