# SPDX-License-Identifier: Apache-2.0
"""Whatever runs the network, the depth is the same."""

from concurrent.futures import ThreadPoolExecutor
import json
import logging
import os
from pathlib import Path
import sys

from adabins_ros import DepthPredictor
from adabins_ros.inference.building import open_exported
from adabins_ros.inference.checking import largest_difference_m, preferred
from adabins_ros.inference.deployment import AS_WRITTEN, deploy, Rewrites
from adabins_ros.inference.engines.engine import Engine, is_installed, Place
from adabins_ros.inference.export import network_run, write_onnx
from adabins_ros.inference.kept import Kept, key_of_network
from adabins_ros.model import AdaBins, AdaBinsConfig, ModelError
from adabins_ros.package_files import cache_folder
import numpy as np
import pytest
import torch
from torch import nn

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

STRATEGIES = ('adaptive', 'uniform', 'log', 'trained', 'regression')


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this test's engines are kept."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('ADABINS_CACHE', str(folder))
    return folder


@pytest.fixture(scope='module')
def tiny(repository: Path) -> AdaBinsConfig:
    text = (repository / 'test/training/tiny_network.json').read_text()
    return AdaBinsConfig.model_validate_json(text)


def network(tiny: AdaBinsConfig, seed: int = 0, **changes: object) -> AdaBins:
    torch.manual_seed(seed)
    made = AdaBins(tiny.model_copy(update=changes)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


def photo(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [127 * (1 + np.sin(rows / (7 + 3 * c) + columns / (5 + c))) for c in range(3)]
    return np.stack(waves, 2).astype(np.uint8)


def run_of(engine: str, made: AdaBins, folder: Path) -> Engine:
    """Open an engine of a network that is exported to a folder."""
    return open_exported(engine, write_onnx(made, folder / 'made.onnx').model, Place())


@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
@pytest.mark.parametrize('strategy', STRATEGIES)
def test_an_engine_gives_torchs_depth(
    tiny: AdaBinsConfig, cache: Path, strategy: str, engine: str
) -> None:
    pytest.importorskip(engine)
    made = network(tiny, bin_strategy=strategy, std_factor=1.3)
    plain = DepthPredictor(made, device='cpu', engine='torch')
    other = DepthPredictor(made, device='cpu', engine=engine)
    assert (plain.engine, other.engine) == ('torch', engine)
    for size in ((64, 96), (67, 101), (480, 640)):
        expected, actual = plain.predict(photo(*size)), other.predict(photo(*size))
        assert actual.inference_size == expected.inference_size
        np.testing.assert_allclose(actual.depth, expected.depth, rtol=0, atol=1e-4)
        np.testing.assert_allclose(actual.std, expected.std, rtol=0, atol=1e-3)
        np.testing.assert_allclose(actual.bin_centers, expected.bin_centers, rtol=0, atol=1e-4)


@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
def test_batches_of_any_legal_size_equal_torchs(
    tiny: AdaBinsConfig, tmp_path: Path, engine: str
) -> None:
    pytest.importorskip(engine)
    made = network(tiny)
    built = run_of(engine, made, tmp_path)
    shapes = [(2, 64, 96), (1, 65, 97), (3, 79, 111), (1, 64, 96), (2, 96, 64)]
    assert largest_difference_m(built.run, network_run(made), shapes) < 1e-4


def test_full_convolutions_and_a_padded_bottleneck_too(tiny: AdaBinsConfig, cache: Path) -> None:
    # So many channels that they are multiplied before they are up-sampled.
    channels = (24, 384, 16, 8, 8)
    made = network(
        tiny, decoder_convolution='full', bottleneck_padding=1, decoder_channels=channels
    )
    options: dict = {'flip_average': True, 'inference_size': (91, 121)}
    plain = DepthPredictor(made, device='cpu', engine='torch', **options)
    other = DepthPredictor(made, device='cpu', engine='onnx', **options)
    expected, actual = plain.predict(photo(91, 121)), other.predict(photo(91, 121))
    assert other.engine == 'onnx'
    assert actual.inference_size == (91, 121)
    np.testing.assert_allclose(actual.depth, expected.depth, rtol=0, atol=1e-4)
    np.testing.assert_allclose(actual.std, expected.std, rtol=0, atol=1e-3)


@pytest.mark.parametrize('engine', ['torch', 'onnx', 'openvino'])
def test_the_callers_small_numbers_stay(tiny: AdaBinsConfig, cache: Path, engine: str) -> None:
    if engine != 'torch':
        pytest.importorskip(engine)
    with ThreadPoolExecutor(1) as pool:
        predictor = pool.submit(DepthPredictor, network(tiny), device='cpu', engine=engine)
        pool.submit(predictor.result().predict, photo(64, 96)).result()
        assert pool.submit(lambda: sys.float_info.min / 2).result() > 0


def test_an_estimate_is_not_changed_by_the_next_frame(tiny: AdaBinsConfig, cache: Path) -> None:
    predictor = DepthPredictor(network(tiny), device='cpu', engine='onnx')
    first = predictor.predict(photo(64, 96))
    kept = first.depth.copy(), first.bin_centers.copy()
    predictor.predict(photo(64, 96)[::-1].copy())
    np.testing.assert_array_equal(first.depth, kept[0])
    np.testing.assert_array_equal(first.bin_centers, kept[1])


def test_what_was_built_is_found_again(tiny: AdaBinsConfig, cache: Path) -> None:
    DepthPredictor(network(tiny), device='cpu', engine='onnx')
    before = {file: file.stat().st_mtime_ns for file in cache.iterdir() if file.suffix != '.lock'}
    assert sorted(file.suffix for file in before) == ['.json', '.onnx']
    DepthPredictor(network(tiny), device='cpu', engine='onnx')
    after = {file: file.stat().st_mtime_ns for file in cache.iterdir() if file.suffix != '.lock'}
    assert after == before


def test_other_weights_or_another_range_are_another_engine(tiny: AdaBinsConfig) -> None:
    made = network(tiny)
    key = key_of_network(made)
    assert key_of_network(network(tiny)) == key
    assert key_of_network(network(tiny, max_depth=7.0)) != key
    with torch.no_grad():
        made.decoder.bottleneck.bias[0] += 1e-6
    assert key_of_network(made) != key


@pytest.mark.parametrize('damage', ['truncated', 'record', 'missing'])
def test_a_damaged_cache_is_built_again(tiny: AdaBinsConfig, cache: Path, damage: str) -> None:
    made = network(tiny)
    expected = DepthPredictor(made, device='cpu', engine='onnx').predict(photo(64, 96))
    (built,) = cache.glob('*.onnx')
    whole = built.read_bytes()
    if damage == 'truncated':
        built.write_bytes(whole[: len(whole) // 2])
    elif damage == 'missing':
        built.unlink()
    else:
        for record in cache.glob('*.json'):
            record.write_text('{"sha')
    predictor = DepthPredictor(made, device='cpu', engine='onnx')
    assert predictor.engine == 'onnx'
    np.testing.assert_array_equal(predictor.predict(photo(64, 96)).depth, expected.depth)
    assert len(built.read_bytes()) == len(whole)


def test_an_engine_that_computes_something_else_is_refused(
    tiny: AdaBinsConfig, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = network(tiny)
    # What a fault of the exporter would leave: a whole file that computes something else.
    kept = Kept(key_of_network(made), cache)
    write_onnx(network(tiny, seed=1), kept.onnx_path)
    kept.note_exported()
    for _ in ('measured', 'remembered'):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            predictor = DepthPredictor(made, device='cpu', engine='onnx')
        assert 'ONNX Runtime' in predictor.notice
        assert 'differs from the network by' in predictor.notice
        assert predictor.notice in caplog.text
        assert predictor.engine == 'torch'


def test_a_rewritten_graph_that_computes_something_else_is_refused(
    tiny: AdaBinsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network(tiny)
    expected = DepthPredictor(made, device='cpu', engine='torch')
    assert expected.notice is None

    def faulty(network: AdaBins, rewrites: Rewrites | None = None) -> AdaBins:
        deployed = deploy(network, rewrites)
        if rewrites != AS_WRITTEN:
            deployed.conv_out.bias[0] += 1
        return deployed

    monkeypatch.setattr('adabins_ros.inference.engines.torch_engine.deploy', faulty)
    predictor = DepthPredictor(made, device='cpu', engine='torch')
    assert 'differs from the network by' in predictor.notice
    assert 'as it is written' in predictor.notice
    assert 'as written' in predictor.description
    np.testing.assert_allclose(
        predictor.predict(photo(64, 96)).depth,
        expected.predict(photo(64, 96)).depth,
        rtol=0,
        atol=1e-4,
    )


def test_auto_remembers_what_was_fastest(tiny: AdaBinsConfig, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip('openvino')
    file = tmp_path / 'tiny.onnx'
    write_onnx(network(tiny), file)
    first = DepthPredictor.from_pretrained(file, device='cpu')
    (kept,) = cache.glob('*.json')
    content = json.loads(kept.read_text())
    ((where, choice),) = content['places'].items()
    assert choice['engine'] == first.engine
    assert {*choice['milliseconds']} == {'onnx', 'openvino'}
    for name in ('openvino', 'onnx'):
        content['places'][where] = {**choice, 'engine': name}
        kept.write_text(json.dumps(content))
        assert DepthPredictor.from_pretrained(file, device='cpu').engine == name


def test_another_runtime_has_to_pay() -> None:
    assert preferred({'onnx': 1.0, 'openvino': 0.95}) == 'onnx'
    assert preferred({'onnx': 0.5, 'openvino': 0.48}) == 'onnx'
    assert preferred({'onnx': 0.5, 'openvino': 0.4}) == 'openvino'
    assert preferred({'onnx': 1.2, 'openvino': 1.3}) == 'onnx'


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_home_that_can_not_be_written_means_no_cache_for_a_user(
    tiny: AdaBinsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv('ADABINS_CACHE', str(tmp_path / 'cache'))
    assert DepthPredictor(network(tiny), device='cpu', engine='onnx').engine == 'onnx'
    tmp_path.chmod(0o700)


def test_where_no_folder_can_be_made_there_is_no_cache(
    tiny: AdaBinsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'file').touch()
    monkeypatch.setenv('ADABINS_CACHE', str(tmp_path / 'file' / 'cache'))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', None)
    predictor = DepthPredictor(network(tiny), device='cpu', engine='onnx')
    assert predictor.engine == 'onnx'
    predictor.predict(photo(70, 130))
    assert list(tmp_path.glob('*/*.onnx'))
    predictor.close()
    assert not list(tmp_path.glob('*/*.onnx'))


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ADABINS_CACHE', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert cache_folder() == Path('/somewhere/adabins_ros')
    monkeypatch.setenv('ADABINS_CACHE', '/elsewhere')
    assert cache_folder() == Path('/elsewhere')
    monkeypatch.setenv('ADABINS_CACHE', '')
    assert cache_folder() is None


def test_nodes_that_start_together_never_read_half_a_record(tmp_path: Path) -> None:
    records = [{'engine': name, 'padding': name * 5000} for name in ('onnx', 'torch')]
    kept = [Kept('model', tmp_path) for _ in records]
    kept[0].note_measured('here', **records[0])

    def write_and_read(number: int) -> dict:
        kept[number % 2].note_measured('here', **records[number % 2])
        return kept[1 - number % 2].measured('here')

    with ThreadPoolExecutor(8) as pool:
        assert all(read in records for read in pool.map(write_and_read, range(200)))
    assert [file.name for file in tmp_path.iterdir()] == ['model.json']


def test_a_missing_package_is_one_line(
    tiny: AdaBinsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ('inference.engines.engine', 'extras'):
        monkeypatch.setattr(f'adabins_ros.{module}.find_spec', lambda package: None)
    for engine, words in (
        (
            'openvino',
            r"'openvino' needs the extra \[openvino\]: pip install '.\[openvino\]'$",
        ),
        ('torch', r"'torch' needs the extra \[train\]: pip install '.\[train\]'$"),
        ('onnx', r"'onnx' needs the Python package onnxruntime: pip install onnxruntime$"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            DepthPredictor(network(tiny), device='cpu', engine=engine)
        assert '\n' not in str(caught.value)
    # What is installed is what auto chooses from.
    assert DepthPredictor(network(tiny), device='cpu').engine == 'torch'


def test_further_outputs_pass_through_an_engine(tiny: AdaBinsConfig, tmp_path: Path) -> None:
    uniform = tiny.model_copy(update={'bin_strategy': 'uniform'})
    model = write_onnx(network(uniform), tmp_path / 'made.onnx').model
    proto = onnx.load_model(str(model.path))
    helper, kinds = onnx.helper, onnx.TensorProto
    proto.graph.input.append(
        helper.make_tensor_value_info('last_widths', kinds.FLOAT, ['batch', 4])
    )
    proto.graph.node.append(helper.make_node('Neg', ['last_widths'], ['widths']))
    proto.graph.output.append(helper.make_tensor_value_info('widths', kinds.FLOAT, ['batch', 4]))
    onnx.save_model(proto, str(model.path))
    widths = np.arange(4, dtype=np.float32)[None]
    for name in ('onnx', 'openvino'):
        if is_installed(name):
            engine = open_exported(name, model, Place())
            assert engine.input_names == {'image', 'last_widths'}
            made = engine.run({'image': photo(64, 96)[None], 'last_widths': widths})
            assert made.keys() == {'depth', 'std', 'bin_centers', 'widths'}
            np.testing.assert_array_equal(made['widths'], -widths)


def test_an_unknown_engine_names_the_known_ones(tiny: AdaBinsConfig) -> None:
    with pytest.raises(ModelError, match='use auto, torch, torch_compile, onnx, openvino'):
        DepthPredictor(network(tiny), device='cpu', engine='tensorflow')
