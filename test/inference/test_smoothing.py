# SPDX-License-Identifier: Apache-2.0
"""Depth flickers less from frame to frame, and follows at once where the scene changes."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from adabins_ros import DepthEstimate, DepthPredictor, Smoothing
from adabins_ros.frames import RgbdFolder
from adabins_ros.inference.engines.engine import is_installed
from adabins_ros.inference.export import write_onnx
from adabins_ros.model import AdaBins, AdaBinsConfig
from adabins_ros.model.model_file import WEIGHTS
from adabins_ros.recordings import find_camera_topics, iterate_frames, open_recording
import numpy as np
import pytest

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

ENGINES = [name for name in ('onnx', 'openvino', 'torch') if is_installed(name)]
Frame = tuple[float, np.ndarray, np.ndarray]
"""Stamp, s; colour; true depth, m, 0 unknown."""


@pytest.fixture(scope='module')
def living_room(repository: Path) -> list[Frame]:
    """Return the sample recording: 4 s of a hand-held camera."""
    path = repository / 'adabins_ros' / 'samples' / 'living_room.mcap'
    with open_recording(path) as recording:
        topics = find_camera_topics(recording)
        return [
            (frame.stamp_ns / 1e9, frame.rgb, np.nan_to_num(frame.depth))
            for frame in iterate_frames(recording, topics)
        ]


@pytest.fixture(scope='module')
def predictor() -> Iterator[DepthPredictor]:
    made = DepthPredictor.from_pretrained('adabins-lite', device='cpu', engine='onnx')
    yield made
    made.close()


def smoothed(
    predictor: DepthPredictor, frames: Iterable[Frame], time_s: float = 2.0
) -> list[DepthEstimate]:
    memory = Smoothing(time_s)
    return [predictor.predict(image, smoothing=memory.at(stamp)) for stamp, image, _ in frames]


def alone(predictor: DepthPredictor, frames: Iterable[Frame]) -> list[DepthEstimate]:
    return [predictor.predict(image) for _, image, _ in frames]


def jitter_and_d1(estimates: list[DepthEstimate], frames: list[Frame]) -> tuple[float, float]:
    errors = [
        np.log(estimate.depth[true > 0] / true[true > 0])
        for estimate, (_, _, true) in zip(estimates, frames, strict=True)
    ]
    steps = np.diff([np.median(error) for error in errors])
    right = [(np.abs(error) < np.log(1.25)).mean() for error in errors]
    return float(np.abs(steps).mean()), float(np.mean(right))


def change(one: DepthEstimate, other: DepthEstimate) -> float:
    return float(np.median(np.abs(np.log(one.depth / other.depth))))


def test_the_scale_of_a_room_flickers_less_and_its_depth_is_as_good(
    predictor: DepthPredictor, living_room: list[Frame]
) -> None:
    plain, steady = alone(predictor, living_room), smoothed(predictor, living_room)
    before, d1_before = jitter_and_d1(plain, living_room)
    after, d1_after = jitter_and_d1(steady, living_room)
    assert after < 0.85 * before
    assert d1_after > d1_before - 0.005
    assert max(map(change, steady, plain)) < 0.05
    assert [estimate.scene_changed for estimate in steady] == [None] + [False] * 59
    assert {estimate.scene_changed for estimate in plain} == {None}


@pytest.mark.slow
def test_the_scale_of_a_kitchen_flickers_three_tenths_less(
    predictor: DepthPredictor, shared_data: Callable[[str], Path]
) -> None:
    folder = RgbdFolder(shared_data('redkitchen_7scenes'))
    frames = [
        (frame.stamp_ns / 1e9, folder.colour(frame), folder.depth_m(frame))
        for frame in folder.frames
    ]
    plain, steady = alone(predictor, frames), smoothed(predictor, frames)
    before, d1_before = jitter_and_d1(plain, frames)
    after, d1_after = jitter_and_d1(steady, frames)
    assert after < 0.7 * before
    assert d1_after > d1_before - 0.005
    assert max(map(change, steady, plain)) < 0.13


def test_after_a_cut_depth_is_that_of_the_new_scene(
    predictor: DepthPredictor, living_room: list[Frame]
) -> None:
    before, after = living_room[:5], living_room[5:8]
    # Another place: the sofa fills the image, or the room is seen upside down.
    for seen in (lambda image: image[-60:, 100:180].copy(), lambda image: image[::-1].copy()):
        frames = before + [(stamp, seen(image), true) for stamp, image, true in after]
        steady = smoothed(predictor, frames, time_s=2.0)[5:]
        plain = alone(predictor, frames)[5:]
        assert steady[0].scene_changed
        np.testing.assert_array_equal(steady[0].depth, plain[0].depth)
        assert max(map(change, steady, plain)) < 0.05


def test_twice_as_near_is_another_scene_but_a_brighter_or_dark_picture_is_none(
    predictor: DepthPredictor, living_room: list[Frame]
) -> None:
    start, (now, image, true) = living_room[:5], living_room[5]
    middle = np.repeat(np.repeat(image[60:180, 80:240], 2, 0), 2, 1)
    brighter = np.clip(image * 1.3 + 20, 0, 255).astype(np.uint8)
    for seen, changed in ((middle, True), (brighter, False)):
        frames = [*start, (now, seen, true), (now + 0.1, seen, true)]
        steady = smoothed(predictor, frames)[5:]
        assert steady[0].scene_changed is changed
        assert change(steady[1], alone(predictor, frames[-1:])[0]) < 0.05
    rng = np.random.default_rng(0)
    night = [(n / 10, rng.integers(0, 5, image.shape, np.uint8), true) for n in range(4)]
    assert [each.scene_changed for each in smoothed(predictor, night)] == [None] + [False] * 3


@pytest.mark.parametrize(
    ('stamps', 'goes_on'),
    [
        ((0.0, 0.1), True),
        ((5.0, 5.0), False),
        ((5.0, 4.9), False),
        ((0.0, 7.0), False),
        ((float('nan'), 0.1), False),
    ],
)
def test_stamps_that_jump_begin_anew(
    predictor: DepthPredictor,
    living_room: list[Frame],
    stamps: tuple[float, float],
    goes_on: bool,
) -> None:
    frames = [
        (stamp, image, true)
        for stamp, (_, image, true) in zip(stamps, living_room[:18:9], strict=True)
    ]
    steady, plain = smoothed(predictor, frames)[1], alone(predictor, frames)[1]
    assert np.array_equal(steady.depth, plain.depth) != goes_on
    assert (steady.scene_changed is False) == goes_on


def test_without_a_time_or_with_another_model_a_frame_is_the_first(
    predictor: DepthPredictor, living_room: list[Frame]
) -> None:
    (_, first, _), (_, second, _) = living_room[:20:19]
    expected = predictor.predict(second).depth
    memory = Smoothing(0.5)
    predictor.predict(first, smoothing=memory.at(0.0))
    np.testing.assert_array_equal(predictor.predict(second, smoothing=memory).depth, expected)
    again = DepthPredictor.from_pretrained('adabins-lite', device='cpu', engine='onnx')
    again.predict(first, smoothing=memory.at(0.0))
    there = predictor.predict(second, smoothing=memory.at(0.1))
    np.testing.assert_array_equal(there.depth, expected)
    again.close()
    for wrong in (0.0, -1.0, float('nan'), float('inf')):
        with pytest.raises(ValueError, match=r'time_s .* must be positive, in seconds'):
            Smoothing(wrong)
    with pytest.raises(ValueError, match='1 smoothings for 2 images'):
        predictor.predict_batch([first, second], smoothings=[memory])


@pytest.mark.parametrize('flip_average', [False, True])
@pytest.mark.parametrize('engine', ENGINES)
def test_every_engine_smooths_alike(
    living_room: list[Frame], engine: str, flip_average: bool
) -> None:
    if engine == 'torch':
        pytest.importorskip('timm')
    frames = living_room[:15:3]
    options = {'device': 'cpu', 'flip_average': flip_average}
    one, other = (
        DepthPredictor.from_pretrained('adabins-lite', engine=name, **options)
        for name in ('onnx', engine)
    )
    assert other.can_smooth
    expected, actual = smoothed(one, frames), smoothed(other, frames)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours.depth, theirs.depth, rtol=0, atol=2e-4)
    assert change(expected[-1], alone(one, frames)[-1]) > 1e-3
    one.close()
    other.close()


def test_each_camera_has_a_memory_of_its_own(
    predictor: DepthPredictor, living_room: list[Frame]
) -> None:
    left, right = living_room[:6:2], living_room[40:46:2]
    expected = smoothed(predictor, left), smoothed(predictor, right)
    memories = [Smoothing(0.5), Smoothing(0.5)]
    for number, pair in enumerate(zip(left, right, strict=True)):
        made = predictor.predict_batch(
            [image for _, image, _ in pair],
            smoothings=[each.at(pair[n][0]) for n, each in enumerate(memories)],
        )
        for camera in (0, 1):
            np.testing.assert_array_equal(made[camera].depth, expected[camera][number].depth)


def test_a_file_without_the_inputs_runs_on_and_says_that_it_can_not_smooth(
    predictor: DepthPredictor, living_room: list[Frame], tmp_path: Path, repository: Path
) -> None:
    proto = onnx.load_model(str(WEIGHTS / 'adabins-lite.onnx'))
    graph, zeros = proto.graph, onnx.numpy_helper.from_array
    for last in list(graph.input)[1:]:
        shape = [size.dim_value or 1 for size in last.type.tensor_type.shape.dim]
        graph.initializer.append(zeros(np.zeros(shape, np.float32), last.name))
        graph.input.remove(last)
    del graph.output[3:]
    earlier = tmp_path / 'earlier.onnx'
    onnx.save_model(proto, str(earlier))
    tiny = (repository / 'test/training/tiny_network.json').read_text()
    config = AdaBinsConfig.model_validate_json(tiny).model_copy(update={'bin_strategy': 'log'})
    fixed = write_onnx(AdaBins(config), tmp_path / 'fixed.onnx').model.path
    for path in (earlier, fixed):
        other = DepthPredictor.from_pretrained(path, device='cpu', engine='onnx')
        assert not other.can_smooth
        steady, plain = smoothed(other, living_room[:3]), alone(other, living_room[:3])
        for ours, theirs in zip(steady, plain, strict=True):
            np.testing.assert_array_equal(ours.depth, theirs.depth)
            assert ours.scene_changed is None
        other.close()
    assert predictor.can_smooth
