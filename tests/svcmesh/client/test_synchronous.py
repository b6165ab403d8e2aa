"""The client for threads, against a stand-in agent that runs in a thread of its own."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from svcmesh.client import (
    AgentUnreachableError,
    Client,
    ClientClosedError,
    DeadlineExceededError,
    HealthStatus,
    LockLostError,
    Registration,
)
from tests.svcmesh.client.fakes import DEADLINE_S, EAGER, AgentThread


@pytest.fixture
def agent() -> Iterator[AgentThread]:
    threads = set(threading.enumerate())
    subject = AgentThread()
    yield subject
    subject.stop()
    subject.end()
    assert set(threading.enumerate()) == threads, "a thread was left behind"


@pytest.fixture
def client(agent: AgentThread) -> Iterator[Client]:
    with Client(agent.fake.address, config=EAGER) as subject:
        yield subject


def until(condition: Callable[[], object]) -> None:
    ends_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.005)


def test_a_service_is_registered_found_and_gone_again(agent: AgentThread, client: Client) -> None:
    with client.register(Registration("web", port=80)) as registration:
        assert registration.is_registered
        registration.set_status(HealthStatus.CRITICAL, "out of order")
        until(lambda: client.instances("web") == ())
        registration.set_status(HealthStatus.PASSING)
        until(lambda: len(client.instances("web")) == 1)
        assert client.services() == {"web": ()}
    assert agent.fake.services == {}


def test_a_prepared_query_is_executed(agent: AgentThread, client: Client) -> None:
    with client.register(Registration("web", port=80)):
        outcome = client.execute("web")
    assert [found.service for found in outcome.instances] == ["web"]
    assert outcome.datacenter == "dc1"


def test_a_watch_is_an_iterator(agent: AgentThread, client: Client) -> None:
    watch = client.watch("web")
    assert next(watch) == ()
    with pytest.raises(DeadlineExceededError):
        watch.next(timeout_s=0.02)
    agent.put("web-1")
    assert [one.id for one in watch.next(timeout_s=DEADLINE_S)] == ["web-1"]


def test_a_picker_serves_on_while_the_agent_is_down(agent: AgentThread, client: Client) -> None:
    agent.put("web-1")
    with client.picker("web") as picker:
        agent.stop()
        until(lambda: picker.freshness.is_stale)
        with picker.use() as endpoint:
            assert endpoint.id == "web-1"
        agent.start()
        until(lambda: not picker.freshness.is_stale)


def test_threads_share_a_client(agent: AgentThread, client: Client) -> None:
    agent.put("web-1")
    counts: list[int] = []

    def work() -> None:
        counts.extend(len(client.instances("web")) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [1] * 160


def test_closing_ends_iterations_in_other_threads(agent: AgentThread, client: Client) -> None:
    seen = []

    def follow() -> None:
        seen.extend(client.watch("web"))

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: len(agent.fake.requests) == 2)
    client.close()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert seen == [()]


def test_a_closed_client_says_so_and_may_be_closed_again(client: Client) -> None:
    client.services()
    client.close()
    client.close()
    with pytest.raises(ClientClosedError):
        client.services()
    assert list(client.watch("web")) == []


def test_closing_inside_a_registration_ends_it_without_a_failure(
    agent: AgentThread, client: Client
) -> None:
    with client.register(Registration("web")):
        client.close()


def test_without_an_agent_a_call_fails(agent: AgentThread, client: Client) -> None:
    agent.stop()
    with pytest.raises(AgentUnreachableError):
        client.services()
    agent.start()


def test_importing_the_client_imports_nothing_of_the_agent() -> None:
    check = (
        "import sys, svcmesh.client;"
        "print(*sorted(name for name in sys.modules if name.split('.')[0] in "
        "{'gossip', 'dnsserver', 'msgpack', 'cryptography', 'click', 'orjson', 'rich'} or "
        "name in {'svcmesh.agent', 'svcmesh.api', 'svcmesh.catalog', 'svcmesh.config'}))"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert found.stdout.strip() == ""


def test_a_lock_is_held_for_the_context_and_its_loss_is_raised(
    agent: AgentThread, client: Client
) -> None:
    with client.lock("k") as lock:
        token = lock.token
        assert lock.wait_lost(0.02) is False
        with pytest.raises(DeadlineExceededError), client.lock("k", wait_s=0.05):
            pass
    assert not lock.is_held

    async def end() -> None:
        agent.fake.end_session(*agent.fake.sessions)

    with pytest.raises(LockLostError), client.semaphore("s", 2) as place:  # noqa: PT012  # raised on leaving
        assert place.token > token
        agent.do(end)
        assert place.wait_lost(DEADLINE_S)
    assert agent.fake.sessions == {}
