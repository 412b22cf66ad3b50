# SPDX-License-Identifier: Apache-2.0
"""The authors' layout, held against their graph written out plainly from its description."""

from collections.abc import Callable
from pathlib import Path

from adabins_ros.inference import DepthPredictor
from adabins_ros.model import load_model, ModelError
import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

State = dict[str, torch.Tensor]
HEAD = 'adaptive_bins_layer.'
TRANSFORMER = 'adaptive_bins_layer.patch_transformer.'
NUM_BINS = 48  # any N is accepted; the authors have 256


@pytest.fixture(scope='module')
def encoder() -> nn.Module:
    torch.manual_seed(0)
    encoder = timm.create_model('tf_efficientnet_b5.ap_in1k', num_classes=0, global_pool='')
    _randomise_norms(encoder)
    return encoder.eval()


def _randomise_norms(module: nn.Module) -> None:
    # Wider ones make a network that magnifies rounding: with 0.5 to 1.5 the same network, only
    # laid out channels-last, is 2e-4 m off, and more at 80 m.
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.normal_(norm.bias, 0, 0.1)


@pytest.fixture(scope='module')
def state(encoder: nn.Module) -> State:
    """Random weights under the authors' names, 973 tensors."""
    torch.manual_seed(1)
    state = {f'encoder.original_model.{k}': v for k, v in encoder.state_dict().items()}

    def add(prefix: str, module: nn.Module) -> None:
        _randomise_norms(module)
        state.update({f'{prefix}.{k}': v.detach() for k, v in module.state_dict().items()})

    add('decoder.conv2', nn.Conv2d(2048, 2048, 1))
    for i, (n_in, n_out) in enumerate(
        [(2224, 1024), (1088, 512), (552, 256), (280, 128)], start=1
    ):
        for place, layer in {
            0: nn.Conv2d(n_in, n_out, 3),
            1: nn.BatchNorm2d(n_out),
            3: nn.Conv2d(n_out, n_out, 3),
            4: nn.BatchNorm2d(n_out),
        }.items():
            add(f'decoder.up{i}._net.{place}', layer)
    add('decoder.conv3', nn.Conv2d(128, 128, 3))
    add(f'{TRANSFORMER}embedding_convPxP', nn.Conv2d(128, 128, 16))
    state[f'{TRANSFORMER}positional_encodings'] = torch.rand(500, 128)
    layer = nn.TransformerEncoderLayer(128, 4, dim_feedforward=1024, batch_first=True)
    add(
        f'{TRANSFORMER}transformer_encoder',
        nn.TransformerEncoder(layer, 4, enable_nested_tensor=False),
    )
    add(f'{HEAD}conv3x3', nn.Conv2d(128, 128, 3))
    for place, sizes in {0: (128, 256), 2: (256, 256), 4: (256, NUM_BINS)}.items():
        add(f'{HEAD}regressor.{place}', nn.Linear(*sizes))
    add('conv_out.0', nn.Conv2d(128, NUM_BINS, 1))
    assert len(state) == 973
    return state


def plain_forward(
    encoder: nn.Module, state: State, x: torch.Tensor, low: float, high: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Write out the authors' forward pass: bin centres (1, N) and depth (1, 1, h, w)."""

    def conv(name: str, x: torch.Tensor, **options: int) -> torch.Tensor:
        return functional.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], **options)

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var = state[f'{name}.running_mean'], state[f'{name}.running_var']
        weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
        return functional.leaky_relu(functional.batch_norm(x, mean, var, weight, bias))

    skips, y = [], encoder.bn1(encoder.conv_stem(x))
    for i, block in enumerate(encoder.blocks):
        y = block(y)
        if i in (0, 1, 2, 4):
            skips.append(y)
    y = conv('decoder.conv2', encoder.conv_head(y), padding=1)
    for i, skip in enumerate(reversed(skips), start=1):
        y = functional.interpolate(y, skip.shape[-2:], mode='bilinear', align_corners=True)
        y = torch.cat([y, skip], 1)
        for place in (0, 3):
            y = conv(f'decoder.up{i}._net.{place}', y, padding=1)
            y = norm(f'decoder.up{i}._net.{place + 1}', y)
    y = conv('decoder.conv3', y, padding=1)

    tokens = conv(f'{TRANSFORMER}embedding_convPxP', y, stride=16).flatten(2)
    tokens = tokens + state[f'{TRANSFORMER}positional_encodings'][: tokens.shape[2]].T
    tokens = tokens[0].T
    for i in range(4):
        name = f'{TRANSFORMER}transformer_encoder.layers.{i}'
        attended = functional.multi_head_attention_forward(
            tokens, tokens, tokens, 128, 4,
            state[f'{name}.self_attn.in_proj_weight'], state[f'{name}.self_attn.in_proj_bias'],
            None, None, False, 0.0,
            state[f'{name}.self_attn.out_proj.weight'], state[f'{name}.self_attn.out_proj.bias'],
            training=False, need_weights=False,
        )[0]  # fmt: skip
        for n, update in (
            (1, lambda t, a=attended: a),
            (2, lambda t, p=name: linear(f'{p}.linear2', linear(f'{p}.linear1', t).relu())),
        ):
            tokens = functional.layer_norm(
                tokens + update(tokens), (128,),
                state[f'{name}.norm{n}.weight'], state[f'{name}.norm{n}.bias'],
            )  # fmt: skip
    maps = functional.conv2d(
        conv(f'{HEAD}conv3x3', y, padding=1), tokens[1:129].view(128, 128, 1, 1)
    )
    raw = tokens[0]
    for place in (0, 2):
        raw = functional.leaky_relu(linear(f'{HEAD}regressor.{place}', raw))
    raw = linear(f'{HEAD}regressor.4', raw).relu() + 0.1
    widths = (high - low) * raw / raw.sum()
    edges = low + torch.cat([torch.zeros(1), widths.cumsum(0)])
    centers = ((edges[1:] + edges[:-1]) / 2)[None]
    probabilities = conv('conv_out.0', maps).softmax(1)
    return centers, (probabilities * centers[:, :, None, None]).sum(1, keepdim=True)


