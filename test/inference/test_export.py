# SPDX-License-Identifier: Apache-2.0
"""`adabins export` and what its file can do."""

import json
from pathlib import Path

from adabins_ros import DepthPredictor
from adabins_ros.cli import app
from adabins_ros.inference.export import export_onnx, ExportError, write_onnx
from adabins_ros.inference.onnx_file import read_onnx
from adabins_ros.model import AdaBins, AdaBinsConfig, load_model, ModelError, save_checkpoint
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def checkpoint(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (repository / 'test/training/tiny_network.json').read_text()
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'kitchen.safetensors'
    save_checkpoint(AdaBins(AdaBinsConfig.model_validate_json(text)), path)
    return path


@pytest.fixture(scope='module')
def exported(checkpoint: Path) -> Path:
    path = checkpoint.with_suffix('.onnx')
    assert export_onnx(checkpoint, path).difference_m < 1e-4
    return path


def picture(height: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(height)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('engine', ['auto', 'onnx', 'openvino'])
def test_the_file_predicts_as_the_checkpoint_does(
    checkpoint: Path, exported: Path, engine: str
) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino')
    plain = DepthPredictor.from_pretrained(checkpoint, device='cpu', engine='torch')
    other = DepthPredictor.from_pretrained(exported, device='cpu', engine=engine)
    assert other.config == plain.config
    assert other.parameter_count == plain.parameter_count
    assert 'tiny (untrained' in other.description
    for size in ((64, 96), (123, 155)):
        expected, actual = plain.predict(picture(*size), 90), other.predict(picture(*size), 90)
        assert actual.focal_scale == expected.focal_scale
        np.testing.assert_allclose(actual.depth, expected.depth, rtol=0, atol=1e-4)
        np.testing.assert_allclose(actual.bin_centers, expected.bin_centers, rtol=0, atol=1e-4)


def test_anybody_can_run_it_from_pixels(checkpoint: Path, exported: Path) -> None:
    session = onnxruntime.InferenceSession(str(exported))
    image, *last = session.get_inputs()
    assert (image.name, image.type) == ('image', 'tensor(uint8)')
    # Of the last frame: zeros for none.
    zeros = {each.name: np.zeros((1, *each.shape[1:]), np.float32) for each in last}
    names = ['depth', 'std', 'bin_centers']
    depth, std, centers = session.run(names, {'image': picture(65, 97)[None], **zeros})
    assert depth.shape == std.shape == (1, 33, 49)
    assert (np.diff(centers) > 0).all()
    said = session.get_modelmeta().custom_metadata_map
    config = AdaBinsConfig.model_validate_json(said['adabins_ros.config'])
    assert config == read_onnx(exported).config
    assert said['adabins_ros.torch'] == torch.__version__
    assert said['adabins_ros.opset'] == '17'


def test_a_file_of_one_size_gets_every_image_in_it(checkpoint: Path, tmp_path: Path) -> None:
    path = export_onnx(checkpoint, tmp_path / 'fixed.onnx', size=(80, 64)).model.path
    predictor = DepthPredictor.from_pretrained(path, device='cpu')
    assert predictor.predict(picture(64, 96)).inference_size == (80, 64)
    with pytest.raises(ModelError, match=r'takes images of \(80, 64\) pixels alone'):
        DepthPredictor.from_pretrained(path, device='cpu', inference_size=(64, 96))


@pytest.mark.parametrize('engine', ['onnx', 'openvino'])
def test_a_file_of_the_first_edition_still_loads(
    exported: Path, tmp_path: Path, engine: str
) -> None:
    if engine == 'openvino':
        pytest.importorskip('openvino')
    proto = onnx.load_model(str(exported))
    graph, helper = proto.graph, onnx.helper
    graph.input[0].name = 'pixels'
    for node in graph.node:
        node.input[:] = ['pixels' if name == 'image' else name for name in node.input]
        node.output[:] = [
            f'{name}_map' if name in ('depth', 'std') else name for name in node.output
        ]
    graph.initializer.append(helper.make_tensor('one', onnx.TensorProto.INT64, [1], [1]))
    for name in ('depth', 'std'):
        graph.node.append(helper.make_node('Unsqueeze', [f'{name}_map', 'one'], [name]))
    for value in graph.output[:2]:
        shape = [each.dim_param for each in value.type.tensor_type.shape.dim]
        value.CopyFrom(helper.make_tensor_value_info(value.name, 1, [shape[0], 1, *shape[1:]]))
    said = {entry.key: entry.value for entry in proto.metadata_props}
    helper.set_model_props(proto, {**said, 'adabins_ros.format': 'adabins_ros onnx 1'})
    old = tmp_path / 'old.onnx'
    onnx.save_model(proto, str(old))
    expected = DepthPredictor.from_pretrained(exported, device='cpu', engine='onnx')
    actual = DepthPredictor.from_pretrained(old, device='cpu', engine=engine)
    np.testing.assert_allclose(
        actual.predict(picture(64, 96)).depth,
        expected.predict(picture(64, 96)).depth,
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ('encoder', 'size'), [('test_convnext', None), ('swin_tiny_patch4_window7_224', (64, 96))]
)
def test_networks_on_todays_encoders_are_exported(
    encoder: str, size: tuple[int, int] | None, repository: Path, tmp_path: Path
) -> None:
    text = (repository / 'test/training/tiny_network.json').read_text()
    config = AdaBinsConfig.model_validate({**json.loads(text), 'encoder': encoder})
    written = write_onnx(AdaBins(config), tmp_path / 'model.onnx')
    # The windows of a Swin are cut for the size of training; any other encoder takes any size.
    assert written.model.fixed_size == size
    assert written.difference_m < 1e-4


def test_nothing_is_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    taken = tmp_path / 'taken.onnx'
    taken.write_text('precious')
    with pytest.raises(ExportError, match='exists already'):
        export_onnx(checkpoint, taken)
    assert taken.read_text() == 'precious'


def test_a_file_that_differs_from_torch_gets_no_name(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No rounding is that small.
    monkeypatch.setattr(
        'adabins_ros.inference.export.allowed_difference_m', lambda precision, config: 1e-12
    )
    with pytest.raises(ExportError, match=r'was not written: .* differ from torch by .* m'):
        export_onnx(checkpoint, tmp_path / 'wrong.onnx')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ({'output': 'model.bin'}, 'must end in .onnx'),
        ({'size': (10, 10)}, '10x10 is not legal'),
        ({'model': 'nothing.safetensors'}, 'does not exist'),
        ({'model': 'other.onnx'}, 'is exported already'),
    ],
)
def test_what_can_not_be_exported_is_said(
    checkpoint: Path, tmp_path: Path, options: dict, words: str
) -> None:
    model, output = options.get('model', checkpoint), options.get('output', 'model.onnx')
    with pytest.raises(ValueError, match=words):
        export_onnx(model, tmp_path / output, size=options.get('size'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('damage', ['truncated', 'text', 'foreign', 'old', 'absent'])
def test_a_bad_file_is_said_in_one_line(exported: Path, tmp_path: Path, damage: str) -> None:
    path = tmp_path / f'{damage}.onnx'
    whole = exported.read_bytes()
    if damage == 'truncated':
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == 'text':
        path.write_text('version https://git-lfs.github.com/spec/v1')
    elif damage in ('foreign', 'old'):
        proto = onnx.load_model(str(exported))
        said = {entry.key: entry.value for entry in proto.metadata_props}
        changed = {**said, 'adabins_ros.config': '{"encoder": 7}'} if damage == 'old' else {}
        del proto.metadata_props[:]
        onnx.helper.set_model_props(proto, changed)
        onnx.save_model(proto, str(path))
    with pytest.raises(ModelError) as caught:
        DepthPredictor.from_pretrained(path, device='cpu')
    assert str(path) in str(caught.value)


def test_torch_does_not_run_onnx_files(exported: Path) -> None:
    with pytest.raises(ModelError, match="engine 'torch' can not run the ONNX file"):
        DepthPredictor.from_pretrained(exported, device='cpu', engine='torch')
    with pytest.raises(ModelError, match='holds its depth range'):
        DepthPredictor.from_pretrained(exported, device='cpu', depth_range=(1, 2))


def test_the_command_says_how_exact_it_is(checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / 'new' / 'model.onnx'
    words = ['export', '--model', str(checkpoint), '--output', str(output)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert 'differs from torch by' in done.output
    assert read_onnx(output).config.name == 'tiny'
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert 'exists already' in again.output
    other = CliRunner().invoke(app, [*words, '--format', 'tflite'])
    assert other.exit_code == 2
    assert 'there are onnx and safetensors' in other.output


def test_weights_to_share_are_half_as_large_and_named_after_their_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / 'den.safetensors'
    words = ['export', '--model', str(checkpoint), '--output', str(output)]
    words += ['--format', 'safetensors']
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert output.stat().st_size < 0.6 * checkpoint.stat().st_size
    before, shared = load_model(checkpoint), load_model(output)
    assert shared.config == before.config.model_copy(update={'name': 'den'})
    for name, tensor in before.state_dict().items():
        assert torch.equal(shared.state_dict()[name], tensor.half().to(tensor.dtype)), name
    assert 'exists already' in CliRunner().invoke(app, words).output
    assert CliRunner().invoke(app, [*words, '--size', '64', '96']).exit_code == 2
