"""Streams of the agent's log."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from svcmesh.config import load_config
from svcmesh.runtime.logs import set_up_logging
from svcmesh.runtime.logstream import LINES_MAX, LogStream, LogStreams

logger = logging.getLogger("agent.test")


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers, root.level = handlers, level


def never() -> None:
    raise AssertionError("the reader was given up")


def test_lines_come_as_they_are_written() -> None:
    async def scenario() -> None:
        stream = LogStreams().open("info", as_json=False, on_overflow=never)
        logger.info("first")
        logger.debug("not this")
        logger.warning("second")
        first, second = await stream.lines()
        assert first.endswith(" [INFO]  agent.test: first")
        assert first[:2] == "20"
        assert second.endswith(" [WARN]  agent.test: second")
        asyncio.get_running_loop().call_later(0.01, logger.info, "third")
        (third,) = await stream.lines()
        assert third.endswith("third")
        stream.close()
        logger.info("after the end")

    asyncio.run(scenario())


def test_as_json_the_fields_have_consuls_names() -> None:
    async def scenario() -> None:
        stream = LogStreams().open("INFO", as_json=True, on_overflow=never)
        logger.error("it is %s", "broken")
        (line,) = await stream.lines()
        value = json.loads(line)
        assert value.pop("@timestamp").endswith("Z")
        assert value == {
            "@level": "error",
            "@message": "it is broken",
            "@module": "agent.test",
        }
        stream.close()

    asyncio.run(scenario())


def test_a_stream_may_want_more_than_the_log_itself(capsys: pytest.CaptureFixture[str]) -> None:
    async def scenario() -> None:
        set_up_logging(load_config({"dev": True, "log-level": "warn"}, []))
        logs = LogStreams()
        debug = logs.open("debug", as_json=False, on_overflow=never)
        info = logs.open("info", as_json=False, on_overflow=never)
        logger.debug("in detail")
        assert len(await debug.lines()) == 1
        debug.close()
        assert logger.isEnabledFor(logging.INFO)
        assert not logger.isEnabledFor(logging.DEBUG)
        logs.set_own_level("error")
        assert logger.isEnabledFor(logging.INFO)
        logs.set_own_level("warn")
        info.close()
        info.close()
        assert not logger.isEnabledFor(logging.INFO)
        assert logger.isEnabledFor(logging.WARNING)

    asyncio.run(scenario())
    assert capsys.readouterr().out == ""


def test_a_reader_that_does_not_keep_up_is_given_up_and_nobody_waits() -> None:
    async def scenario() -> None:
        given_up: list[int] = []
        stream = LogStreams().open("info", as_json=False, on_overflow=lambda: given_up.append(1))
        for number in range(LINES_MAX + 100):
            logger.info("line %d", number)
        await asyncio.sleep(0)
        assert given_up == [1]
        assert len(await stream.lines()) == LINES_MAX
        stream.close()

    asyncio.run(scenario())


def test_lines_may_come_from_any_thread() -> None:
    async def scenario() -> None:
        stream = LogStreams().open("info", as_json=False, on_overflow=never)
        waiting = asyncio.create_task(stream.lines())
        await asyncio.to_thread(logger.info, "from a thread")
        assert (await waiting)[0].endswith("from a thread")
        stream.close()

    asyncio.run(scenario())


def test_an_unknown_level_is_refused() -> None:
    async def scenario() -> None:
        with pytest.raises(KeyError):
            LogStreams().open("loud", as_json=False, on_overflow=never)
        assert not any(isinstance(h, LogStream) for h in logging.getLogger().handlers)

    asyncio.run(scenario())
