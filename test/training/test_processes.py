# SPDX-License-Identifier: Apache-2.0
"""Several processes train as one that has all their batches."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import subprocess
import sys

from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
from adabins_ros.training.train_command import main as training
import cv2
import numpy as np
import pytest
from timm.layers import convert_sync_batchnorm
import torch
from torch import nn

# Each process has norms and a SILog of its own share; without them two are exactly one.
SETTINGS = [
    'network.freeze_batch_norm=true',
    'loss.silog_weight=0',
    'loss.chamfer_weight=1',
    'data.workers=0',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=2',
    'trainer.ema_decay=0.5',
    'trainer.progress=false',
    'optimiser.learning_rate=2e-3',
]


def start(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [sys.executable, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said


def test_norms_that_see_the_images_of_all_gpus_keep_their_activations() -> None:
    network = AdaBins(tiny_config()).eval()
    given = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = network(given).depth
        convert_sync_batchnorm(network)
        assert not [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        torch.testing.assert_close(network.eval()(given).depth, before)


def tiny_config() -> AdaBinsConfig:
    text = (Path(__file__).parent / 'tiny_network.json').read_text()
    return AdaBinsConfig.model_validate({**json.loads(text), 'dropout': 0.0})


@pytest.fixture(scope='module')
def given(rgbd_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the words for a folder of 14 frames and a tiny network without dropout."""
    folder = tmp_path_factory.mktemp('given')
    generator = np.random.default_rng(3)
    frames = []
    for _ in range(14):
        corners = generator.uniform(500, 5000, (2, 2)).astype(np.float32)
        depth = cv2.resize(corners, (96, 64)).astype(np.uint16)
        noise = generator.normal(0, 5, (64, 96, 3))
        frames.append((np.clip(depth[..., None] / 20 + noise, 0, 255).astype(np.uint8), depth))
    rgbd_folder(folder / 'frames', frames)
    torch.manual_seed(0)
    save_checkpoint(AdaBins(tiny_config()), folder / 'tiny.safetensors')
    return ['--model', str(folder / 'tiny.safetensors'), str(folder / 'frames'), *SETTINGS]


def metrics(run: Path) -> list[dict[str, float]]:
    lines = map(json.loads, (run / 'metrics.jsonl').read_text().splitlines())
    return [{k: v for k, v in line.items() if 'silog' not in k} for line in lines]


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path, given: list[str]) -> None:
    pair = [*given, 'data.batch_size=2', 'trainer.devices=2', '--output', str(tmp_path / 'two')]
    two = start('-m', 'adabins_ros.cli', 'train', *pair)
    alone = [*given, 'data.batch_size=4', '--output', str(tmp_path / 'one')]
    assert training(alone) == 0
    end(two)
    # The first epoch's errors and losses, then the second's.
    assert len(metrics(tmp_path / 'one')) == 4
    for one, other in zip(metrics(tmp_path / 'one'), metrics(tmp_path / 'two'), strict=True):
        assert other == pytest.approx(one, abs=1e-3)
    ends = [torch.load(tmp_path / x / 'last.ckpt', weights_only=True) for x in ('one', 'two')]
    for part in ('state_dict', 'current_model_state'):
        expected, actual = (end[part] for end in ends)
        assert actual.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(actual[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
