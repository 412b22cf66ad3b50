# SPDX-License-Identifier: Apache-2.0
"""Whatever runs the network, the depth is the same."""

from concurrent.futures import ThreadPoolExecutor
import json
import logging
import os
from pathlib import Path
import sys

from adabins_ros import DepthPredictor
from adabins_ros.inference.engines import NetworkSource, Place
from adabins_ros.inference.engines.building import EngineBuilder, EngineRefused
from adabins_ros.inference.engines.cache import cache_folder, EngineCache, network_key
from adabins_ros.inference.engines.checking import largest_difference_m
from adabins_ros.inference.engines.onnx_file import write_onnx
from adabins_ros.inference.engines.opening import open_engine, preferred
from adabins_ros.inference.engines.pixel_network import PixelNetwork
from adabins_ros.model import AdaBins, AdaBinsConfig, ModelError
from adabins_ros.provenance import sha256
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

STRATEGIES = ('adaptive', 'uniform', 'log', 'trained', 'regression')
CPU = Place(torch.device('cpu'))


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


def builder_of(made: AdaBins, folder: Path | None) -> EngineBuilder:
    return EngineBuilder(NetworkSource(made), CPU, EngineCache(folder))


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
    built = builder_of(made, tmp_path).build(engine)
    shapes = [(2, 64, 96), (1, 65, 97), (3, 79, 111), (1, 64, 96), (2, 96, 64)]
    assert largest_difference_m(built, PixelNetwork(made, made.config), shapes) < 1e-4


def test_full_convolutions_and_a_padded_bottleneck_too(tiny: AdaBinsConfig, cache: Path) -> None:
    # So many channels that they are multiplied before they are up-sampled.
    channels = (24, 384, 16, 8, 8)
    made = network(
        tiny, decoder_convolution='full', bottleneck_padding=1, decoder_channels=channels
    )
    plain = DepthPredictor(made, device='cpu', engine='torch', flip_average=True)
    other = DepthPredictor(made, device='cpu', engine='onnx', flip_average=True)
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
    before = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert sorted(file.suffix for file in before) == ['.json', '.json', '.onnx']
    DepthPredictor(network(tiny), device='cpu', engine='onnx')
    assert {file: file.stat().st_mtime_ns for file in cache.iterdir()} == before


def test_other_weights_or_another_range_are_another_engine(tiny: AdaBinsConfig) -> None:
    made = network(tiny)
    key = network_key(made)
    assert network_key(network(tiny)) == key
    assert network_key(network(tiny, max_depth=7.0)) != key
    with torch.no_grad():
        made.decoder.bottleneck.bias[0] += 1e-6
    assert network_key(made) != key


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


def put_other_weights_into_the_cache(made: AdaBins, others: AdaBins, folder: Path) -> None:
    """Leave what a fault of the exporter would: a whole file that computes something else."""
    builder = builder_of(made, folder)
    builder._exported()
    (built,) = folder.glob('*.onnx')
    write_onnx(others, built)
    (folder / f'{builder.network_key}.json').write_text(json.dumps({'sha256': sha256(built)}))


def test_an_engine_that_computes_something_else_is_refused(
    tiny: AdaBinsConfig, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = network(tiny)
    put_other_weights_into_the_cache(made, network(tiny, seed=1), cache)
    with pytest.raises(EngineRefused, match=r'ONNX Runtime .* differs from torch by .* m'):
        builder_of(made, cache).build('onnx')
    for engine in ('onnx', 'auto'):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            predictor = DepthPredictor(made, device='cpu', engine=engine)
        assert 'differs from torch by' in caplog.text
        assert predictor.engine == 'torch'


def test_auto_remembers_what_was_fastest(tiny: AdaBinsConfig, cache: Path) -> None:
    made = network(tiny)
    first = DepthPredictor(made, device='cpu')
    (choice,) = [
        record
        for record in map(json.loads, (file.read_text() for file in cache.glob('*.json')))
        if 'milliseconds' in record
    ]
    assert choice['engine'] == first.engine
    assert {'torch', 'onnx'} <= set(choice['milliseconds'])
    for file in cache.glob('*.json'):
        record = json.loads(file.read_text())
        if 'milliseconds' in record:
            file.write_text(json.dumps({**record, 'engine': 'onnx'}))
    assert DepthPredictor(made, device='cpu').engine == 'onnx'


def test_auto_does_not_keep_the_user_of_a_large_network_waiting(
    tiny: AdaBinsConfig, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('adabins_ros.inference.engines.opening.BUILT_AT_ONCE', 1000)
    made = network(tiny)
    assert DepthPredictor(made, device='cpu').engine == 'torch'
    assert not list(cache.glob('*.onnx'))
    patient = DepthPredictor(made, device='cpu', patient=True)
    assert list(cache.glob('*.onnx'))
    assert DepthPredictor(made, device='cpu').engine == patient.engine


def test_auto_tries_the_rest_when_there_is_time(tiny: AdaBinsConfig, cache: Path) -> None:
    pytest.importorskip('openvino')

    def tried() -> list[set[str]]:
        records = [json.loads(file.read_text()) for file in cache.glob('*.json')]
        return [set(record['tried']) for record in records if 'tried' in record]

    made = network(tiny)
    DepthPredictor(made, device='cpu')
    assert tried() == [{'torch', 'onnx'}]
    patient = DepthPredictor(made, device='cpu', patient=True)
    assert tried() == [{'torch', 'onnx', 'openvino'}]
    assert DepthPredictor(made, device='cpu').engine == patient.engine


def test_another_runtime_has_to_pay() -> None:
    assert preferred({'torch': 1.0, 'onnx': 0.95}) == 'torch'
    assert preferred({'torch': 1.0, 'onnx': 0.5, 'openvino': 0.48}) == 'onnx'
    assert preferred({'torch': 1.0, 'onnx': 0.5, 'openvino': 0.4}) == 'openvino'
    assert preferred({'torch': 1.0, 'onnx': 1.2, 'openvino': 0.8}) == 'openvino'


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
    assert list(tmp_path.glob('*/network.onnx'))
    predictor.close()
    assert not list(tmp_path.glob('*/network.onnx'))


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
    caches = [EngineCache(tmp_path) for _ in records]
    caches[0].write('choice', records[0])

    def write_and_read(number: int) -> dict | None:
        caches[number % 2].write('choice', records[number % 2])
        return caches[1 - number % 2].read('choice')

    with ThreadPoolExecutor(8) as pool:
        assert all(read in records for read in pool.map(write_and_read, range(200)))
    assert [file.name for file in tmp_path.iterdir()] == ['choice.json']


def test_a_missing_package_is_one_line(
    tiny: AdaBinsConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('adabins_ros.inference.engines.engine.find_spec', lambda package: None)
    with pytest.raises(ModelError) as caught:
        DepthPredictor(network(tiny), device='cpu', engine='openvino')
    assert str(caught.value).endswith('pip install onnx openvino')
    assert '\n' not in str(caught.value)
    # What is installed is what auto chooses from.
    assert DepthPredictor(network(tiny), device='cpu').engine == 'torch'


def test_an_unknown_engine_names_the_known_ones(tiny: AdaBinsConfig) -> None:
    with pytest.raises(ModelError, match='use auto, torch, torch_compile, onnx, openvino'):
        open_engine('tensorflow', NetworkSource(network(tiny)), CPU)
