"""The event loop's own stalls, measured on a real one."""

import asyncio
import logging
import time

import pytest

from tests.gossip.driver.pool import started, until


def test_a_blocked_loop_is_counted_logged_and_lowers_the_health(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with started("a") as a:
            await asyncio.sleep(0.05)
            with caplog.at_level(logging.WARNING, logger="gossip"):
                time.sleep(0.7)  # noqa: ASYNC251  # this is the fault
                await until(lambda: a.gossip.counters["stalls"] >= 1)
            assert a.gossip.counters["stalled_ms"] >= 250
            assert a.gossip.loop_lag_s >= 0.25
            assert "did not run for" in caplog.text

    asyncio.run(scenario())
