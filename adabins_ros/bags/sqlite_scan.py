# SPDX-License-Identifier: Apache-2.0
"""Walk through the rows of a rosbag2 sqlite3 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
import sqlite3
from typing import Any

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)

from .definitions import normal_type_name
from .scanning import ChannelScan, FileScan, HEAD_BYTES, NO_CHUNK, Unpack
from .storage import sqlite_bytes

_FORMATS = {'ros2msg': MessageDefinitionFormat.MSG, 'ros2idl': MessageDefinitionFormat.IDL}
# Rows that are tried behind a damaged one before the rest is given up.
_MOST_LOST_ROWS = 2000


def open_database(path: Path) -> sqlite3.Connection:
    """
    Open a file so that nothing is ever written beside it, even where its end is missing.

    Without `writable_schema` SQLite refuses a file that is shorter than its header says.
    """
    address = f'{path.resolve().as_uri()}?immutable=1&mode=ro'
    database = sqlite3.connect(address, uri=True, check_same_thread=False)
    database.execute('PRAGMA writable_schema=ON')
    return database


def scan_sqlite(path: Path, unpack: Unpack | None = None) -> FileScan:
    """
    Find every message of a file; where it is damaged, those that can still be found.

    Parameters
    ----------
    path : Path
        A .db3.
    unpack : callable, optional
        Decompresses a message, for recordings whose messages are packed one by one.

    """
    scan = FileScan(path, '.db3')
    try:
        with closing(open_database(path)) as database:
            _scan_topics(scan, database)
            for row, topic, log_ns, head in _rows(scan, database, unpack):
                channel = scan.channels.get(topic)
                if channel is not None:
                    channel.add(log_ns, head, row, 0, NO_CHUNK, ros1=False)
    except sqlite3.Error as error:
        scan.damage.append(f'broken after {scan.message_count} readable messages: {error}')
    if scan.damage:
        _tell_length(scan)
    return scan


def read_row(database: sqlite3.Connection, row: int) -> bytes:
    """Return the bytes of a message; raises sqlite3.Error or KeyError."""
    found = database.execute('SELECT data FROM messages WHERE id = ?', (row,)).fetchone()
    if found is None:
        raise KeyError(row)
    return bytes(found[0])


def _tell_length(scan: FileScan) -> None:
    """Add to the first damage that the file is cut off, if it is."""
    with scan.path.open('rb') as file:
        needed, given = sqlite_bytes(file.read(100)), scan.path.stat().st_size
    if given < 100 or given < needed:
        of = f' of {needed}' if needed else ''
        scan.damage[0] += f' (the file is cut off, it has {given} bytes{of})'


def _scan_topics(scan: FileScan, database: sqlite3.Connection) -> None:
    columns = {column[1] for column in database.execute('PRAGMA table_info(topics)')}
    quality = 'offered_qos_profiles' if 'offered_qos_profiles' in columns else "''"
    definitions = _definitions(database)
    undefined = MessageDefinition(MessageDefinitionFormat.NONE, '')
    owner: Any = None
    query = f'SELECT id, name, type, serialization_format, {quality} FROM topics'  # noqa: S608
    for key, topic, name, form, offered in database.execute(query):
        latched = 'durability: 1' in str(offered) or 'transient_local' in str(offered)
        connection = Connection(
            key,
            topic,
            normal_type_name(name),
            definitions.get(name, undefined),
            '',
            0,
            ConnectionExtRosbag2(form, []),
            owner,
        )
        scan.channels[key] = ChannelScan(connection, latched)


def _definitions(database: sqlite3.Connection) -> dict[str, MessageDefinition]:
    """Return the definitions by type; recordings before Iron hold none."""
    try:
        rows = database.execute(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        ).fetchall()
    except sqlite3.OperationalError:
        return {}
    return {
        name: MessageDefinition(_FORMATS[encoding], text)
        for name, encoding, text in rows
        if encoding in _FORMATS
    }


def _rows(
    scan: FileScan, database: sqlite3.Connection, unpack: Unpack | None
) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield the rows in order, going on behind damaged ones."""
    query = 'SELECT id, topic_id, timestamp FROM messages WHERE id > ? ORDER BY id'
    last, lost = -1, 0
    while True:
        try:
            for row, topic, log_ns in database.execute(query, (last,)):
                head = _head(database, row, unpack)
                last, lost = row, 0
                yield row, topic, log_ns, head
            return
        except sqlite3.Error as error:
            if not lost:
                scan.damage.append(
                    f'broken at row {last + 1}, after {scan.message_count} readable messages: '
                    f'{error}'
                )
            last, lost = last + 1, lost + 1
            if lost > _MOST_LOST_ROWS:
                return


def _head(database: sqlite3.Connection, row: int, unpack: Unpack | None) -> bytes:
    if unpack is not None:
        try:
            return unpack(read_row(database, row))[:HEAD_BYTES]
        except sqlite3.Error:
            raise
        except Exception:  # the library's own kinds; this message is found damaged when read
            return b''
    if hasattr(database, 'blobopen'):
        with database.blobopen('messages', 'data', row, readonly=True) as blob:
            return bytes(blob.read(HEAD_BYTES))
    # Before Python 3.11 the whole message is read for its first bytes.
    found = database.execute(
        'SELECT substr(data, 1, ?) FROM messages WHERE id = ?', (HEAD_BYTES, row)
    )
    return bytes(found.fetchone()[0])
