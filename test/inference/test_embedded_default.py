# SPDX-License-Identifier: Apache-2.0
"""The embedded default in its two files: one network, small, and run without torch."""

import os
from pathlib import Path
import subprocess
import sys

from adabins_ros.inference.building import open_exported
from adabins_ros.inference.checking import largest_difference_m
from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.onnx_file import read_onnx
from adabins_ros.inference.resizing import upsampled
from adabins_ros.model.model_file import WEIGHTS
import numpy as np
import pytest

FILES = [WEIGHTS / f'adabins-lite.{suffix}' for suffix in ('onnx', 'safetensors')]
PROGRAM = r"""
import re, sys
from time import perf_counter
from pathlib import Path
from adabins_ros import DepthPredictor
import numpy as np
predictor = DepthPredictor.from_pretrained('adabins-lite', device='cpu', wait=False)
estimate = predictor.predict(np.zeros((480, 640, 3), np.uint8), 500.0)
assert estimate.depth.shape == (480, 640)
heavy = {'torch', 'torchvision', 'timm', 'safetensors', 'onnx', 'matplotlib', 'typer', 'rclpy'}
peak_kib = re.search(r'VmHWM:\s*(\d+)', Path('/proc/self/status').read_text())[1]
print(predictor.engine, peak_kib, *heavy & {*sys.modules})
predictor.close()
"""


def test_both_files_are_one_network() -> None:
    pytest.importorskip('torch')
    from adabins_ros.inference.export import network_run
    from adabins_ros.model import load_model

    exported, network = read_onnx(FILES[0]), load_model('adabins-lite')
    assert exported.config == network.config
    engine = open_exported('onnx', exported, Place())
    shapes = [(1, 240, 320), (2, 241, 321), (1, 320, 180)]
    assert largest_difference_m(engine.run, network_run(network), shapes) < 1e-4


def test_each_file_is_small_enough_for_a_repository() -> None:
    for file in FILES:
        assert file.stat().st_size <= 12e6, file


def test_it_runs_in_little_memory_without_torch(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        capture_output=True,
        text=True,
        # A cache in which no other engine was found to be faster.
        env={
            **os.environ,
            'PYTHONPATH': os.pathsep.join(sys.path),
            'ADABINS_CACHE': str(tmp_path),
        },
        check=False,
    )
    assert not said.returncode, said.stderr
    engine, peak_kib, *heavy = said.stdout.split()
    assert (engine, heavy) == ('onnx', [])
    assert int(peak_kib) < 230 * 1024


@pytest.mark.parametrize(
    ('small', 'large'),
    [((120, 160), (480, 640)), ((37, 53), (101, 97)), ((1, 4), (3, 9)), ((5, 1), (5, 7))],
)
def test_maps_are_up_sampled_as_torch_does_it(
    small: tuple[int, int], large: tuple[int, int]
) -> None:
    torch = pytest.importorskip('torch')
    maps = np.random.default_rng(0).uniform(0, 10, (2, *small)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], large, mode='bilinear', align_corners=True
    )[0].numpy()
    actual = upsampled(maps, large)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
