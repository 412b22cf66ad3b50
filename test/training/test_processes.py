# SPDX-License-Identifier: Apache-2.0
"""
Several processes train as one that has all their batches.

As a script it is one of two processes that pass images through batch norms: RANK FOLDER.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint
from adabins_ros.training.command import main as training
from adabins_ros.training.synchronized_norm import synchronize_norms, SynchronizedBatchNorm2d
import cv2
import numpy as np
import pytest
from timm.layers import BatchNormAct2d
import torch
from torch import distributed, nn

CPU = torch.device('cpu')
# Of five images the first process has two.
SHARES = (slice(0, 2), slice(2, 5))
SETTINGS = [
    'data.workers=0',
    'trainer.accelerator=cpu',
    'trainer.max_epochs=2',
    'trainer.ema_decay=0.5',
    'trainer.progress=false',
    'optimiser.learning_rate=2e-3',
]


def norms() -> nn.Sequential:
    """Return norms of both kinds with a convolution between, in double precision."""
    torch.manual_seed(1)
    first = BatchNormAct2d(3, act_layer=nn.Hardswish)
    return nn.Sequential(first, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double()


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    scale = torch.arange(1.0, 6.0).view(-1, 1, 1, 1)
    return (100 + scale * torch.randn(5, 3, 6, 8, generator=generator)).double()


def pass_through(network: nn.Module, given: torch.Tensor) -> dict[str, Any]:
    """Train two passes, as far as the gradients; return all that came out."""
    for _ in range(2):
        network.zero_grad()
        given = given.detach().requires_grad_()
        output = network(given)
        output.pow(3).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return {
        'output': output.detach(),
        'input_gradient': given.grad,
        'gradients': gradients,
        'state': network.state_dict(),
        'evaluated': network.eval()(given).detach(),
    }


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


def test_the_norms_of_two_processes_see_the_images_of_both(tmp_path: Path) -> None:
    for process in [start(__file__, str(rank), str(tmp_path)) for rank in range(2)]:
        end(process)
    parts = [torch.load(tmp_path / f'{rank}.pt') for rank in range(2)]
    whole = pass_through(norms(), images())
    for share, part in zip(SHARES, parts, strict=True):
        for name in ('output', 'input_gradient', 'evaluated'):
            torch.testing.assert_close(part[name], whole[name][share], rtol=1e-9, atol=1e-9)
        assert part['state'].keys() == whole['state'].keys()
        for name, tensor in whole['state'].items():
            torch.testing.assert_close(part['state'][name], tensor, rtol=1e-9, atol=1e-9)
    for name, gradient in whole['gradients'].items():
        total = parts[0]['gradients'][name] + parts[1]['gradients'][name]
        torch.testing.assert_close(total, gradient, rtol=1e-9, atol=1e-9)


def test_synchronized_norms_take_the_place_of_all_others() -> None:
    network = AdaBins(tiny_config())
    before = network.state_dict()
    synchronize_norms(network, CPU)
    kinds = [type(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert set(kinds) == {SynchronizedBatchNorm2d}
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(after[name].data_ptr() == before[name].data_ptr() for name in before)


def tiny_config() -> AdaBinsConfig:
    text = (Path(__file__).parent / 'tiny_network.json').read_text()
    return AdaBinsConfig.model_validate({**json.loads(text), 'dropout': 0.0})


@pytest.fixture(scope='module')
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the words for a folder of 14 frames and a tiny network without dropout."""
    folder = tmp_path_factory.mktemp('given')
    for name in ('rgb', 'depth'):
        (folder / 'frames' / name).mkdir(parents=True)
    camera = {'fx': 80.0, 'fy': 80.0, 'cx': 47.5, 'cy': 31.5, 'width': 96, 'height': 64}
    (folder / 'frames' / 'camera.json').write_text(json.dumps(camera))
    generator = np.random.default_rng(3)
    for i in range(14):
        corners = generator.uniform(500, 5000, (2, 2)).astype(np.float32)
        depth = cv2.resize(corners, (96, 64)).astype(np.uint16)
        noise = generator.normal(0, 5, (64, 96, 3))
        colour = np.clip(depth[..., None] / 20 + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / 'frames' / 'rgb' / f'{i:03d}.png'), colour)
        cv2.imwrite(str(folder / 'frames' / 'depth' / f'{i:03d}.png'), depth)
    torch.manual_seed(0)
    save_checkpoint(AdaBins(tiny_config()), folder / 'tiny.safetensors')
    frames = f'data.folders=["{folder / "frames"}"]'
    return ['--model', str(folder / 'tiny.safetensors'), frames, *SETTINGS]


def losses(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path, given: list[str]) -> None:
    pair = [*given, 'data.batch_size=2', 'trainer.devices=2', '--output', str(tmp_path / 'two')]
    two = start('-m', 'adabins_ros.cli', 'train', *pair)
    alone = [*given, 'data.batch_size=4', '--output', str(tmp_path / 'one')]
    assert training(alone) == 0
    end(two)
    # The first epoch's errors and losses, then the second's.
    assert len(losses(tmp_path / 'one')) == 4
    for one, other in zip(losses(tmp_path / 'one'), losses(tmp_path / 'two'), strict=True):
        assert other == pytest.approx(one, abs=1e-3)
    expected, actual = (
        torch.load(tmp_path / name / 'last.ckpt', weights_only=True)['state_dict']
        for name in ('one', 'two')
    )
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        # A norm takes the bias in front of it away: its gradient is the rounding, and Adam makes
        # steps of it. The norm's mean has it back.
        if not name.endswith(('.1.bias', '.running_mean')):
            torch.testing.assert_close(actual[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def main() -> None:
    """Be one of two processes."""
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meeting', rank=rank, world_size=2
    )
    network = norms()
    synchronize_norms(network, CPU)
    torch.save(pass_through(network, images()[SHARES[rank]]), folder / f'{rank}.pt')
    distributed.destroy_process_group()


if __name__ == '__main__':
    main()
