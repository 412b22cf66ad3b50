# SPDX-License-Identifier: Apache-2.0
"""Recordings: what is wrong with one of them, what is said, and the sound one beside it."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
import shutil
import struct
from typing import Any

from adabins_ros.frames.errors import RecordingError
from adabins_ros.recordings import extract_frames, open_recording, RecordingWriter
from adabins_ros.ros.topic_names import legal_topics
import pytest

COVERED = {
    'test_foreign_recordings.py': {
        *('M01', 'M02', 'M03', 'M04', 'M05', 'M06', 'R01', 'R03', 'R04'),
        *('S01', 'S03', 'T01', 'T02', 'L01'),
    },
    'test_fault_pictures.py': {'P01', 'P02', 'P06'},
    'test_fault_environment.py': {'Y02'},
}
"""In which file each of the shared cases is a row."""


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _vast_record(path: Path) -> None:
    """Claim a record of an exabyte behind the first one."""
    data = path.read_bytes()
    path.write_bytes(data[:8] + struct.pack('<BQ', 6, 1 << 60) + data[8:])


def _empty(path: Path) -> None:
    path.write_bytes(b'')


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _text(path: Path) -> None:
    path.write_text('time,x,y\n0,1,2\n')


def _no_database(path: Path) -> None:
    path.rename(path.with_suffix('.db3'))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    'cut off': (_cut, 'damaged'),
    'a record of an exabyte': (_vast_record, 'damaged|broken'),
    'empty': (_empty, 'empty|damaged'),
    'a circle of links': (_loop, 'recording|symbolic|exist'),
    'a table of text': (_text, 'is no mcap file'),
    'another kind by its name': (_no_database, 'exist'),
}


@pytest.mark.parametrize('name', BROKEN)
def test_a_broken_recording_is_named_and_the_sound_one_is_extracted(
    record: Any, aligned: Any, tmp_path: Path, name: str
) -> None:
    change, words = BROKEN[name]
    sound = record(aligned, frames=4)
    broken = tmp_path / 'broken.mcap'
    shutil.copyfile(sound, broken)
    change(broken)
    with pytest.raises(RecordingError, match=words) as caught:
        extract_frames([broken], tmp_path / 'frames')
    assert str(broken) in str(caught.value) and 'Traceback' not in str(caught.value)
    (folder,) = extract_frames([sound], tmp_path / 'frames')
    assert len(list((folder / 'rgb').iterdir())) == 4
    assert {x.name for x in (tmp_path / 'frames').iterdir()} == {'room'}


def test_unknown_messages_are_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'odd.mcap'
    with RecordingWriter(path) as writer:
        writer.write('/said', 'std_msgs/msg/String', {'data': 'x'}, log_ns=5)
        with pytest.raises(RecordingError, match='unknown'):
            writer.write('/odd', 'nobody_msgs/msg/Odd', {}, log_ns=6)
        with pytest.raises(RecordingError, match='is no std_msgs'):
            writer.write('/said', 'std_msgs/msg/String', {'date': 'x'}, log_ns=7)
    with open_recording(path) as recording:
        assert [message.decode().data for message in recording.messages()] == ['x']


def test_a_link_that_lies_where_frames_go_is_not_followed(
    record: Any, aligned: Any, tmp_path: Path
) -> None:
    private, output = tmp_path / 'private', tmp_path / 'frames'
    private.mkdir()
    output.mkdir()
    (private / 'mine').write_text('mine')
    (output / '.room.unfinished-x').symlink_to(private)
    (output / 'room').symlink_to(private)
    (folder,) = extract_frames([record(aligned, frames=4)], output)
    assert folder.name == 'room-2' and [x.name for x in private.iterdir()] == ['mine']


@pytest.mark.parametrize(
    ('recorded', 'played'),
    [
        ('/cam-front/image', '/cam_front/image'),
        ('/2nd/image', '/_2nd/image'),
        ('/a b/ü', '/a_b/_'),
        ('//a//b/', '/a/b'),
        ('', '_'),
    ],
)
def test_a_topic_that_ros_2_forbids_has_the_nearest_name(recorded: str, played: str) -> None:
    assert legal_topics([recorded, '/other']) == {recorded: played, '/other': '/other'}


def test_every_shared_case_is_a_row(shared_data: Callable[[str], Path], repository: Path) -> None:
    cases = {folder.name for folder in shared_data('../cases').iterdir() if folder.is_dir()}
    texts = {
        file.name: file.read_text()
        for file in (repository / 'test').rglob('test_*.py')
        if file.name in COVERED
    }
    for name, covered in COVERED.items():
        words = {
            node.value
            for node in ast.walk(ast.parse(texts[name]))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for case in covered:
            assert any(case in word.split('/') for word in words), (name, case)
    assert cases <= set().union(*COVERED.values())
