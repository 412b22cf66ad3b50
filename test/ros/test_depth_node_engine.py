# SPDX-License-Identifier: Apache-2.0
"""What runs the network in a node: as little as will do, then the fastest, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

HEAVY = {
    *('torch', 'torchvision', 'timm', 'onnx', 'openvino', 'safetensors', 'huggingface_hub'),
    *('matplotlib', 'jinja2', 'rosbags', 'mcap', 'PIL', 'scipy', 'rich', 'typer'),
}
"""What training, recordings, reports and commands need."""
# The node itself; at its end it tells which packages its process has loaded.
NODE = """
import json, sys
from adabins_ros.ros import depth_node
status = depth_node.main(sys.argv[2:])
with open(sys.argv[1], 'w') as file:
    json.dump(sorted({name.partition('.')[0] for name in sys.modules}), file)
sys.exit(status)
"""
# A node on a computer whose driver names a GPU that nothing there can use.
WITH_GPU = """
import sys
from adabins_ros.inference import choosing
from adabins_ros.ros import depth_node
choosing.find_gpu = lambda: 'NVIDIA Example 9000'
sys.exit(depth_node.main(sys.argv[1:]))
"""
MOST_RESIDENT_MIB = 300


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process, MiB."""
    status = Path(f'/proc/{pid}/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def test_depth_and_points_of_the_embedded_default_take_neither_torch_nor_much_memory(
    ros_environment: dict[str, str], make_station: Any, tmp_path: Path
) -> None:
    loaded = tmp_path / 'modules.json'
    # OpenVINO, where it is installed and faster, would bring memory of its own.
    arguments = ['--ros-args', '-r', '__ns:=/light', '-p', 'device:=cpu', '-p', 'engine:=onnx']
    process = subprocess.Popen(
        [sys.executable, '-c', NODE, str(loaded), *arguments], env=ros_environment
    )
    station = make_station('light')
    try:
        station.wait_until_active()
        pixels = np.random.default_rng(6).integers(0, 256, (480, 640, 3), np.uint8)
        image = Image(height=480, width=640, encoding='rgb8', step=1920, data=pixels.tobytes())
        k = [525.0, 0.0, 319.5, 0.0, 525.0, 239.5, 0.0, 0.0, 1.0]
        info = CameraInfo(height=480, width=640, k=k)
        for _ in range(20):
            station.exchange(image, info, 'depth/image', 'points')
        maps = Path(f'/proc/{process.pid}/maps').read_text()
        assert 'libtorch' not in maps
        assert resident_mib(process.pid) <= MOST_RESIDENT_MIB
        _, values = station.diagnostics_until()
        assert values['engine'] == 'onnx'
        assert values['device'] == 'cpu'
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        station.destroy()
    assert not HEAVY & set(json.loads(loaded.read_text()))


def test_a_checkpoint_runs_at_once_and_changes_over_to_a_faster_engine_between_two_frames(
    start_node: Any, make_station: Any, tmp_path: Path, repository: Path
) -> None:
    pytest.importorskip('timm')
    from adabins_ros.model import AdaBins, AdaBinsConfig, save_checkpoint

    tiny = (repository / 'test/training/tiny_network.json').read_text()
    path = tmp_path / 'tiny.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(tiny)), path)
    process = start_node('changing', model=str(path), device='cpu')
    station = make_station('changing')
    station.wait_until_active()
    pixels = np.random.default_rng(7).integers(0, 256, (48, 64, 3), np.uint8)
    image = Image(height=48, width=64, encoding='rgb8', step=192, data=pixels.tobytes())

    def depth() -> np.ndarray:
        answer = station.exchange(image, None, 'depth/image')['depth/image']
        return np.frombuffer(answer.data, '<f4')

    before = depth()
    engines = [station.diagnostics_until()[1]['engine']]

    def changed(_: Any, values: dict[str, str]) -> bool:
        depth()
        engines.append(values['engine'])
        return values['engine'] != 'torch'

    _, values = station.diagnostics_until(changed, timeout_s=180)
    assert engines[0] == 'torch'
    assert values['engine'] in ('onnx', 'openvino')
    np.testing.assert_allclose(depth(), before, atol=1e-3)
    assert 'changed over to' in process.log
    assert not int(values['frames bad'])
    station.destroy()
    process.end()


def test_a_gpu_that_nothing_here_can_use_is_warned_of_and_stands_in_the_diagnostics(
    ros_environment: dict[str, str], make_station: Any, tmp_path: Path
) -> None:
    log = tmp_path / 'node.log'
    arguments = ['--ros-args', '-r', '__ns:=/unused_gpu']
    with log.open('w') as output:
        process = subprocess.Popen(
            [sys.executable, '-c', WITH_GPU, *arguments],
            env=ros_environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    station = make_station('unused_gpu')
    try:
        status, values = station.diagnostics_until(
            lambda status, _: 'NVIDIA Example 9000 is not used' in status.message, timeout_s=60
        )
        assert status.level == status.WARN
        assert any('pip install' in text for key, text in values.items() if 'hint' in key)
        assert values['device'] == 'cpu'
        assert log.read_text().count('NVIDIA Example 9000 is not used') == 1
        assert '[WARN]' in log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        station.destroy()
