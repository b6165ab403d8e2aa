"""The event loop's own stalls, measured on a real one."""

import asyncio
import time
from collections.abc import Callable, Coroutine

import pytest

from gossip import LoopMonitor, WatchedEventLoop
from gossip.driver.stalls import WatchedSelector
from tests.gossip.driver.pool import started, until


@pytest.mark.parametrize("kind", [WatchedEventLoop, asyncio.SelectorEventLoop])
def test_a_blocked_loop_is_counted_and_lowers_the_health(
    kind: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def scenario() -> None:
        async with started("a") as a:
            await asyncio.sleep(0.05)
            time.sleep(0.7)  # noqa: ASYNC251  # this is the fault
            await until(lambda: a.gossip.counters["stalls"] >= 1)
            assert a.gossip.counters["stalled_ms"] >= 250
            assert a.gossip.loop_lag_s >= 0.25

    run(scenario(), kind)


def test_a_watched_loop_tells_of_a_long_turn_at_once_and_without_a_timer() -> None:
    async def scenario() -> None:
        told: list[float] = []
        monitor = LoopMonitor(told.append)
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251  # this is the fault
        # Two turns: one that the long turn ends with, one in which it is told.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert max(told) >= 0.04
        assert monitor.worst_s == max(told)
        monitor.close()

    watched(scenario())


def test_a_wait_that_ends_late_is_a_stall_of_the_process() -> None:
    # Read when it is made, and at the begin and end of each wait.
    selector = WatchedSelector(clock=iter((10.0, 10.001, 10.002, 10.003, 10.703)).__next__)
    told: list[float] = []
    selector.listen(told.append)
    selector.select(0.0)
    assert told == []
    selector.select(0.1)
    assert told == [pytest.approx(0.6)]
    selector.close()


def test_a_quiet_watched_loop_does_not_wake_up() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WatchedEventLoop)
        monitor = LoopMonitor(lambda _: None)
        await asyncio.sleep(0)
        turns = 0
        select = loop.watched.select

        def counted(timeout: float | None = None) -> object:
            nonlocal turns
            turns += 1
            return select(timeout)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.watched, "select", counted)
            await asyncio.sleep(0.5)
        # One for the sleep itself, others only if the machine is so busy that there was a stall.
        assert turns <= 3
        monitor.close()

    watched(scenario())


def test_what_a_listener_has_the_loop_do_is_done_without_waiting_for_the_next_timer() -> None:
    async def scenario() -> None:
        heard = asyncio.Event()
        monitor = LoopMonitor(lambda _: heard.set())
        await asyncio.sleep(0)
        time.sleep(0.02)  # noqa: ASYNC251  # this is the fault
        began_at = time.monotonic()
        async with asyncio.timeout(60):
            await heard.wait()
        assert time.monotonic() - began_at < 30
        monitor.close()

    watched(scenario())


def watched(scenario: Coroutine[None, None, None]) -> None:
    run(scenario, WatchedEventLoop)


def run(
    scenario: Coroutine[None, None, None], kind: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """On a loop that has stalls, unlike the patient one of other tests."""
    with asyncio.Runner(loop_factory=kind) as runner:
        runner.run(scenario)
