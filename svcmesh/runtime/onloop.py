"""What other threads have the loop do for them, until it is told to stop."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Final, TypeVar

from svcmesh.errors import StorageError

LOOP_S_MAX: Final = 60.0
"""A thread waits for the loop no longer than this: it may have ended."""

T = TypeVar("T")


class OnLoop:
    """Calls of other threads that run on the loop on which this was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_closed = False

    def close(self) -> None:
        """Refuse from now on, also those who wait already."""
        self._is_closed = True

    def call(self, make: Callable[[], T]) -> T:
        """Have the loop do something, from another thread.

        Raises:
            StorageError: This server stops.
        """
        made: Future[T] = Future()

        def run() -> None:
            if self._is_closed:
                made.set_exception(StorageError("this server stops"))
                return
            try:
                made.set_result(make())
            # Whoever asked is told, on its own thread.
            except Exception as error:
                made.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(run)
        except RuntimeError as error:
            raise StorageError("this server stops") from error
        try:
            return made.result(LOOP_S_MAX)
        except TimeoutError as error:
            raise StorageError("this server stops") from error

    def parts(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """Take on another thread what only the loop may make, part by part.

        Raises:
            StorageError: This server stops meanwhile.
        """
        while (part := self.call(lambda: next(parts, None))) is not None:
            yield part
