"""The log in files: each begins with the time in its name, and is followed by the next one.

The names are Consul's: `/var/log/agent.log` becomes `/var/log/agent-<nanoseconds>.log`, and a
folder gets `svcmesh-<nanoseconds>.log`.
"""

import logging
import os
import time
from pathlib import Path
from typing import Final, TextIO

DEFAULT_NAME: Final = "svcmesh"
DEFAULT_SUFFIX: Final = ".log"


class LogFiles(logging.Handler):
    """Writes lines to a file, and to a new one when the old one is large or old enough.

    A line that cannot be written (the disk is full) is lost; the next one is tried again.
    `files_max` older files are kept, 0 keeps all and a negative number none.
    """

    def __init__(
        self, path: str, *, bytes_max: int = 0, duration_s: float = 24 * 3600.0, files_max: int = 0
    ) -> None:
        """Begin a file. Without a name (`/var/log/`) it has a name of ours.

        Raises:
            OSError: It cannot be made.
        """
        super().__init__()
        folder, name = os.path.split(path)
        self._folder = Path(folder or ".")
        stem, suffix = os.path.splitext(name or DEFAULT_NAME)
        self._stem, self._suffix = stem, suffix or DEFAULT_SUFFIX
        self._bytes_max, self._duration_s, self._files_max = bytes_max, duration_s, files_max
        self._file: TextIO | None = None
        self._size_bytes = 0
        self._begun_at = 0.0
        self._begin()

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = self.format(record) + "\n"
            size_bytes = len(line.encode("utf-8", "replace"))
            is_large = self._bytes_max and self._size_bytes + size_bytes > self._bytes_max
            is_old = time.monotonic() - self._begun_at >= self._duration_s
            if self._file is None or (self._size_bytes and (is_large or is_old)):
                self._begin()
            assert self._file is not None
            self._file.write(line)
            self._file.flush()
            self._size_bytes += size_bytes
        except OSError:
            # Nobody can be told: this is the log. What is half written ends with this file.
            self._end()

    def close(self) -> None:
        """End the file; a later line begins another."""
        self._end()
        super().close()

    def _begin(self) -> None:
        self._end()
        path = self._folder / f"{self._stem}-{time.time_ns()}{self._suffix}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._file = open(fd, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 -- closed by `_end`
        self._size_bytes, self._begun_at = 0, time.monotonic()
        self._remove_old()

    def _end(self) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            file.close()
        except OSError:
            # Its buffer cannot be written either; the descriptor is closed all the same.
            return

    def _remove_old(self) -> None:
        if not self._files_max:
            return
        mine = f"{self._stem}-"
        old = sorted(
            path
            for path in self._folder.iterdir()
            if path.name.startswith(mine)
            and path.suffix == self._suffix
            and path.stem.removeprefix(mine).isdecimal()
        )[:-1]
        for path in old[: max(len(old) - max(self._files_max, 0), 0)]:
            path.unlink(missing_ok=True)
