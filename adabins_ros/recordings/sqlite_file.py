# SPDX-License-Identifier: Apache-2.0
"""Reading a rosbag2 sqlite3 file, row by row; nothing is ever written beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
import sqlite3
import struct

from .recorded_file import Channel, DamageError, Item, RecordedFile, WalkedFile
from .recorded_message import RecordedType

_HEAD_BYTES = 100
_IDL = ('ros2idl', 'omgidl')
# Rows that are tried behind a damaged one before the rest is given up.
_MOST_LOST_ROWS = 2000


class SqliteFile(RecordedFile):
    """
    A sound .db3, with what its write-ahead log adds.

    Raises
    ------
    DamageError
        It is cut off: SQLite itself notices only when it comes to a missing page.
    sqlite3.Error
        It is damaged.

    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        if shortness(path):
            raise DamageError(shortness(path))
        self._database = _open(path)
        try:
            self._found = _read_topics(path, self._database)
            self._count()
        except BaseException:
            self.close()
            raise

    def messages(self, channels: Collection[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels by recording time."""
        ids = [number for number, channel in self._found.items() if channel in channels]
        query = (
            'SELECT topic_id, timestamp, data FROM messages WHERE timestamp >= ? '  # noqa: S608
            f'AND topic_id IN ({",".join("?" * len(ids))}) ORDER BY timestamp, id'
        )
        for number, log_ns, data in self._database.execute(query, (start_ns or 0, *ids)):
            yield self._found[number], log_ns, bytes(data)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _count(self) -> None:
        query = (
            'SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages '
            'GROUP BY topic_id'
        )
        ends: list[int] = []
        for number, count, first, last in self._database.execute(query):
            if number in self._found:
                self._found[number].count = count
                ends += (first, last)
        self.start_ns, self.end_ns = min(ends, default=0), max(ends, default=0)


class DamagedSqliteFile(WalkedFile):
    """What can be read of a damaged .db3, in the order of its rows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 'row')
        if shortness(path):
            self.damage[0] += f' ({shortness(path)})'

    def _walk(self) -> Iterator[Item]:
        """Go on behind damaged rows."""
        query = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'
        self._row, lost = -1, 0
        try:
            with closing(_open(self._path, salvage=True)) as database:
                if not self._found:
                    self._found = _read_topics(self._path, database)
                while lost <= _MOST_LOST_ROWS:
                    try:
                        for row, number, log_ns, data in database.execute(query, (self._row,)):
                            self._row, lost = row, 0
                            if number in self._found:
                                yield self._found[number], log_ns, bytes(data)
                        break
                    except (sqlite3.Error, TypeError) as error:
                        if not lost:
                            self._broken(self._row + 1, str(error))
                        self._row, lost = self._row + 1, lost + 1
        except sqlite3.Error as error:
            self._broken(self._row + 1, str(error))
        if not self.damage and shortness(self._path):
            self._broken(self._row + 1, 'the end of the file is missing')


def shortness(path: Path) -> str:
    """Say that a database is shorter than its header tells, '' where it is not."""
    with path.open('rb') as file:
        head = file.read(_HEAD_BYTES)
    given, needed = path.stat().st_size, 0
    if len(head) == _HEAD_BYTES:
        (page_bytes,) = struct.unpack_from('>H', head, 16)
        counter, pages = struct.unpack_from('>II', head, 24)
        (counted_at,) = struct.unpack_from('>I', head, 92)
        # The number of pages counts only if it was written with the last change.
        if counter == counted_at:
            needed = pages * (65536 if page_bytes == 1 else page_bytes)
    if given >= _HEAD_BYTES and given >= needed:
        return ''
    of = f' of {needed}' if needed else ''
    return f'the file is cut off, it has {given} bytes{of}'


def _open(path: Path, *, salvage: bool = False) -> sqlite3.Connection:
    """
    Open a file so that nothing is written beside it.

    `immutable` keeps SQLite from looking for a write-ahead log. Where there is one it is read,
    without locks and with its index in memory: no -shm file is made and the log stays as it is.
    """
    log = path.with_name(f'{path.name}-wal')
    logged = log.exists() and log.stat().st_size > 0
    how = 'mode=ro&vfs=unix-none' if logged else 'mode=ro&immutable=1'
    database = sqlite3.connect(
        f'{path.resolve().as_uri()}?{how}', uri=True, check_same_thread=False
    )
    if logged:
        database.execute('PRAGMA locking_mode=EXCLUSIVE')
    if salvage:
        # Without it SQLite refuses a file that is shorter than its header says.
        database.execute('PRAGMA writable_schema=ON')
    return database


def _read_topics(path: Path, database: sqlite3.Connection) -> dict[int, Channel]:
    columns = {column[1] for column in database.execute('PRAGMA table_info(topics)')}
    quality = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
    definitions = _definitions(database)
    found = {}
    query = f'SELECT id, name, type, {quality} FROM topics'  # noqa: S608
    for number, topic, name, offered in database.execute(query):
        encoding, text = definitions.get(name, ('', ''))
        types = RecordedType(path, name, text, idl=encoding in _IDL)
        latched = 'durability: 1' in str(offered) or 'transient_local' in str(offered)
        found[number] = Channel(topic, types, 0, latched)
    return found


def _definitions(database: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return encoding and definition by type; recordings before Iron hold none."""
    try:
        rows = database.execute(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        ).fetchall()
    except sqlite3.OperationalError:
        return {}
    return {name: (encoding, text) for name, encoding, text in rows}
