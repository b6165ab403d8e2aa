"""PyPI's `patroni`, which keeps one PostgreSQL the leader: its Consul class, twice."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import Svcmesh, ended_afterwards, wait_until

patroni = pytest.importorskip("patroni.dcs.consul", reason="patroni is not installed")
mpp = pytest.importorskip("patroni.postgresql.mpp", reason="patroni is not installed")

pytestmark = pytest.mark.interop

ADDRESS = "127.0.41.4"
SESSION_TTL_S = 10.0
"""The least that agents take; patroni asks for half of its own."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Svcmesh]:
    subject = Svcmesh("n1", ADDRESS, tmp_path, "-server", "-bootstrap-expect=1")
    with ended_afterwards(subject):
        subject.wait_until_up()
        wait_until(
            lambda: subject.http("/v1/status/leader") == f"{ADDRESS}:8300",
            what="a leader",
        )  # fmt: skip
        yield subject


def candidate(name: str) -> Any:  # noqa: ANN401  # patroni is not typed for others
    config = {
        "ttl": 2 * SESSION_TTL_S, "retry_timeout": 5, "loop_wait": 1, "scope": "db", "name": name,
        "host": f"{ADDRESS}:8500", "namespace": "service", "register_service": True,
    }  # fmt: skip
    subject = patroni.Consul(config, mpp.get_mpp({}))
    url = f"postgres://{name}@10.0.0.1:5432/db"
    about = {"conn_url": url, "api_url": "http://10.0.0.1:8008/", "role": "replica",
             "state": "running"}  # fmt: skip
    assert subject.touch_member(about) is True
    return subject


def leader(subject: Any) -> str | None:  # noqa: ANN401
    found = subject.get_cluster().leader
    return None if found is None else str(found.name)


@pytest.mark.usefixtures("agent")
def test_one_candidate_leads_and_hands_over() -> None:
    first, second = candidate("first"), candidate("second")
    assert first.initialize(True, "1") is True
    assert second.initialize(True, "2") is False
    assert first.attempt_to_acquire_leader() is True
    assert second.attempt_to_acquire_leader() is False
    cluster = second.get_cluster()
    assert (cluster.leader.name, cluster.initialize) == ("first", "1")
    assert sorted(member.name for member in cluster.members) == ["first", "second"]
    assert first.update_leader(first.get_cluster(), 100) is True
    assert first.delete_leader(first.get_cluster().leader) is True
    assert second.attempt_to_acquire_leader() is True
    assert leader(first) == "second"


@pytest.mark.usefixtures("agent")
def test_a_leader_that_renews_stays_and_one_that_does_not_is_succeeded() -> None:
    logging.getLogger("patroni").setLevel(logging.ERROR)
    first, second = candidate("first"), candidate("second")
    assert first.attempt_to_acquire_leader() is True

    def time_passes() -> bool:
        second.refresh_session()
        first.update_leader(first.get_cluster(), 100)
        return leader(second) != "first"

    with pytest.raises(pytest.fail.Exception, match=r"never$"):
        wait_until(time_passes, within_s=2.5 * SESSION_TTL_S, what="never", every_s=1)
    took_s = wait_until(second.attempt_to_acquire_leader, what="a successor")
    assert took_s > SESSION_TTL_S / 2
    assert leader(second) == "second"
