# SPDX-License-Identifier: Apache-2.0
"""What topics of cameras are called, and which camera is meant where nobody names one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
import re

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
PICTURES = (IMAGE, COMPRESSED_IMAGE)
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
TRANSPORTS = ('/compressedDepth', '/compressed')
# Pictures about the camera's pictures: other sensors, masks, and what a network made of them.
SECONDARY = re.compile(
    r'infra|(^|[/_])ir([/_0-9]|$)|thermal|fisheye|mask|segment|(^|[/_])segs?([/_0-9]|$)|debug|'
    r'result|overlay|confidence|disparity|uncertainty|depth/(std|color)|heat_?map|'
    r'(^|[/_])heat([/_0-9]|$)|error'
)
# Depth whose pixels lie on those of the colour image.
REGISTERED = re.compile('aligned|registered|to_color|to_rgb')
LIDAR = re.compile('lidar|velodyne|ouster|livox|hesai|points_raw|rslidar', re.IGNORECASE)
# Only a depth node of this package publishes it: what else comes from there is no camera.
_OF_OURS = '/depth/bin_centers'


def camera_of(topic: str) -> str:
    """
    Return the name space of a camera: what comes before image_raw and camera_info.

    The RealSense Viewer has .../Color_0/image/data and .../Color_0/info/camera_info.
    """
    for transport in TRANSPORTS:
        topic = topic.removesuffix(transport)
    for end in ('/image/data', '/info/camera_info'):
        if topic.endswith(end):
            return topic.removesuffix(end)
    return topic.rpartition('/')[0]


@dataclass(frozen=True)
class GraphTopic:
    """A topic that somebody publishes: its name, types, and the whole names of the nodes."""

    name: str
    types: tuple[str, ...]
    publishers: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveCamera:
    """The image topic (the base of its transports) and the camera_info beside it."""

    image: str
    camera_info: str


@dataclass(frozen=True)
class CameraChoice:
    """
    Which cameras there are.

    Attributes
    ----------
    cameras : list of LiveCamera
        One for each name space that has an image with a camera_info beside it.
    text : str
        What is chosen, or what hinders that and the way out.

    """

    cameras: list[LiveCamera]
    text: str

    @property
    def only(self) -> LiveCamera | None:
        """Return the camera where there is one alone."""
        return self.cameras[0] if len(self.cameras) == 1 else None


def find_cameras(topics: Iterable[GraphTopic], transport: str = 'raw') -> CameraChoice:
    """
    Find the colour cameras among the topics of a ROS graph.

    A camera has an image and a camera_info in the same name space. Of several images in one, the
    rectified one is taken, and colour before grey. Depth, infrared and masks are none, and neither
    is what a depth node of this package publishes.

    Parameters
    ----------
    topics : iterable of GraphTopic
        All that are published.
    transport : str
        'raw', or 'compressed' for images on TOPIC/compressed.

    Returns
    -------
    CameraChoice

    """
    others = _not_ours(topics)
    images = {way: _images(others, way) for way in ('raw', 'compressed')}
    infos = {x.name for x in others if CAMERA_INFO in x.types}
    found: dict[str, LiveCamera] = {}
    for image in sorted(images[transport], key=_rank, reverse=True):
        camera_info = f'{camera_of(image)}/camera_info'
        if camera_info in infos:
            found.setdefault(camera_info, LiveCamera(image, camera_info))
    cameras = sorted(found.values(), key=lambda camera: camera.image)
    if len(cameras) == 1:
        image, camera_info = cameras[0].image, cameras[0].camera_info
        beside = [x for x in images[transport] if x != image and camera_of(x) == camera_of(image)]
        rather = f' rather than {", ".join(beside)}' if beside else ''
        return CameraChoice(cameras, f'the one camera is {image}{rather}, with {camera_info}')
    if cameras:
        names = ', '.join(camera.image for camera in cameras)
        return CameraChoice(
            cameras, f'there are {len(cameras)} cameras ({names}): choose one with image_topic:='
        )
    return CameraChoice([], _why_none(images, transport))


def find_truth(topics: Iterable[GraphTopic], image: str) -> str | None:
    """
    Find what measures the true depth of a camera's images, to train on.

    Parameters
    ----------
    topics : iterable of GraphTopic
        All that are published.
    image : str
        Topic of the images.

    Returns
    -------
    str or None
        Depth images, those that are registered to the colour and of the same camera first; else
        the cloud of a lidar. Not what a depth node of this package publishes.

    """
    others = _not_ours(topics)
    depth = [
        x.name
        for x in others
        if IMAGE in x.types and 'depth' in x.name.lower() and not SECONDARY.search(x.name.lower())
    ]
    if depth:
        return max(
            depth, key=lambda x: (bool(REGISTERED.search(x)), common_parts(x, image), -len(x))
        )
    clouds = [x.name for x in others if POINT_CLOUD in x.types]
    clouds = [x for x in clouds if not re.search('depth|camera|stereo|map|accumulated', x)]
    return max(clouds, key=lambda x: (bool(LIDAR.search(x)), -len(x)), default=None)


def common_parts(first: str, second: str) -> int:
    """Return how many parts two names have in common from the front on."""
    pairs = zip(first.split('/'), second.split('/'), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _not_ours(topics: Iterable[GraphTopic]) -> list[GraphTopic]:
    """Return what no depth node of this package publishes, by name."""
    known = sorted(topics, key=lambda topic: topic.name)
    ours = {name for x in known if x.name.endswith(_OF_OURS) for name in x.publishers}
    return [x for x in known if not x.publishers or not ours.issuperset(x.publishers)]


def _images(topics: list[GraphTopic], transport: str) -> list[str]:
    end = '' if transport == 'raw' else '/compressed'
    kind = IMAGE if transport == 'raw' else COMPRESSED_IMAGE
    names = [x.name.removesuffix(end) for x in topics if kind in x.types and x.name.endswith(end)]
    return [x for x in names if 'depth' not in x.lower() and not SECONDARY.search(x.lower())]


def _rank(topic: str) -> tuple[bool, bool, bool, int]:
    name = topic.rpartition('/')[2].lower()
    return 'rect' in name, 'color' in name or 'rgb' in name, 'mono' not in name, -len(name)


def _why_none(images: dict[str, list[str]], transport: str) -> str:
    alone = ', '.join(images[transport])
    if alone:
        return (
            f'{alone} has no camera_info beside it: calibrate the camera, or name its topics with '
            'image_topic:= and camera_info_topic:='
        )
    other = 'compressed' if transport == 'raw' else 'raw'
    if images[other]:
        return (
            f'there is no {transport} image, but {", ".join(images[other])} is published '
            f"{other}: set image_transport (transport:= of the launch file) to '{other}'"
        )
    return 'nobody publishes images: start the camera'
