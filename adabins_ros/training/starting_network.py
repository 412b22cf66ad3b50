# SPDX-License-Identifier: Apache-2.0
"""The network that a run starts from: a preset or file, with what the configuration changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, ModelError, PRESETS
from adabins_ros.model.model_file import is_embedded
from adabins_ros.training.config import NetworkConfig
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch

_UNTRAINED = {'trained': False, 'provenance': '', 'std_factor': 1.0}
_CHANGES = ('encoder', 'bin_strategy', 'bin_space', 'num_bins', 'min_depth', 'max_depth')


def starting_network(
    config: NetworkConfig, size: tuple[int, int] | None = None, *, seed: int = 0
) -> AdaBins:
    """
    Make the network of a configuration with the weights to start from.

    Another bin strategy or number of bins keeps all weights whose shape stays; the others start
    at random.

    Parameters
    ----------
    config : NetworkConfig
        Model, changes to it and the encoder's weights.
    size : (int, int), optional
        Height and width of the training images, px, which become the network's input size.
    seed : int
        Of the random weights.

    Raises
    ------
    ModelError
        If the model, the change, the encoder's weights or the size does not work.

    """
    loaded = loaded_model(config.model)
    wanted = _changed(loaded.config, config, size)
    if size is not None and not wanted.is_legal_size(*size):
        raise ModelError(
            f'images of {size[0]}x{size[1]} pixels give {wanted.tokens(*size)} patches, but '
            f'{wanted.name} needs {wanted.min_tokens} to {wanted.max_tokens}: change data.size'
        )
    from_timm = config.encoder_weights == 'imagenet'
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = AdaBins(wanted, pretrained_encoder=from_timm)
        except ValueError as error:
            raise ModelError(str(error)) from error
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"timm can't give the ImageNet weights of {wanted.encoder} "
                f'({str(error).splitlines()[0]}); download them and set network.encoder_weights '
                'to the file'
            ) from error
    random_preset = config.model in PRESETS and not loaded.config.trained
    if not random_preset and not config.from_scratch:
        other = wanted.encoder != loaded.config.encoder
        _keep_what_fits(network, loaded, but_encoder=from_timm or other)
    if config.encoder_weights is not None and not from_timm:
        _fill_encoder(network, Path(config.encoder_weights).expanduser())
    return network


def loaded_model(model: str) -> AdaBins:
    """
    Load what a run starts from.

    A preset whose weights do not come with the package stands for its architecture, with random
    weights, whether they were fetched or not: their file's path or hf: name starts from them.

    Raises
    ------
    ModelError
        As ``load_model``.

    """
    return load_model(model, untrained=model in PRESETS and not is_embedded(model))


def _changed(
    config: AdaBinsConfig, wanted: NetworkConfig, size: tuple[int, int] | None
) -> AdaBinsConfig:
    changes: dict[str, Any] = {
        name: getattr(wanted, name) for name in _CHANGES if getattr(wanted, name) is not None
    }
    if size is not None:
        changes['input_size'] = size
    if changes.get('encoder', config.encoder) != config.encoder:
        changes.update(_UNTRAINED, encoder_head=False, **_of_timm(changes['encoder']))
    if wanted.from_scratch:
        changes.update(_UNTRAINED)
    try:
        return AdaBinsConfig.model_validate({**config.model_dump(), **changes})
    except ValidationError as error:
        problems = '; '.join(problem['msg'] for problem in error.errors())
        raise ModelError(f'the model {wanted.model} cannot be changed so: {problems}') from error


def _of_timm(encoder: str) -> dict[str, Any]:
    """Return the images that timm's weights of an encoder were trained on, and their licence."""
    import timm

    try:
        known = timm.get_pretrained_cfg(encoder, allow_unregistered=False)
    except RuntimeError as error:
        raise ModelError(f'timm has no encoder {encoder!r}: {error}') from None
    if known is None:
        return {'licence': ''}
    licence = f'encoder: {known.license}' if known.license else ''
    return {'mean': known.mean, 'std': known.std, 'licence': licence}


def _keep_what_fits(network: AdaBins, loaded: AdaBins, *, but_encoder: bool) -> None:
    state = network.state_dict()
    kept = {
        name: tensor
        for name, tensor in loaded.state_dict().items()
        if name in state
        and state[name].shape == tensor.shape
        and not (but_encoder and name.startswith('encoder.'))
    }
    network.load_state_dict({**state, **kept})


def _fill_encoder(network: AdaBins, file: Path) -> None:
    state = network.encoder.backbone.state_dict()
    tensors = _renamed(_read(file), state)
    missing = [
        name
        for name, tensor in state.items()
        if not name.endswith('num_batches_tracked')
        and (name not in tensors or tensors[name].shape != tensor.shape)
    ]
    if missing:
        raise ModelError(
            f'encoder weights {file} are not of {network.config.encoder}: {len(missing)} of '
            f'{len(state)} tensors are missing or misshapen, such as {missing[0]}'
        )
    network.encoder.backbone.load_state_dict({n: tensors.get(n, state[n]) for n in state})
    head = {name: tensors.get(f'conv_head.{name}') for name in network.encoder.head.state_dict()}
    if head and None not in head.values():
        network.encoder.head.load_state_dict(head)


def _renamed(
    tensors: dict[str, torch.Tensor], state: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """
    Name tensors of another library as timm does, if all their shapes are timm's in this order.

    What is left over at the end belongs to the head and the classifier, which the encoder lacks.
    """
    if set(state) & set(tensors) or len(tensors) < len(state):
        return tensors
    in_order = dict(zip(state, tensors.values(), strict=False))
    fits = all(in_order[name].shape == tensor.shape for name, tensor in state.items())
    return in_order if fits else tensors


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        if file.suffix == '.safetensors':
            return load_file(file)
        content = torch.load(file, map_location='cpu', weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"encoder weights {file} can't be read: {reason}") from error
    except Exception as error:
        raise ModelError(f'encoder weights {file} are no file of tensors: {error}') from error
    return dict(content.get('state_dict', content)) if isinstance(content, dict) else {}
