"""Other threads have the loop do something: its result, its failure, or that the server stops."""

import asyncio
import threading

import pytest

from svcmesh.errors import StorageError
from svcmesh.runtime.onloop import OnLoop


def test_it_is_done_on_the_loops_thread() -> None:
    async def main() -> None:
        on_loop = OnLoop()
        ran_on = await asyncio.to_thread(on_loop.call, threading.current_thread)
        assert ran_on is threading.current_thread()

    asyncio.run(main())


def test_parts_come_in_order_and_end() -> None:
    async def main() -> None:
        on_loop = OnLoop()
        parts = await asyncio.to_thread(lambda: list(on_loop.parts(iter([b"a", b"b"]))))
        assert parts == [b"a", b"b"]

    asyncio.run(main())


def test_what_goes_wrong_is_raised_where_it_was_asked_for() -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(OnLoop().call, lambda: 1 // 0)

    asyncio.run(main())


def test_whoever_waits_when_it_is_closed_is_refused() -> None:
    async def main() -> None:
        on_loop = OnLoop()
        waiting = asyncio.create_task(asyncio.to_thread(on_loop.call, lambda: 1))
        on_loop.close()
        with pytest.raises(StorageError):
            await waiting

    asyncio.run(main())


def test_a_loop_that_has_ended_refuses() -> None:
    async def make() -> OnLoop:
        return OnLoop()

    on_loop = asyncio.run(make())
    with pytest.raises(StorageError):
        on_loop.call(lambda: 1)
