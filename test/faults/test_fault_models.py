# SPDX-License-Identifier: Apache-2.0
"""Models and caches: files that lie, hide or change; the right one has the same depth after it."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import pickle
import shutil
import struct
from typing import Any
import zipfile

from adabins_ros import DepthPredictor
from adabins_ros.inference.engines.engine import Place
from adabins_ros.inference.engines.onnx_engine import OnnxEngine
from adabins_ros.inference.kept import Kept
from adabins_ros.inference.onnx_file import read_onnx
from adabins_ros.model.errors import ModelError
from adabins_ros.model.model_file import WEIGHTS
import numpy as np
import pytest

SHIPPED = WEIGHTS / 'adabins-lite.safetensors'
EXPORTED = WEIGHTS / 'adabins-lite.onnx'
BIAS = 'conv_out.bias'
GOOD = np.random.default_rng(6).integers(0, 255, (120, 160, 3), np.uint8)


def _rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write the shipped weights with another header."""
    raw = SHIPPED.read_bytes()
    end = 8 + int.from_bytes(raw[:8], 'little')
    header = json.loads(raw[8:end])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + raw[end:])


def _tensor(**values: Any) -> Callable[[Path], None]:
    return lambda path: _rewritten(path, lambda header: header[BIAS].update(values))


def _config(**values: Any) -> Callable[[Path], None]:
    def change(header: dict[str, Any]) -> None:
        said = header['__metadata__']
        said['config'] = json.dumps({**json.loads(said['config']), **values})

    return lambda path: _rewritten(path, change)


def _shapeless(path: Path) -> None:
    _rewritten(path, lambda header: header[BIAS].pop('shape'))


def _no_metadata(path: Path) -> None:
    _rewritten(path, lambda header: header.update(__metadata__='none'))


def _long_header(path: Path) -> None:
    path.write_bytes(struct.pack('<Q', 1 << 62) + b'{' + 200_000 * b'"a":' + bytes(1000))


def _nested(path: Path) -> None:
    text = b'{"a":' * 100_000
    path.write_bytes(struct.pack('<Q', len(text)) + text)


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('archive/data.pkl', pickle.dumps({'model': {}}))
        file.writestr('archive/data/0', bytes(1 << 27))
        file.writestr('archive/version', '3')


class _Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (f'{self.path}.was_run',)


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({'model': _Runs(path)}))


def _elsewhere(path: Path) -> None:
    import onnx

    proto = onnx.load(str(EXPORTED))
    weight = max(proto.graph.initializer, key=lambda each: len(each.raw_data))
    (path.parent / 'secret').write_bytes(weight.raw_data)
    folder = path.parent / 'models'
    folder.mkdir(exist_ok=True)
    weight.ClearField('raw_data')
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key='location', value='../secret')
    path.write_bytes(proto.SerializeToString())


