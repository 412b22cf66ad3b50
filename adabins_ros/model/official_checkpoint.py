# SPDX-License-Identifier: Apache-2.0
"""Import of the authors' checkpoints, AdaBins_nyu.pt and AdaBins_kitti.pt, as they are."""

from pathlib import Path
import pickle
from typing import Any
from zipfile import BadZipFile, is_zipfile, ZipFile

from adabins_ros.model.adabins import AdaBins
from adabins_ros.model.checkpoint import fill
from adabins_ros.model.config import AdaBinsConfig, MOST_WIDE, PRESETS
from adabins_ros.model.errors import ModelError
from adabins_ros.model.model_file import damaged, learned_count
import torch

# Our prefixes beside the authors'.
_PREFIXES = (
    ('encoder.backbone.', 'encoder.original_model.'),
    ('encoder.head.', 'encoder.original_model.conv_head.'),
    ('decoder.bottleneck.', 'decoder.conv2.'),
    *((f'decoder.up.{i}.block.', f'decoder.up{i + 1}._net.') for i in range(4)),
    ('decoder.out.', 'decoder.conv3.'),
    ('mini_vit.patch_embedding.', 'adaptive_bins_layer.patch_transformer.embedding_convPxP.'),
    (
        'mini_vit.positional_encodings',
        'adaptive_bins_layer.patch_transformer.positional_encodings',
    ),
    ('mini_vit.transformer.', 'adaptive_bins_layer.patch_transformer.transformer_encoder.'),
    ('mini_vit.range_features.', 'adaptive_bins_layer.conv3x3.'),
    ('mini_vit.regressor.', 'adaptive_bins_layer.regressor.'),
    ('conv_out.', 'conv_out.0.'),
)
# Names of the older generation beside the newer.
_OLDER = (
    ('adaptive_bins_layer.embedding_conv.', 'adaptive_bins_layer.conv3x3.'),
    (
        'adaptive_bins_layer.patch_transformer.embedding_encoder.',
        'adaptive_bins_layer.patch_transformer.embedding_convPxP.',
    ),
)
_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError),
    *(TypeError, IndexError, MemoryError, AssertionError, BadZipFile),
)
# The norm after the encoder's head, which the authors' decoder does not use.
_UNUSED = 'encoder.original_model.bn2.'


def official_name(name: str) -> str:
    """Turn the name of a tensor of AdaBins into the authors' name for it."""
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise KeyError(name)


def load_official(path: Path, depth_range: tuple[float, float] | None = None) -> AdaBins:
    """
    Load a checkpoint in the layout of the authors' code.

    Accepts ``{'model': state_dict, ...}`` and bare state dicts, ``module.`` prefixes, both
    generations of names and any number of bins.

    Parameters
    ----------
    path : Path
        The file; a name that holds ``nyu`` or ``kitti`` tells the depth range.
    depth_range : (float, float), optional
        d_min and d_max in metres; the file itself does not hold them.

    Returns
    -------
    AdaBins
        On the CPU, in evaluation mode.

    Raises
    ------
    ModelError
        If the file is damaged, hostile, of another network, or its depth range is unknown.

    """
    tensors = _official_names(_read(path), path)
    network = AdaBins(_config(path, _bins(path, tensors), depth_range))
    fill(network, tensors, path, official_name)
    return network.eval()


def describe_official(
    path: Path, depth_range: tuple[float, float] | None = None
) -> tuple[AdaBinsConfig, int]:
    """
    Give configuration and number of parameters of a checkpoint, without its weights if possible.

    Raises
    ------
    ModelError
        As ``load_official``, but what the weights are is not looked at.

    """
    tensors = _official_names(_read(path, mapped=True), path)
    config = _config(path, _bins(path, tensors), depth_range)
    return config, learned_count((name, tensor.shape) for name, tensor in tensors.items())


def _read(path: Path, *, mapped: bool = False) -> Any:
    try:
        # Only a file of the zip kind, all that torch has written since 1.6, can be mapped.
        zipped = is_zipfile(path)
        if zipped:
            _check_zip(path)
        mapped = mapped and zipped
        return torch.load(path, map_location='cpu', weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f'model file {path} is refused: it holds more than tensors and could run code when '
            f'opened ({str(error).splitlines()[0]})'
        ) from error
    except _DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise damaged(path, reason) from error


def _check_zip(path: Path) -> None:
    """Refuse compressed parts, which torch never writes: a small file may claim any size."""
    with ZipFile(path) as file:
        parts = file.infolist()
    size = sum(part.file_size for part in parts)
    if any(part.compress_type for part in parts) or size > path.stat().st_size:
        raise ModelError(
            f'model file {path} is refused: its parts are compressed to hide {size} bytes, which '
            'torch never does; load it where it comes from and save it with torch.save'
        )


def _official_names(content: Any, path: Path) -> dict[str, torch.Tensor]:
    state = content.get('model', content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise ModelError(
            f'model file {path} is no AdaBins checkpoint: expected a state dict or '
            f'{{"model": state dict}}, found {type(state).__name__}'
        )
    tensors = {}
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            continue
        name = str(key).removeprefix('module.')
        for older, newer in _OLDER:
            if name.startswith(older):
                name = newer + name.removeprefix(older)
        if not name.startswith(_UNUSED):
            tensors[name] = tensor
    return tensors


def _bins(path: Path, tensors: dict[str, torch.Tensor]) -> int:
    rows = tensors.get('adaptive_bins_layer.regressor.4.weight')
    if rows is None or rows.ndim != 2 or not 1 < rows.shape[0] <= MOST_WIDE:
        raise ModelError(
            f'model file {path} is no AdaBins checkpoint: it holds {len(tensors)} tensors but no '
            'adaptive_bins_layer.regressor.4.weight'
        )
    return rows.shape[0]


def _config(path: Path, num_bins: int, depth_range: tuple[float, float] | None) -> AdaBinsConfig:
    file_name = path.name.lower()
    if 'kitti' in file_name:
        preset = PRESETS['adabins-kitti']
    elif 'nyu' in file_name:
        preset = PRESETS['adabins-nyu']
    elif depth_range is not None:
        outdoors = depth_range[1] > 40.0
        preset = PRESETS['adabins-kitti' if outdoors else 'adabins-nyu']
    else:
        raise ModelError(
            f'the name of model file {path} holds neither nyu nor kitti, and the file does not '
            'tell its depth range: give depth_range, (0.001, 10.0) for NYU or (0.001, 80.0) for '
            'KITTI'
        )
    low, high = depth_range or (preset.min_depth, preset.max_depth)
    return preset.model_copy(
        update={
            'name': path.stem,
            'num_bins': num_bins,
            'min_depth': low,
            'max_depth': high,
            'trained': True,
            'provenance': f"authors' checkpoint {path.name}",
        }
    )
