"""The Python client with real agents: over their ends and returns, and as its examples show it."""

import asyncio
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from svcmesh.client import AsyncClient, Client, ClientConfig, Registration, WatchConfig
from tests.interop.processes import PATIENCE_S, Child, Svcmesh, ended_afterwards, wait_until

pytestmark = pytest.mark.interop

EXAMPLES = Path(__file__).parents[2] / "examples" / "client"
CONFIG = ClientConfig(watch=WatchConfig(retry_s_max=0.5))


def test_a_service_is_found_through_another_agent_and_balanced(tmp_path: Path) -> None:
    first = Svcmesh("n1", "127.0.45.2", tmp_path)
    second = Svcmesh("n2", "127.0.45.3", tmp_path, "-retry-join", first.address)
    with (
        ended_afterwards(first, second),
        Client(f"{first.address}:8500") as at_first,
        Client(f"{second.address}:8500") as at_second,
    ):
        first.wait_until_up()
        second.wait_until_up()
        second.http(f"/v1/agent/join/{first.address}", method="PUT")
        with (
            at_second.picker("web") as picker,
            at_first.register(Registration("web", port=1, ttl_s=3.0)),
            at_second.register(Registration("web", port=2, ttl_s=3.0)),
        ):
            wait_until(lambda: len(picker.instances) == 2, what="both are known")
            assert {picker.pick().port for _ in range(100)} == {1, 2}
            # Longer than the TTL: what keeps it alive works, if late on a busy machine.
            time.sleep(3.5)
            wait_until(lambda: len(at_first.instances("web")) == 2, what="both are kept alive")
        watch = at_first.watch("web")
        while next(watch):
            continue
        assert at_first.services().keys() <= {"consul"}


@pytest.mark.parametrize("forgets", [False, True], ids=["keeps", "forgets"])
def test_a_registration_outlives_its_agent(tmp_path: Path, forgets: bool) -> None:
    address = "127.0.46.2"

    async def scenario() -> None:
        agent = Svcmesh("n1", address, tmp_path)
        with ended_afterwards(agent):
            agent.wait_until_up()
            async with (
                AsyncClient(f"{address}:8500", config=CONFIG) as client,
                client.register(Registration("web", port=1, ttl_s=3.0)),
                client.picker("web") as picker,
            ):
                agent.kill()
                while not picker.freshness.is_stale:  # noqa: ASYNC110  # no event to wait for
                    await asyncio.sleep(0.05)
                assert picker.pick().port == 1
                folder = tmp_path / "other" if forgets else tmp_path
                folder.mkdir(exist_ok=True)
                again = Svcmesh("n1", address, folder)
                with ended_afterwards(again):
                    await asyncio.to_thread(again.wait_until_up)
                    while picker.freshness.is_stale or not picker.instances:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                    assert again.http("/v1/agent/services")["web-1"]["Port"] == 1

    asyncio.run(asyncio.wait_for(scenario(), 3 * PATIENCE_S))


def test_a_process_starts_while_the_agent_is_down(tmp_path: Path) -> None:
    address = "127.0.47.2"
    config = replace(CONFIG, cache_dir=tmp_path / "cache")
    agent = Svcmesh("n1", address, tmp_path)
    with ended_afterwards(agent):
        agent.wait_until_up()
        agent.register(Name="web", Port=7)
        with Client(f"{address}:8500", config=config) as client, client.picker("web"):
            wait_until(lambda: list((tmp_path / "cache").glob("*.json")), what="it is kept")
        agent.kill()
    with Client(f"{address}:8500", config=config) as client, client.picker("web") as picker:
        assert picker.pick().port == 7
        assert picker.freshness.is_stale


def test_the_examples_do_what_they_say(tmp_path: Path) -> None:
    address = "127.0.48.2"
    agent = Svcmesh("n1", address, tmp_path)
    where = f"--agent={address}:8500"
    with ended_afterwards(agent):
        agent.wait_until_up()
        good = Child(
            [sys.executable, str(EXAMPLES / "service.py"), where, f"--host={address}"],
            tmp_path / "good.log",
        )
        bad = Child(
            [sys.executable, str(EXAMPLES / "service.py"), where, f"--host={address}", "--fail"],
            tmp_path / "bad.log",
        )
        with ended_afterwards(good, bad):
            for child in (good, bad):
                wait_until(
                    lambda child=child: "hello is registered" in child.output(),  # type: ignore[misc]  # a default has no type
                    what="both are registered",
                )
            wait_until(
                lambda: len(agent.http("/v1/health/service/hello?passing")) == 2,
                what="both are well",
            )
            caller = Child(
                [sys.executable, str(EXAMPLES / "caller.py"), where, "--calls=4"],
                tmp_path / "caller.log",
            )
            with ended_afterwards(caller):
                assert caller.process.wait(timeout=PATIENCE_S) == 0
            assert caller.output().count("hello from port") == 4, caller.output()
            for child in (good, bad):
                child.process.send_signal(signal.SIGTERM)
                assert child.process.wait(timeout=PATIENCE_S) == 0, child.output()
        assert agent.http("/v1/agent/services") == {}
