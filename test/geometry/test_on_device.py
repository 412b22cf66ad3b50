# SPDX-License-Identifier: Apache-2.0
"""What is made of depth on a device is what numpy makes of it, bit for bit."""

from __future__ import annotations

from adabins_ros.geometry import colors, depth_encoding, filtering
from adabins_ros.geometry.camera import PinholeCamera
from adabins_ros.geometry.cloud import pack_cloud
import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from adabins_ros.geometry.on_device import cloud as on_device_cloud  # noqa: E402, I100
from adabins_ros.geometry.on_device import filtering as on_device_filtering  # noqa: E402
from adabins_ros.geometry.on_device import images as on_device_images  # noqa: E402

SIZES = [(1, 1), (5, 7), (48, 64), (121, 161), (240, 320), (481, 643), (720, 1280), (1081, 1919)]


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth depth with edges and every odd value, and its standard deviation."""
    random = np.random.default_rng(height)
    coarse = random.uniform(0.3, 6, (6, 8)).astype(np.float32)
    depth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    depth[:, : width // 3] += np.float32(2)
    spots = random.random((height, width))
    for share, odd in enumerate((np.nan, np.inf, -np.inf, 0, -1, 70, 1e-3)):
        depth[(spots > share * 0.004) & (spots < (share + 1) * 0.004)] = odd
    std = (depth * random.uniform(0, 0.2, depth.shape)).astype(np.float32)
    return depth, std


def tensors(*arrays: np.ndarray) -> list:
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('odd', [True, False])
def test_the_same_pixels_fly(size: tuple[int, int], odd: bool) -> None:
    depth, _ = scene(*size)
    if not odd:
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(3))
    expected = filtering.flying_pixels(depth, 0.05)
    actual = on_device_filtering.flying_pixels(torch.from_numpy(depth), 0.05)
    np.testing.assert_array_equal(actual.numpy(), expected)
    assert expected.any() or max(size) < 100


@pytest.mark.parametrize(
    'gates',
    [
        {'min_depth': 0.0, 'max_depth': np.inf},
        {'min_depth': 0.7, 'max_depth': 5.1},
        {'min_depth': 0.0, 'max_depth': 5.1, 'max_std_ratio': 0.1, 'edge_ratio': np.inf},
        {'min_depth': 0.7, 'max_depth': np.inf, 'max_std_ratio': 0.1, 'edge_ratio': 0.05},
    ],
)
@pytest.mark.parametrize(('size', 'stride'), [((121, 161), 1), ((121, 161), 3), ((481, 643), 2)])
def test_the_same_points_pass_the_gates(gates: dict, size: tuple[int, int], stride: int) -> None:
    depth, std = scene(*size)
    expected = filtering.valid_points(depth, std, stride=stride, **gates)
    actual = on_device_filtering.valid_points(*tensors(depth, std), stride=stride, **gates)
    np.testing.assert_array_equal(actual.numpy(), expected)
    assert 0 < expected.sum() < expected.size
    every = filtering.valid_points(depth, std, **gates)
    np.testing.assert_array_equal(expected, every[::stride, ::stride])


@pytest.mark.parametrize('stride', [1, 2, 3, 5])
def test_a_cloud_has_the_same_bytes(stride: int) -> None:
    camera = PinholeCamera(161, 121, 130.1, -131.7, 80.5, 58.0)
    depth, std = scene(121, 161)
    rgb = np.random.default_rng(0).integers(0, 256, (121, 161, 3), np.uint8)
    valid = filtering.valid_points(depth, std, min_depth=0.5, max_depth=6, stride=stride)
    for passed in (valid, np.ones_like(valid)):
        expected = pack_cloud(depth, rgb, std, passed, camera, stride)
        packed = on_device_cloud.packed_cloud(*tensors(depth, rgb, std, passed), camera, stride)
        assert packed.is_contiguous()
        cloud, is_dense = on_device_cloud.read_packed_cloud(packed.numpy(), *valid.shape)
        assert is_dense == passed.all()
        for name in 'xyz':
            np.testing.assert_array_equal(cloud[name], expected[name])
        for name in ('rgb', 'std'):
            bits = [np.ascontiguousarray(each[name]).view(np.int32) for each in (cloud, expected)]
            np.testing.assert_array_equal(*bits)
        assert cloud[passed].tobytes() == expected[passed].tobytes()


def test_a_cloud_of_another_cameras_depth_is_refused() -> None:
    camera = PinholeCamera(160, 120, 130.0, 131.0, 80.5, 58.0)
    depth, std = scene(121, 161)
    rgb = np.zeros((121, 161, 3), np.uint8)
    with pytest.raises(ValueError, match='160x120 px; scale the camera first'):
        on_device_cloud.packed_cloud(*tensors(depth, rgb, std, depth > 0), camera)
    with pytest.raises(ValueError, match=r'std is \(120, 160\), needed \(121, 161\)'):
        on_device_cloud.packed_cloud(
            *tensors(depth, rgb, std[1:, 1:], depth > 0),
            PinholeCamera(161, 121, 130.0, 131.0, 80.5, 58.0),
        )


@pytest.mark.parametrize('limits', [(0.0, np.inf), (0.7, np.inf), (0.0, 5.1), (0.7, 5.1)])
def test_depth_images_have_the_same_pixels(limits: tuple[float, float]) -> None:
    depth, _ = scene(121, 161)
    marked = depth_encoding.mark_range(depth, *limits)
    on_device = on_device_images.mark_range(torch.from_numpy(depth), *limits)
    np.testing.assert_array_equal(on_device.numpy(), marked)
    np.testing.assert_array_equal(
        on_device_images.millimetres(on_device).numpy().view(np.uint16),
        depth_encoding.millimetres(marked),
    )
    np.testing.assert_array_equal(
        on_device_images.depth_colors(on_device, 0.0, 6.1).numpy(),
        colors.depth_colors(marked, 0.0, 6.1),
    )


def test_a_colour_scale_without_a_length_is_refused() -> None:
    with pytest.raises(ValueError, match='its end must be above its start'):
        on_device_images.depth_colors(torch.ones(2, 2), 3.0, 3.0)
