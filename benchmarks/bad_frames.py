# SPDX-License-Identifier: Apache-2.0
"""
How long one bad frame of a 1920x1080 camera holds the thread that computes.

`python benchmarks/bad_frames.py [--size 1920x1080] [--rounds 3]`

Each is made to cost as much as it can before it is refused, or is legal and slow to decode. It
goes the way of a frame in the node, up to depth and points where it leads to them; the good frames
of the first rows tell what is usual. The longest of the rounds counts.
"""

from collections.abc import Iterator
import struct
import time
from typing import Any
import zlib

import cv2
from interleaved import parser_of, show_table, write_figures
import numpy as np
from PIL import Image as Picture

MEGABYTES = 3 << 20
"""As much as a compressed frame of a camera ever has."""


def frames(width: int, height: int) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, image message and camera_info or None for the usual one."""
    from adabins_ros.messages.still_pictures import encode_picture
    from sensor_msgs.msg import CompressedImage, Image

    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    rgb = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
    raw = {'width': width, 'height': height, 'step': 3 * width, 'encoding': 'rgb8'}
    pixels = rgb.tobytes()
    jpeg, png = (encode_picture(rgb, suffix).tobytes() for suffix in ('.jpg', '.png'))
    yield 'good: rgb8', Image(**raw, data=pixels), None
    yield 'good: JPEG', compressed(jpeg), None
    yield 'good: PNG', compressed(png), None
    yield 'unknown encoding', Image(**{**raw, 'encoding': 'rgb9'}, data=pixels), None
    yield 'short data', Image(**raw, data=pixels[:-1]), None
    yield 'JPEG cut off', compressed(jpeg[:-2]), None
    yield 'JPEG, then erased flash', compressed(jpeg[:-2] + b'\xff' * MEGABYTES), None
    yield 'JPEG of stray bytes', compressed(b'\xff\xd8\xff' + b'\0' * MEGABYTES), None
    empty = b'\xff\xe0\0\2'
    yield 'JPEG of empty segments', compressed(b'\xff\xd8' + empty * (MEGABYTES // 4)), None
    between = jpeg[:-2] + empty * (MEGABYTES // 4) + jpeg[-2:]
    yield 'JPEG, empty segments behind', compressed(between), None
    yield 'JPEG of many restarts', compressed(_saved(rgb, restart_marker_blocks=1)), None
    yield 'progressive JPEG', compressed(_saved(rgb, progressive=True, quality=100)), None
    yield 'progressive JPEG of 100 scans', compressed(_scans(rgb, 100)), None
    chunk = struct.pack('>I4sI', 0, b'teXt', zlib.crc32(b'teXt'))
    many = png[:33] + chunk * (MEGABYTES // 12) + png[33:]
    yield 'PNG of empty chunks', compressed(many), None
    text = b'zTXt' + b'k\0\0' + zlib.compress(bytes(7_900_000))
    texts = 300 * (struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text)))
    yield 'PNG of texts that inflate', compressed(png[:33] + texts + png[33:]), None
    yield 'PNM with a vast header', compressed(b'P6' + b' ' * MEGABYTES + b'4 4 255\n'), None
    yield 'PNG, one bit wrong', compressed(png[:-40] + bytes([png[-40] ^ 1]) + png[-39:]), None
    flat = np.zeros((height, width, 4), np.uint16)
    yield 'PNG, 16 bit RGBA of zeros', compressed(encode_picture(flat, '.png').tobytes()), None
    claims = bytearray(jpeg)
    struct.pack_into('>HH', claims, jpeg.index(b'\xff\xc0') + 5, 65500, 65500)
    yield 'JPEG claims 4290 MP', compressed(bytes(claims)), None
    yield 'video', CompressedImage(format='h264', data=b'\0\0\0\1\x67\x42' * 500_000), None
    for name, values in (
        ('bent', [0.5, 0.3, 0.2, 0.2, 0.9]),
        ('folded', [-3.0, 9.0, 0.0, 0.0, -9.0]),
        ('NaN', [float('nan')] * 5),
        ('of 15 values', [0.1] * 15),
    ):
        info = usual_info(width, height)
        info.distortion_model, info.d = 'plumb_bob', values
        yield f'lens: {name}', Image(**raw, data=pixels), info
    info = usual_info(width, height)
    info.k[0] = info.k[4] = 1e-9
    yield 'focal length of 1e-9', Image(**raw, data=pixels), info


def compressed(data: bytes) -> Any:
    """Return a sensor_msgs/CompressedImage."""
    from sensor_msgs.msg import CompressedImage

    return CompressedImage(format='jpeg', data=data)


def usual_info(width: int, height: int) -> Any:
    """Return the camera_info of a usual lens."""
    from sensor_msgs.msg import CameraInfo

    k = [0.9 * width, 0.0, width / 2, 0.0, 0.9 * width, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(width=width, height=height, k=k)


def _saved(rgb: Any, **options: Any) -> bytes:
    from io import BytesIO

    file = BytesIO()
    Picture.fromarray(rgb).save(file, 'JPEG', **options)
    return file.getvalue()


def _scans(rgb: Any, count: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    data = _saved(rgb, progressive=True)
    last = data.rindex(b'\xff\xda')
    return data[:last] + (count - data.count(b'\xff\xda') + 1) * data[last:-2] + data[-2:]


def measure(width: int, height: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the longest time in seconds and what was said, for each frame."""
    from adabins_ros import DepthPredictor
    from adabins_ros.messages.fields import MessageError
    from adabins_ros.ros.camera_source import CameraSource
    from adabins_ros.ros.diagnostics import FrameStatistics
    from adabins_ros.ros.parameters import DepthNodeSettings
    from adabins_ros.ros.pipeline import DepthPipeline

    said: list[str] = []
    cameras = CameraSource('camera_info', lambda cause, text: said.append(text))
    predictor = DepthPredictor.from_pretrained('adabins-lite', engine='onnx', device='cpu')
    predictor.predict(np.zeros((height, width, 3), np.uint8))
    pipeline = DepthPipeline(
        predictor, cameras, FrameStatistics(), lambda cause, text: said.append(text)
    )
    settings = DepthNodeSettings(rectify=True)
    found: dict[str, dict[str, Any]] = {}
    for name, image, info in frames(width, height):
        seconds = []
        for _ in range(rounds):
            said.clear()
            # Another camera's each time, so that nothing is kept of the last one.
            cameras.update(usual_info(width, height))
            cameras.update(info or usual_info(width, height))
            start = time.perf_counter()
            try:
                made = sum(1 for _ in pipeline.messages(image, ('image', 'points'), settings))
            except MessageError as error:
                made = 0
                said.append(str(error))
            seconds.append(time.perf_counter() - start)
        found[name] = {
            'seconds': round(max(seconds), 3),
            'made': made,
            'said': ' '.join(said).splitlines()[0] if said else '',
        }
    return found


def main() -> None:
    """Run the measurement and print its table."""
    parser = parser_of(__doc__)
    parser.add_argument('--size', default='1920x1080', help='of the camera, WIDTHxHEIGHT')
    parser.add_argument('--rounds', type=int, default=3)
    options = parser.parse_args()
    width, height = map(int, options.size.split('x'))
    found = measure(width, height, options.rounds)
    show_table(
        f'One frame of {options.size} in the thread that computes',
        ('', 's', 'depth and points', 'said'),
        (
            (name, f'{row["seconds"]:.3f}', row['made'], row['said'][:70])
            for name, row in found.items()
        ),
        texts=('said',),
        width=130,
    )
    write_figures(options.json, 'bad_frames', found)


if __name__ == '__main__':
    main()