@pytest.fixture
def saved(state: State, tmp_path: Path) -> Callable[..., Path]:
    def save(name: str = 'AdaBins_nyu.pt', **layout: object) -> Path:
        path = tmp_path / name
        torch.save({'model': state, 'optimizer': {'state': {}}, 'epoch': 24, **layout}, path)
        return path

    return save


@pytest.mark.parametrize(
    ('name', 'size', 'high', 'flip'),
    [
        ('AdaBins_nyu.pt', (416, 544), 10.0, True),
        ('AdaBins_nyu.pt', (353, 391), 10.0, False),
        ('AdaBins_kitti.pt', (352, 704), 80.0, False),
    ],
)
def test_depth_equals_the_authors_graph(
    name: str,
    size: tuple[int, int],
    high: float,
    flip: bool,
    encoder: nn.Module,
    state: State,
    saved: Callable[..., Path],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        centers, expected = plain_forward(encoder, state, x, 1e-3, high)
        if flip:
            mirrored = plain_forward(encoder, state, x.flip(-1), 1e-3, high)[1].flip(-1)
            expected = (expected + mirrored) / 2
    expected = functional.interpolate(expected, size, mode='bilinear', align_corners=True)

    # Other engines are held to torch's depth when they are built, which takes a minute here.
    predictor = DepthPredictor.from_pretrained(
        saved(name), device='cpu', engine='torch', flip_average=flip, inference_size=size
    )
    estimate = predictor.predict(image)

    assert estimate.inference_size == size
    assert estimate.depth.std() > 1e-3
    # Rounding alone is ten times less; a bottleneck without its border is 2e-4 m off.
    atol = min(1e-4, 3e-6 * high)
    np.testing.assert_allclose(estimate.depth, expected[0, 0], rtol=0, atol=atol)
    np.testing.assert_allclose(estimate.bin_centers, centers[0], rtol=0, atol=atol)


def older_names(state: State) -> State:
    renamed = {}
    for key, tensor in state.items():
        key = key.replace(f'{HEAD}conv3x3', f'{HEAD}embedding_conv')
        renamed[key.replace('embedding_convPxP', 'embedding_encoder')] = tensor
    return renamed


def test_every_generation_of_the_file_loads(state: State, saved: Callable[..., Path]) -> None:
    reference = load_model(saved()).state_dict()
    module = {f'module.{key}': tensor for key, tensor in state.items()}
    bare = saved('bare_nyu.pt')
    torch.save(module, bare)
    files = [
        saved('module_nyu.pt', model=module),
        saved('older_nyu.pt', model=older_names(state)),
        saved('older_module_nyu.pt', model=older_names(module)),
        bare,
    ]
    for path in files:
        loaded = load_model(path)
        assert loaded.config.num_bins == NUM_BINS
        assert loaded.config.trained
        for name, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, reference[name]), (path.name, name)


def test_the_name_or_the_user_tells_the_depth_range(saved: Callable[..., Path]) -> None:
    assert load_model(saved('AdaBins_kitti.pt')).config.max_depth == 80.0
    assert load_model(saved('AdaBins_kitti.pt')).config.training_focal_length_px == 721.5
    with pytest.raises(ModelError, match='depth_range'):
        load_model(saved('epoch_24.pt'))
    chosen = load_model(saved('epoch_24.pt'), depth_range=(0.5, 6.0)).config
    assert (chosen.min_depth, chosen.max_depth) == (0.5, 6.0)
    assert chosen.training_focal_length_px == 518.86


def test_wrong_tensors_are_named_as_in_the_file(state: State, saved: Callable[..., Path]) -> None:
    wrong = dict(state)
    del wrong['decoder.conv3.bias']
    wrong['decoder.up2._net.0.weight'] = torch.zeros(512, 7, 3, 3)
    with pytest.raises(ModelError) as caught:
        load_model(saved(model=wrong))
    text = str(caught.value)
    assert 'missing: decoder.conv3.bias' in text
    assert 'decoder.up2._net.0.weight is (512, 7, 3, 3), expected (512, 1088, 3, 3)' in text


@pytest.mark.parametrize('model', [{'fc.weight': torch.zeros(2)}, {}, [1, 2], torch.zeros(3)])
def test_another_network_is_not_adabins(model: object, saved: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match='no AdaBins checkpoint'):
        load_model(saved(model=model))
