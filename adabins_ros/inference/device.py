# SPDX-License-Identifier: Apache-2.0
"""Where and in which precision a network can run; an NVIDIA GPU is found without torch."""

from __future__ import annotations

import ctypes
from importlib import metadata
from importlib.util import find_spec
import os
from pathlib import Path
import re

from adabins_ros.extras import install_command
from adabins_ros.inference.engines.onnx_engine import cuda_providers
from adabins_ros.model.errors import ModelError

PRECISIONS = ('float32', 'float16', 'bfloat16')
_RUNTIMES = ('onnxruntime', 'onnxruntime-gpu')
# What a processor must have, as /proc/cpuinfo calls it.
_CPU_FLAGS = {
    'float16': {'avx512_fp16', 'amx_fp16', 'asimdhp'},
    'bfloat16': {'avx512_bf16', 'amx_bf16', 'bf16'},
}


def check_device(name: str) -> None:
    """
    Refuse a device that can't be meant.

    Raises
    ------
    ModelError
        If it is neither 'auto', 'cpu', 'cuda' nor 'cuda:N'.

    """
    kind = name.partition(':')[0]
    if re.fullmatch(r'auto|cpu|cuda(:\d+)?', name):
        return
    known = kind in ('mps', 'xpu', 'hip', 'vulkan')
    problem = 'is not supported' if known else 'is unknown'
    raise ModelError(f'device {name!r} {problem}; use auto, cpu, cuda or cuda:N')


def choose_precision(name: str, *, on_gpu: bool) -> str:
    """
    Turn 'auto' into the precision that pays, and refuse one that would take minutes a frame.

    Raises
    ------
    ModelError
        If the precision is unknown, or the CPU has no instructions for it.

    """
    if name == 'auto':
        return 'float16' if on_gpu else 'float32'
    if name not in PRECISIONS:
        raise ModelError(f'precision {name!r} is unknown; use auto, {", ".join(PRECISIONS)}')
    if not on_gpu and name != 'float32' and not _CPU_FLAGS[name] & _cpu_flags():
        raise ModelError(
            f'precision {name!r} has no hardware support on this CPU and would take minutes a '
            'frame; use auto or float32'
        )
    return name


def find_gpu() -> str | None:
    """
    Name the NVIDIA GPU of this machine as its driver does, or give None.

    Asked are the files of the driver, those of a Jetson, and, where there are none (Windows'
    subsystem for Linux), the driver's library NVML. CUDA_VISIBLE_DEVICES hides a GPU.
    """
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if visible is not None and visible.strip() in ('', '-1', 'NoDevFiles'):
        return None
    for information in sorted(Path('/proc/driver/nvidia/gpus').glob('*/information')):
        model = re.search(r'Model:\s*(.+)', _text(information))
        if model:
            return model[1].strip()
    if Path('/dev/nvhost-gpu').exists() or Path('/dev/nvgpu').exists():
        return _text(Path('/proc/device-tree/model')).strip('\0 \n') or 'NVIDIA Jetson'
    return _named_by_nvml() or ('NVIDIA GPU' if Path('/dev/nvidia0').exists() else None)


def torch_finds_gpu() -> bool:
    """Tell whether torch is installed and can use a GPU; imports it, so ask only where one is."""
    if find_spec('torch') is None:
        return False
    import torch

    return torch.cuda.is_available()


def gpu_unused(gpu: str, why: str) -> str:
    """Say that a GPU is there, why nothing here uses it, and which command changes that."""
    return (
        f'{gpu} is not used: {why}. To use it: pip uninstall -y onnxruntime; '
        f'pip install onnxruntime-gpu, or {install_command("train")}'
    )


def clash_of_runtimes() -> str | None:
    """
    Say so if both builds of ONNX Runtime are installed, which overwrite each other's files.

    Returns
    -------
    str or None
        Which of them won, and what to do.

    """
    if not all(_is_distribution(name) for name in _RUNTIMES):
        return None
    won = _RUNTIMES[1] if cuda_providers() else _RUNTIMES[0]
    return (
        f'{" and ".join(_RUNTIMES)} are both installed and share their files; those of {won} are '
        'there now. Keep one of them: pip uninstall -y onnxruntime onnxruntime-gpu; pip install '
        'onnxruntime-gpu'
    )


def _is_distribution(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _named_by_nvml() -> str | None:
    """Ask the driver for its first device; NVIDIA Management Library API, "Device Queries"."""
    try:
        nvml = ctypes.CDLL('libnvidia-ml.so.1')
    except OSError:
        return None
    if nvml.nvmlInit_v2():
        return None
    device, name = ctypes.c_void_p(), ctypes.create_string_buffer(96)
    try:
        if nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
            return None
        failed = nvml.nvmlDeviceGetName(device, name, ctypes.c_uint(len(name)))
        return 'NVIDIA GPU' if failed else name.value.decode(errors='replace')
    finally:
        nvml.nvmlShutdown()


def _cpu_flags() -> set[str]:
    found = re.search(r'^(?:flags|Features)\s*:(.*)$', _text(Path('/proc/cpuinfo')), re.MULTILINE)
    return set(found[1].split()) if found else set()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors='replace')
    except OSError:
        return ''
