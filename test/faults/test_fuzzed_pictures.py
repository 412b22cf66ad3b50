# SPDX-License-Identifier: Apache-2.0
"""Pictures and messages with any bytes changed: a picture or one short error, and never more."""

from __future__ import annotations

from types import SimpleNamespace

from adabins_ros.messages import decode_compressed_depth, decode_compressed_rgb, MessageError
from adabins_ros.messages.compressed_depth import compressed_depth_fields
from adabins_ros.messages.still_pictures import decode_picture, encode_picture, exif_orientation
import cv2
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest

BGR = np.random.default_rng(3).integers(0, 255, (12, 16, 3), np.uint8)
DEPTH = np.linspace(0.5, 4, 12 * 16, dtype=np.float32).reshape(12, 16)
PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
bounded = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
changes = st.tuples(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=6),
    st.one_of(st.none(), st.integers(0, 1 << 16)),
    st.binary(max_size=8),
)
Changes = tuple[list[tuple[int, int]], int | None, bytes]


def _changed(content: bytes, change: Changes) -> np.ndarray:
    """Return bytes with some of them replaced, cut off somewhere, and others put behind."""
    bytes_, cut, behind = change
    data = bytearray(content)
    for position, value in bytes_:
        data[position % len(data)] = value
    whole = bytes(data) if cut is None else bytes(data[: cut % len(data)])
    return np.frombuffer(whole + behind, np.uint8)


@pytest.mark.parametrize(
    'suffix', ['.jpg', 'progressive', '.png', '.tiff', '.bmp', '.webp', '.ppm']
)
@bounded
@given(change=changes)
def test_a_changed_picture_is_a_picture_or_one_error(suffix: str, change: Changes) -> None:
    options = PROGRESSIVE if suffix == 'progressive' else ()
    whole = encode_picture(BGR, '.jpg' if options else suffix, *options)
    data = _changed(whole.tobytes(), change)
    assert exif_orientation(data) >= 0
    try:
        assert decode_picture(data).size
    except MessageError as error:
        assert error.cause and len(str(error)) < 500
    assert decode_picture(whole).shape == BGR.shape


@pytest.mark.parametrize('codec', ['png', 'rvl'])
@bounded
@given(change=changes)
def test_a_changed_compressed_depth_is_depth_or_one_error(codec: str, change: Changes) -> None:
    fields = compressed_depth_fields(DEPTH, codec)
    data = _changed(fields['data'].tobytes(), change)
    try:
        depth = decode_compressed_depth(SimpleNamespace(format=fields['format'], data=data))
        assert depth.dtype == np.float32
    except MessageError as error:
        assert error.cause
    good = decode_compressed_depth(SimpleNamespace(**fields))
    np.testing.assert_allclose(good, DEPTH, atol=1e-3)


@bounded
@given(text=st.text(max_size=40), data=st.binary(max_size=200))
def test_any_bytes_under_any_format_are_one_error(text: str, data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_compressed_rgb(SimpleNamespace(format=text, data=data))
