# SPDX-License-Identifier: Apache-2.0
"""A robot's GPU is found without torch, and used or named; written for machines that have one."""

from importlib import metadata
from pathlib import Path
from typing import ClassVar

from adabins_ros import DepthPredictor
from adabins_ros.inference import choosing, device
from adabins_ros.inference.device import clash_of_runtimes, find_gpu
from adabins_ros.inference.engines import onnx_engine
from adabins_ros.model import ModelError
import numpy as np
import pytest

onnxruntime = pytest.importorskip('onnxruntime')

ORIN = 'NVIDIA Jetson Orin Nano Developer Kit'


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have a GPU that torch can't use."""
    monkeypatch.setattr(choosing, 'find_gpu', lambda: ORIN)
    monkeypatch.setattr(choosing, 'torch_finds_gpu', lambda: False)


def built_with(monkeypatch: pytest.MonkeyPatch, *providers: str) -> None:
    """Let the installed ONNX Runtime be of another build."""
    names = [*providers, 'CPUExecutionProvider']
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: names)


class Session:
    """What ONNX Runtime's build for GPUs makes, as far as it is asked for here."""

    made: ClassVar[list[list]] = []

    def __init__(self, path: str, options: object, providers: list) -> None:
        self.providers = [name for name, _ in providers]
        self.made.append(providers)
        self.cpu = CPU_SESSION(path, options, providers=['CPUExecutionProvider'])
        self.get_inputs, self.get_outputs = self.cpu.get_inputs, self.cpu.get_outputs
        self.run = self.cpu.run

    def get_providers(self) -> list[str]:
        return self.providers


class SessionWithoutCudaLibraries(Session):
    """What it makes where CUDA's libraries can't be loaded: it only logs that."""

    def get_providers(self) -> list[str]:
        return ['CPUExecutionProvider']


CPU_SESSION = onnxruntime.InferenceSession


@pytest.mark.parametrize('name', ['auto', 'cuda', 'cuda:1'])
def test_a_gpu_goes_to_the_runtime_that_was_built_for_it(
    a_gpu: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    built_with(monkeypatch, 'TensorrtExecutionProvider', 'CUDAExecutionProvider')
    monkeypatch.setattr(onnxruntime, 'InferenceSession', Session)
    monkeypatch.setattr(Session, 'made', [])
    predictor = DepthPredictor.from_pretrained('adabins-lite', device=name)
    index = int(name.partition(':')[2] or 0)
    assert (predictor.engine, predictor.device) == ('onnx', f'cuda:{index}')
    assert predictor.notice is None
    assert 'CUDA' in predictor.description
    # TensorRT itself is not installed, though the runtime lists its provider.
    assert Session.made == [
        [('CUDAExecutionProvider', {'device_id': index}), ('CPUExecutionProvider', {})]
    ]
    # One session for all shapes: the two cameras are one batch.
    image = np.zeros((240, 320, 3), np.uint8)
    assert len(predictor.predict_batch([image, image])) == 2
    assert len(Session.made) == 1


def test_a_gpu_that_nothing_can_use_is_named_with_the_way_to_use_it(
    a_gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built_with(monkeypatch)
    predictor = DepthPredictor.from_pretrained('adabins-lite', engine='onnx')
    assert predictor.device == 'cpu'
    assert predictor.notice.startswith(f'{ORIN} is not used: ONNX Runtime here is for the CPU')
    assert 'pip install onnxruntime-gpu' in predictor.notice
    assert predictor.notice in caplog.text
    for asked in ('cuda', 'cuda:1'):
        with pytest.raises(ModelError, match=rf"device '{asked}' can not be used: {ORIN} is not"):
            DepthPredictor.from_pretrained('adabins-lite', device=asked)


def test_openvino_says_that_it_can_not_use_a_gpu(a_gpu: None) -> None:
    pytest.importorskip('openvino')
    with pytest.raises(ModelError, match="engine 'openvino' has no NVIDIA GPU"):
        DepthPredictor.from_pretrained('adabins-lite', device='cuda', engine='openvino')


def test_a_runtime_that_lacks_cudas_libraries_is_not_taken_for_one_that_has_them(
    a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_with(monkeypatch, 'CUDAExecutionProvider')
    monkeypatch.setattr(onnxruntime, 'InferenceSession', SessionWithoutCudaLibraries)
    predictor = DepthPredictor.from_pretrained('adabins-lite', engine='onnx')
    assert predictor.device == 'cpu'
    assert "can't start its CUDA provider" in predictor.notice
    with pytest.raises(ModelError, match="can't start its CUDA provider"):
        DepthPredictor.from_pretrained('adabins-lite', engine='onnx', device='cuda')


def test_a_machine_without_a_gpu_has_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, 'find_gpu', lambda: None)
    monkeypatch.setattr(choosing, 'torch_finds_gpu', lambda: pytest.fail('torch was asked'))
    predictor = DepthPredictor.from_pretrained('adabins-lite', engine='onnx')
    assert (predictor.device, predictor.notice) == ('cpu', None)


@pytest.mark.parametrize(
    ('files', 'name'),
    [
        ({}, None),
        (
            {'/proc/driver/nvidia/gpus/0000:01:00.0/information': 'Model: \t NVIDIA RTX A2000\n'},
            'NVIDIA RTX A2000',
        ),
        ({'/dev/nvhost-gpu': '', '/proc/device-tree/model': f'{ORIN}\0'}, ORIN),
        ({'/dev/nvidia0': ''}, 'NVIDIA GPU'),
    ],
)
def test_the_drivers_files_tell_which_gpu_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], name: str | None
) -> None:
    for place, text in files.items():
        file = tmp_path / place[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.setattr(device, 'Path', lambda place: tmp_path / str(place).lstrip('/'))
    monkeypatch.setattr(device, '_named_by_nvml', lambda: None)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    assert find_gpu() == name
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert find_gpu() is None


def test_two_builds_of_the_runtime_that_share_their_files_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert clash_of_runtimes() is None or metadata.version('onnxruntime-gpu')
    monkeypatch.setattr(device.metadata, 'version', lambda name: '1.20')
    built_with(monkeypatch)
    assert 'those of onnxruntime are there now' in clash_of_runtimes()
    built_with(monkeypatch, 'CUDAExecutionProvider')
    assert 'those of onnxruntime-gpu are there now' in clash_of_runtimes()
    assert onnx_engine.cuda_providers() == ['CUDAExecutionProvider']
