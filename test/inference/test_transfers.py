# SPDX-License-Identifier: Apache-2.0
"""What passes through reused memory arrives whole, whatever its size."""

from adabins_ros.inference.resizing import FrameResizer, resized_on_device
from adabins_ros.inference.transfers import StagedDownloads, StagedUpload
import numpy as np
import pytest
import torch

CPU = torch.device('cpu')


def test_frames_that_follow_do_not_change_a_frame_that_was_uploaded() -> None:
    random = np.random.default_rng(0)
    upload = StagedUpload(CPU)
    images = [random.integers(0, 256, (*size, 3), np.uint8) for size in ((4, 6), (9, 5), (2, 3))]
    mirrored = images[0][:, ::-1]
    mirrored.flags.writeable = False
    images.append(mirrored)
    uploaded = [upload(image) for image in images]
    for image, tensor in zip(images, uploaded, strict=True):
        np.testing.assert_array_equal(tensor.numpy(), image)


@pytest.mark.parametrize('dtype', [torch.float32, torch.int32, torch.int16, torch.uint8])
def test_each_kind_of_result_has_memory_of_its_own(dtype: torch.dtype) -> None:
    downloads = StagedDownloads(CPU)
    first, larger = torch.arange(6).to(dtype).view(2, 3), torch.arange(20).to(dtype).view(4, 5)
    depth, std = downloads.start('depth', first), downloads.start('std', larger)
    np.testing.assert_array_equal(depth.wait(), first.numpy())
    np.testing.assert_array_equal(std.wait(), larger.numpy())
    kept = std.wait()
    again = downloads.start('depth', larger + 1)
    np.testing.assert_array_equal(again.wait(), (larger + 1).numpy())
    np.testing.assert_array_equal(kept, larger.numpy())


def test_memory_is_reused_from_frame_to_frame() -> None:
    downloads = StagedDownloads(CPU)
    places = {
        downloads.start('depth', torch.full((3, 4), float(n))).wait().ctypes.data for n in range(5)
    }
    assert len(places) == 1


@pytest.mark.parametrize('size', [(24, 32), (31, 45), (48, 64), (60, 90), (16, 64), (1, 1)])
def test_a_device_resizes_as_opencv_does_on_the_host(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    resized = resized_on_device(torch.from_numpy(image), size)
    assert resized.shape == (1, *size, 3)
    on_host, _ = FrameResizer(CPU)(image, size)
    difference = (resized.float() - on_host.float()).abs()
    assert difference.max() <= 1
    # OpenCV computes in fixed point where it enlarges.
    shrinks = size[0] <= 48 and size[1] <= 64
    assert (difference > 0).float().mean() < (0.01 if shrinks else 0.2)
