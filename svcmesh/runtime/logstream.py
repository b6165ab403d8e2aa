"""Streams of the agent's log, each at a level of its own, for `/v1/agent/monitor`."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from svcmesh.runtime.logs import LEVELS, JsonFormatter, LineFormatter, set_log_level

LINES_MAX: Final = 512
"""Lines that wait for one reader; at one more it is given up."""


class LogStream(logging.Handler):
    """The lines from now on that one reader has not taken yet.

    A logger never waits for a reader: one that is too slow loses its stream. Records may come from
    any thread.
    """

    def __init__(
        self,
        level: int,
        *,
        as_json: bool,
        on_overflow: Callable[[], None],
        on_close: Callable[["LogStream"], None],
    ) -> None:
        super().__init__(level)
        self._on_close = on_close
        self.setFormatter(JsonFormatter() if as_json else LineFormatter(indent=""))
        self._loop = asyncio.get_running_loop()
        self._on_overflow = on_overflow
        self._lines: deque[str] = deque()
        self._news = asyncio.Event()
        self._is_over = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's line."""
        if self._is_over:
            return
        if len(self._lines) >= LINES_MAX:
            self._is_over = True
            self._loop.call_soon_threadsafe(self._on_overflow)
            return
        self._lines.append(self.format(record))
        self._loop.call_soon_threadsafe(self._news.set)

    async def lines(self) -> list[str]:
        """Wait for lines, and take all there are."""
        while not self._lines:
            self._news.clear()
            await self._news.wait()
        taken = [*self._lines]
        for _ in taken:
            self._lines.popleft()
        return taken

    def close(self) -> None:
        """End the stream."""
        self._on_close(self)
        super().close()


class LogStreams:
    """The open streams; while one wants more than the agent's own log, the loggers give it.

    Invariant: the root logger's level is the lowest of its own and of the streams'.
    """

    def __init__(self) -> None:
        self._open: set[LogStream] = set()
        self._own_level = logging.NOTSET
        """The root logger's, while a stream is open."""

    def open(self, level: str, *, as_json: bool, on_overflow: Callable[[], None]) -> LogStream:
        """Stream the log from now on, until the stream is closed. On the event loop only.

        Args:
            level: A key of `LEVELS`, in any case.
            as_json: One object a line, as Consul's.
            on_overflow: Called once when the reader is given up.

        Raises:
            KeyError: There is no such level.
        """
        stream = LogStream(
            LEVELS[level.upper()], as_json=as_json, on_overflow=on_overflow, on_close=self._end
        )
        root = logging.getLogger()
        if not self._open:
            self._own_level = root.level
        self._open.add(stream)
        root.addHandler(stream)
        self._settle_level()
        return stream

    def set_own_level(self, level: str) -> None:
        """Change the level of the agent's own log (a key of `LEVELS`); streams keep theirs."""
        set_log_level(level)
        self._own_level = logging.getLogger().level
        self._settle_level()

    def _end(self, stream: LogStream) -> None:
        if stream in self._open:
            self._open.remove(stream)
            logging.getLogger().removeHandler(stream)
            self._settle_level()

    def _settle_level(self) -> None:
        wanted = (stream.level for stream in self._open)
        logging.getLogger().setLevel(min([self._own_level, *wanted]))
