# SPDX-License-Identifier: Apache-2.0
"""Reading a rosbag2 sqlite3 file, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sqlite3
import struct

from .recorded_file import Channel, DamageError, Item, Tally
from .recorded_message import RecordedType

_HEAD_BYTES = 100
_IDL = ('ros2idl', 'omgidl')
# Rows that are tried behind a damaged one before the rest is given up.
_MOST_LOST_ROWS = 2000


class SqliteFile:
    """
    A .db3 (a RecordedFile). Nothing is written beside it, its write-ahead log is read too.

    Parameters
    ----------
    path : Path
    salvage : bool
        Take what can be read of a damaged file.

    Raises
    ------
    DamageError
        It is cut off, without `salvage`.
    sqlite3.Error
        It is damaged, likewise.

    """

    others = ()

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self._salvage = salvage
        tally = Tally(path, 'row')
        self.damage = tally.damage
        self.start_ns = self.end_ns = 0
        self._by_id: dict[int, Channel] = {}
        self._last_row = -1
        if not salvage:
            _check_length(path)
        self._database = _open(path, salvage)
        try:
            self._read_topics(path)
            if salvage:
                for channel, log_ns, _ in self._rows(tally):
                    tally.add(channel, log_ns)
                self.start_ns, self.end_ns = tally.start_ns, tally.end_ns
                if _shortness(path) and not self.damage:
                    tally.broken(self._last_row + 1, 'the end of the file is missing')
            else:
                self._count()
        except sqlite3.Error as error:
            if not salvage:
                self.close()
                raise
            self.damage.append(f'broken after {tally.count} readable messages: {error}')
        except BaseException:
            self.close()
            raise
        if self.damage:
            self.damage[0] += _shortness(path)

    @property
    def channels(self) -> list[Channel]:
        """Return the topics."""
        return list(self._by_id.values())

    def messages(self, channels: list[Channel], start_ns: int | None) -> Iterator[Item]:
        """Yield the messages of these channels by recording time (salvaged: in file order)."""
        wanted = {id(channel) for channel in channels}
        if self._salvage:
            for channel, log_ns, data in self._rows(None):
                if id(channel) in wanted and log_ns >= (start_ns or 0):
                    yield channel, log_ns, data
            return
        ids = [number for number, channel in self._by_id.items() if id(channel) in wanted]
        query = (
            'SELECT topic_id, timestamp, data FROM messages WHERE timestamp >= ? '  # noqa: S608
            f'AND topic_id IN ({",".join("?" * len(ids))}) ORDER BY timestamp, id'
        )
        for number, log_ns, data in self._database.execute(query, (start_ns or 0, *ids)):
            yield self._by_id[number], log_ns, bytes(data)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _read_topics(self, path: Path) -> None:
        columns = {column[1] for column in self._database.execute('PRAGMA table_info(topics)')}
        quality = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
        definitions = self._definitions()
        query = f'SELECT id, name, type, {quality} FROM topics'  # noqa: S608
        for number, topic, name, offered in self._database.execute(query):
            encoding, text = definitions.get(name, ('', ''))
            types = RecordedType(path, name, text, idl=encoding in _IDL)
            latched = 'durability: 1' in str(offered) or 'transient_local' in str(offered)
            self._by_id[number] = Channel(topic, types, 0, latched)

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Return encoding and definition by type; recordings before Iron hold none."""
        try:
            rows = self._database.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            ).fetchall()
        except sqlite3.OperationalError:
            return {}
        return {name: (encoding, text) for name, encoding, text in rows}

    def _count(self) -> None:
        query = (
            'SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages '
            'GROUP BY topic_id'
        )
        ends: list[int] = []
        for number, count, first, last in self._database.execute(query):
            if number in self._by_id:
                self._by_id[number].count = count
                ends += (first, last)
        if ends:
            self.start_ns, self.end_ns = min(ends), max(ends)

    def _rows(self, tally: Tally | None) -> Iterator[Item]:
        """Yield what can be read in the order of the file, going on behind damaged rows."""
        query = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'
        last, lost = -1, 0
        while True:
            try:
                for row, number, log_ns, data in self._database.execute(query, (last,)):
                    last, lost = row, 0
                    if number in self._by_id:
                        yield self._by_id[number], log_ns, bytes(data)
                self._last_row = last
                return
            except (sqlite3.Error, TypeError) as error:
                if not lost and tally is not None:
                    tally.broken(last + 1, str(error))
                last, lost = last + 1, lost + 1
                if lost > _MOST_LOST_ROWS:
                    return


def _open(path: Path, salvage: bool) -> sqlite3.Connection:
    """
    Open a file so that nothing is ever written beside it.

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


def _check_length(path: Path) -> None:
    """Refuse a cut-off database: SQLite notices only when it comes to a missing page."""
    if _shortness(path):
        raise DamageError(f'{path} is{_shortness(path)}')


def _shortness(path: Path) -> str:
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
    return f' (the file is cut off, it has {given} bytes{of})'
