"""An append-only file of named values: one write and one fsync for any number of changes.

Registrations come by the thousand; a file each would cost an fsync each. A line is a change:

    crc32 name value        the name now has this value (8 hex digits, no space in the name)
    crc32 name -            the name is forgotten

The later line of a name wins. The file is written anew when most of its lines are superseded. A
line cut short by a crash is cut off at the next start: nobody was told that it was kept. A damaged
line in the middle is skipped, and the file as it was found set aside. Blocking.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from zlib import crc32

from svcmesh.durable import fsync_folder, replace_file, write_all

HEADER: Final = b"svcmesh journal 1\n"
_FORGOTTEN: Final = b"-"
_CRC_DIGITS: Final = 8

SUPERSEDED_MIN: Final = 1000
"""So many superseded lines may stand in a small file before it is written anew."""


class Journal:
    """The values of one file, by name.

    Names are without spaces, values without line ends and other than `-`. Not for two writers.
    Invariant: everything before `_size_bytes` is whole lines that were fsynced; when `_is_sound` is
    False there may be more behind it, and the file is written anew before the next change.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.warnings: list[str] = []
        """What was wrong with the file when it was read."""
        self.lost_lines = 0
        """Damaged lines in its middle."""
        self._live: set[str] = set()
        self._lines = 0
        self._size_bytes = 0
        self._is_sound = False

    def load(self) -> dict[str, bytes]:
        """Read the file, or make it; call it once, first.

        Raises:
            OSError: It cannot be read or made, or a damaged one cannot be set aside.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            # Now, and not with the first change, which would wait for three fsyncs instead of one.
            self._rewrite()
            return {}
        values, damaged = _parse(content)
        torn_bytes = len(content) - content.rfind(b"\n") - 1
        self.lost_lines = damaged
        if damaged:
            aside = self._path.with_name(self._path.name + ".corrupt")
            aside.write_bytes(content)
            self.warnings.append(
                f"{self._path.name}: {damaged} damaged lines skipped; set aside as {aside.name}"
            )
        elif torn_bytes:
            self.warnings.append(f"{self._path.name}: an unfinished last line was cut off")
        self._live = set(values)
        self._lines = content.count(b"\n")
        self._size_bytes = len(content)
        self._is_sound = content.startswith(HEADER) and not damaged and not torn_bytes
        return values

    def commit(self, changes: Mapping[str, bytes | None]) -> None:
        """Make all changes durable: a value replaces, None forgets.

        Raises:
            OSError: The disk refused; a part of the changes may have been kept.
        """
        if not self._is_sound or self._lines > 2 * len(self._live) + SUPERSEDED_MIN:
            self._rewrite()
        data = b"".join(_line(name, value) for name, value in changes.items())
        self._is_sound = False
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            write_all(fd, data)
            os.fdatasync(fd)
        except OSError:
            # What a failed write or fsync has left is unknown.
            os.ftruncate(fd, self._size_bytes)
            raise
        finally:
            os.close(fd)
        self._is_sound = True
        self._size_bytes += len(data)
        self._lines += len(changes)
        for name, value in changes.items():
            if value is None:
                self._live.discard(name)
            else:
                self._live.add(name)

    def _rewrite(self) -> None:
        """Write what holds to a new file and put it in the old one's place."""
        values = self._sound_values()
        content = HEADER + b"".join(_line(name, value) for name, value in values.items())
        replace_file(self._path, content)
        fsync_folder(self._path.parent)
        self._live = set(values)
        self._lines, self._size_bytes, self._is_sound = len(values) + 1, len(content), True

    def _sound_values(self) -> dict[str, bytes]:
        if not self._size_bytes:
            return {}
        with self._path.open("rb") as file:
            return _parse(file.read(self._size_bytes))[0]


def _line(name: str, value: bytes | None) -> bytes:
    text = b"%s %s" % (name.encode(), _FORGOTTEN if value is None else value)
    return b"%08x %s\n" % (crc32(text), text)


def _parse(content: bytes) -> tuple[dict[str, bytes], int]:
    """The values, and how many lines with an end are damaged."""
    lines: Iterable[bytes] = content.split(b"\n")[:-1]
    values: dict[str, bytes] = {}
    damaged = 0
    if content and not content.startswith(HEADER):
        # Cut before its first line was whole, or no journal at all.
        damaged += b"\n" in content
    for line in lines:
        if line == HEADER[:-1]:
            continue
        text = line[_CRC_DIGITS + 1 :]
        name, space, value = text.partition(b" ")
        if not space or line != b"%08x %s" % (crc32(text), text):
            damaged += 1
        elif value == _FORGOTTEN:
            values.pop(name.decode(errors="replace"), None)
        else:
            values[name.decode(errors="replace")] = value
    return values, damaged