def _half(path: Path) -> None:
    path.write_bytes(EXPORTED.read_bytes()[: EXPORTED.stat().st_size // 2])


def _pipe(path: Path) -> None:
    os.mkfifo(path)


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    'shape_of_words.safetensors': (_tensor(shape=['x']), 'damaged'),
    'shape_below_zero.safetensors': (_tensor(shape=[-64]), 'a side below 0'),
    'shapeless.safetensors': (_shapeless, 'damaged'),
    'larger_than_the_file.safetensors': (_tensor(shape=[1 << 62]), 'damaged'),
    'overlapping.safetensors': (_tensor(data_offsets=[0, 256]), 'damaged'),
    'metadata_of_words.safetensors': (_no_metadata, 'not of this package'),
    'long_header.safetensors': (_long_header, 'damaged'),
    'nested.safetensors': (_nested, 'damaged'),
    'many_bins.safetensors': (_config(num_bins=10**9), 'wrong configuration'),
    'vast.safetensors': (_config(embedding_dim=16384, mlp_dim=16384), 'does not fit'),
    'from_the_network.safetensors': (_config(encoder='hf-hub:a/b'), 'wrong configuration'),
    'nan_depth.safetensors': (_config(max_depth=float('nan')), 'wrong configuration'),
    'zip_bomb.pt': (_zip_bomb, 'is refused: its parts are compressed'),
    'runs.pt': (_pickle, 'is refused: it holds more than tensors'),
    'elsewhere.onnx': (_elsewhere, 'takes weights from other files'),
    'half.onnx': (_half, 'damaged'),
    'pipe.onnx': (_pipe, 'is no file'),
    'pipe.pt': (_pipe, 'does not exist'),
}


def depth_of(model: object, **options: Any) -> np.ndarray:
    """Return the depth of the good picture."""
    predictor = DepthPredictor.from_pretrained(str(model), pixel_budget=160 * 128, **options)
    try:
        return predictor.predict(GOOD).depth
    finally:
        predictor.close()


@pytest.fixture(scope='module')
def good_depth() -> np.ndarray:
    """Return the depth that the embedded default gives."""
    return depth_of('adabins-lite', engine='onnx')


@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_model_is_refused_in_a_sentence_and_the_right_one_works(
    tmp_path: Path, good_depth: np.ndarray, name: str
) -> None:
    make, words = HOSTILE[name]
    if name.endswith('.pt'):
        pytest.importorskip('torch')
    path = tmp_path / name
    make(path)
    # The first look of an engine that runs checkpoints as they are; it writes no engine.
    engine = 'onnx' if name.endswith('.onnx') else 'torch'
    with pytest.raises(ModelError, match=words):
        depth_of(path, engine=engine, depth_range=None if engine == 'onnx' else (0.1, 10.0))
    assert not Path(f'{path}.was_run').exists()
    np.testing.assert_array_equal(depth_of('adabins-lite', engine='onnx'), good_depth)


def _poison(folder: Path, key: str) -> None:
    (folder / f'{key}.onnx').write_bytes(EXPORTED.read_bytes()[:1000])


POISONED: dict[str, Callable[[Path, str], object]] = {
    'no object': lambda folder, key: (folder / f'{key}.json').write_text('[1, 2]'),
    'half a record': lambda folder, key: (folder / f'{key}.json').write_text('{"sha256": "a'),
    'another engine': lambda folder, key: (folder / f'{key}.onnx').write_bytes(b'other'),
    'half an engine': _poison,
    'a folder': lambda folder, key: (
        (folder / f'{key}.onnx').unlink(),
        (folder / f'{key}.onnx').mkdir(),
    ),
    'a circle of links': lambda folder, key: (
        (folder / f'{key}.onnx').unlink(),
        (folder / f'{key}.onnx').symlink_to(folder / f'{key}.onnx'),
    ),
}


@pytest.mark.parametrize('name', POISONED)
def test_a_poisoned_cache_is_as_good_as_none(tmp_path: Path, name: str) -> None:
    folder = tmp_path / 'cache'
    kept = Kept('key', folder)
    shutil.copyfile(EXPORTED, kept.onnx_path)
    kept.note_exported()
    assert kept.exported() is not None
    POISONED[name](folder, 'key')
    assert Kept('key', folder).exported() is None
    assert Kept('key', folder).measured('anywhere') == {}


def test_nothing_is_kept_where_others_may_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / 'cache'
    folder.mkdir()
    folder.chmod(0o777)
    assert Kept('key', folder).folder is None
    assert 'chmod o-w' in caplog.text
    folder.chmod(0o700)
    assert Kept('key', folder).folder == folder


def test_a_lock_that_is_a_link_empties_nothing(tmp_path: Path) -> None:
    private = tmp_path / 'private'
    private.write_text('mine')
    kept = Kept('key', tmp_path / 'cache')
    (tmp_path / 'cache' / 'key.lock').symlink_to(private)
    with pytest.raises(OSError), kept.locked():
        pass
    assert private.read_text() == 'mine'


def test_a_file_that_changes_under_a_running_engine_changes_no_depth(
    tmp_path: Path, good_depth: np.ndarray
) -> None:
    path = tmp_path / 'model.onnx'
    shutil.copyfile(EXPORTED, path)
    engine = OnnxEngine(read_onnx(path), Place(), (1, 160, 160))
    other = tmp_path / 'other.onnx'
    other.write_bytes(b'another file')
    other.replace(path)
    image = np.zeros((1, 128, 160, 3), np.uint8)
    whole = OnnxEngine(read_onnx(EXPORTED), Place())
    np.testing.assert_array_equal(
        engine.run({'image': image})['depth'], whole.run({'image': image})['depth']
    )
    engine.close()
    whole.close()
