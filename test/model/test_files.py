# SPDX-License-Identifier: Apache-2.0
"""Model files that are wrong, damaged or hostile say so."""

import json
import os
from pathlib import Path
import pickle

from adabins_ros.model import load_model, ModelError, save_checkpoint
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('model') / 'lite.safetensors'
    save_checkpoint(load_model('adabins-lite'), path)
    return path


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework='pt') as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, file.metadata()


def test_the_configuration_is_in_the_file(checkpoint: Path) -> None:
    _, metadata = read(checkpoint)
    config = json.loads(metadata['config'])
    for key in (
        'encoder',
        'min_depth',
        'max_depth',
        'training_focal_length_px',
        'input_size',
        'mean',
        'std',
        'licence',
        'provenance',
    ):
        assert key in config


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(ModelError, match=r'adabins-nyu, adabins-kitti, adabins-lite.*not exist'):
        load_model('adabins-large')


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='is a folder'):
        load_model(tmp_path)


@pytest.mark.parametrize('content', [b'', b'short', b'version https://git-lfs.github.com/spec/v1'])
def test_something_else_is_not_a_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'model.pt'
    path.write_bytes(content)
    with pytest.raises(ModelError, match='neither safetensors nor a torch checkpoint'):
        load_model(path)


def test_a_truncated_file_is_damaged(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / 'cut.safetensors'
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ModelError, match='damaged'):
        load_model(path)


def test_a_truncated_torch_file_is_damaged(tmp_path: Path) -> None:
    whole = tmp_path / 'nyu.pt'
    torch.save({'model': {'a': torch.rand(1000)}}, whole)
    path = tmp_path / 'nyu_cut.pt'
    path.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(ModelError, match='damaged'):
        load_model(path)


def test_safetensors_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other.safetensors'
    save_file({'a': torch.rand(3)}, path, metadata={'format': 'pt'})
    with pytest.raises(ModelError, match='not of this package'):
        load_model(path)


@pytest.mark.parametrize('config', ['', '{}garbage', '{"encoder": 3}', '{"depth": 1}'])
def test_a_wrong_configuration_is_named(config: str, checkpoint: Path, tmp_path: Path) -> None:
    tensors, metadata = read(checkpoint)
    path = tmp_path / 'config.safetensors'
    save_file(tensors, path, metadata={**metadata, 'config': config})
    with pytest.raises(ModelError, match='wrong configuration'):
        load_model(path)


def test_missing_misshapen_and_unknown_tensors_are_named(checkpoint: Path, tmp_path: Path) -> None:
    tensors, metadata = read(checkpoint)
    del tensors['decoder.bottleneck.weight']
    tensors['conv_out.bias'] = torch.zeros(3)
    tensors['extra'] = torch.zeros(1)
    path = tmp_path / 'tensors.safetensors'
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    text = str(caught.value)
    assert '1 missing: decoder.bottleneck.weight' in text
    assert '1 misshapen: conv_out.bias is (3,), expected (64,)' in text
    assert '1 unknown: extra' in text


def test_weights_that_are_not_numbers_are_named(checkpoint: Path, tmp_path: Path) -> None:
    tensors, metadata = read(checkpoint)
    tensors['conv_out.bias'][5] = torch.nan
    path = tmp_path / 'nan.safetensors'
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ModelError, match=r'NaN or infinite weights in conv_out\.bias'):
        load_model(path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f'touch {self.trace}',)


@pytest.mark.parametrize('how', ['torch', 'legacy', 'pickle'])
def test_a_hostile_pickle_is_refused_and_does_not_run(how: str, tmp_path: Path) -> None:
    path, trace = tmp_path / 'AdaBins_nyu.pt', tmp_path / 'trace'
    content = {'model': Hostile(trace), 'epoch': 1}
    if how == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == 'torch')
    with pytest.raises(ModelError, match=r'refused|damaged'):
        load_model(path)
    assert not trace.exists()


def test_an_unreadable_file_says_so(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / 'secret.safetensors'
    path.write_bytes(checkpoint.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip('this user may read everything')
    with pytest.raises(ModelError, match="can't be read"):
        load_model(path)
