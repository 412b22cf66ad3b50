# SPDX-License-Identifier: Apache-2.0
"""Where and in which precision the network runs."""

from adabins_ros.model.errors import ModelError
import torch

PRECISIONS = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}


def choose_device(name: str) -> torch.device:
    """
    Turn 'auto', 'cpu', 'cuda' or 'cuda:1' into a device that exists.

    Raises
    ------
    ModelError
        If the device is unknown or not there.

    """
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f'device {name!r} is unknown; use auto, cpu, cuda or cuda:N') from error
    if device.type not in ('cpu', 'cuda'):
        raise ModelError(f'device {name!r} is not supported; use auto, cpu, cuda or cuda:N')
    if device.type == 'cuda':
        if not torch.cuda.is_available():
            raise ModelError(
                f'device {name!r} asks for a GPU, but torch {torch.__version__} finds no CUDA '
                'device; use device cpu or auto, or install a driver and a torch that match it'
            )
        count = torch.cuda.device_count()
        if device.index is not None and device.index >= count:
            raise ModelError(f'device {name!r} does not exist: there are {count} CUDA devices')
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """
    Turn 'auto', 'float32', 'float16' or 'bfloat16' into a dtype that pays on the device.

    Raises
    ------
    ModelError
        If the precision is unknown, or the device would take minutes for a frame in it.

    """
    if name == 'auto':
        return torch.float16 if device.type == 'cuda' else torch.float32
    if name not in PRECISIONS:
        raise ModelError(f'precision {name!r} is unknown; use auto, {", ".join(PRECISIONS)}')
    if device.type == 'cpu' and not _cpu_computes(name):
        raise ModelError(
            f'precision {name!r} has no hardware support on this CPU and would take minutes a '
            'frame; use auto or float32'
        )
    return PRECISIONS[name]


def _cpu_computes(precision: str) -> bool:
    if precision == 'float32':
        return True
    names = {
        'float16': ('_is_avx512_fp16_supported', '_is_amx_fp16_supported'),
        'bfloat16': ('_is_avx512_bf16_supported', '_is_amx_tile_supported'),
    }[precision]
    checks = (getattr(torch.cpu, name, None) for name in names)
    return any(check() for check in checks if check is not None)
