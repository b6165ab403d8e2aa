"""PyPI's `py-consul` on keys, sessions and transactions."""

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.processes import PATIENCE_S, Svcmesh, ended_afterwards, wait_until

consul = pytest.importorskip("consul", reason="py-consul is not installed")

pytestmark = pytest.mark.interop

ADDRESS = "127.0.41.3"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Svcmesh]:
    folder: Path = tmp_path_factory.mktemp("py-consul-store")
    subject = Svcmesh("n1", ADDRESS, folder, "-server", "-bootstrap-expect=1")
    with ended_afterwards(subject):
        subject.wait_until_up()
        with consul.Consul(host=ADDRESS, port=8500) as client:
            wait_until(lambda: writes(client), what="a leader")
        yield subject


def writes(client: Any) -> bool:  # noqa: ANN401  # py-consul has no types
    try:
        return bool(client.kv.put("first", "x"))
    except consul.ConsulException:
        return False


@pytest.fixture
def client(agent: Svcmesh) -> Iterator[Any]:
    with consul.Consul(host=agent.address, port=8500) as subject:
        subject.kv.delete("", recurse=True)
        yield subject
        for session in subject.session.list()[1]:
            subject.session.destroy(session["ID"])


def test_a_key_is_written_read_listed_and_deleted(client: Any) -> None:  # noqa: ANN401
    assert client.kv.put("a/1", "one", flags=7) is True
    assert client.kv.put("a/2", b"\x00\xff") is True
    _, entry = client.kv.get("a/1")
    assert (entry["Value"], entry["Flags"], entry["LockIndex"]) == (b"one", 7, 0)
    _, entries = client.kv.get("a/", recurse=True)
    assert [each["Value"] for each in entries] == [b"one", b"\x00\xff"]
    assert client.kv.get("", keys=True, separator="/")[1] == ["a/"]
    assert client.kv.delete("a/", recurse=True) is True
    assert client.kv.get("a/1")[1] is None


def test_a_compared_write_needs_the_index(client: Any) -> None:  # noqa: ANN401
    assert client.kv.put("k", "1", cas=0) is True
    assert client.kv.put("k", "2", cas=0) is False
    _, entry = client.kv.get("k", consistency="consistent")
    assert client.kv.put("k", "2", cas=entry["ModifyIndex"]) is True
    assert client.kv.delete("k", cas=entry["ModifyIndex"]) is False
    assert client.kv.get("k")[1]["Value"] == b"2"


def test_a_blocking_query_returns_with_the_change_of_the_key(client: Any) -> None:  # noqa: ANN401
    client.kv.put("k", "1")
    index, _ = client.kv.get("k")
    client.kv.put("other", "x")
    timer = threading.Timer(0.2, lambda: client.kv.put("k", "2"))
    timer.start()
    started_at = time.monotonic()
    _, entry = client.kv.get("k", index=index, wait="120s")
    took_s = time.monotonic() - started_at
    timer.join()
    assert entry["Value"] == b"2"
    assert took_s < PATIENCE_S


def test_a_session_is_made_renewed_shown_and_ended(client: Any) -> None:  # noqa: ANN401
    session = client.session.create(name="s", ttl=30, lock_delay=0, behavior="delete")
    _, shown = client.session.info(session)
    assert (shown["Name"], shown["TTL"], shown["Behavior"]) == ("s", "30s", "delete")
    assert [each["ID"] for each in client.session.node("n1")[1]] == [session]
    assert client.session.renew(session)["ID"] == session
    assert client.session.destroy(session) is True
    assert client.session.list()[1] == []
    with pytest.raises(consul.NotFound):
        client.session.renew(session)


def test_a_lock_is_for_one_session_until_it_is_let_go(client: Any) -> None:  # noqa: ANN401
    first, second = (client.session.create(lock_delay=0) for _ in range(2))
    assert client.kv.put("lock", "1", acquire=first) is True
    assert client.kv.put("lock", "2", acquire=second) is False
    assert client.kv.put("lock", "", release=second) is False
    assert client.kv.put("lock", "", release=first) is True
    assert client.kv.put("lock", "2", acquire=second) is True
    assert client.kv.get("lock")[1]["LockIndex"] == 2
    client.session.destroy(second)
    assert "Session" not in client.kv.get("lock")[1]


def test_a_transaction_is_whole_or_not_at_all(client: Any) -> None:  # noqa: ANN401
    def set_(key: str) -> dict[str, Any]:
        return {"KV": {"Verb": "set", "Key": key, "Value": base64.b64encode(b"v").decode()}}

    done = client.txn.put([set_("a"), set_("b"), {"KV": {"Verb": "get", "Key": "a"}}])
    assert [each["KV"]["Key"] for each in done["Results"]] == ["a", "b", "a"]
    with pytest.raises(consul.ConsulException):
        client.txn.put([set_("c"), {"KV": {"Verb": "check-not-exists", "Key": "a"}}])
    assert client.kv.get("c")[1] is None


def test_prepared_queries(client: Any) -> None:  # noqa: ANN401
    client.agent.service.register("web", service_id="web-1", port=80, tags=["v1"])
    made = client.query.create(
        "web", name="pq", nearestn=1, onlypassing=True, tags=["v1"], ttl="9s"
    )
    (listed,) = client.query.list()
    assert (listed["ID"], listed["Name"], listed["DNS"]) == (made["ID"], "pq", {"TTL": "9s"})
    assert client.query.get(made["ID"]) == [listed]
    answer = client.query.execute("pq", limit=1, near="_agent")
    assert [one["Service"]["ID"] for one in answer["Nodes"]] == ["web-1"]
    assert answer["Failovers"] == 0
    assert client.query.explain("pq")["Query"]["Service"]["Tags"] == ["v1"]
    assert client.query.update(made["ID"], service="db", name="pq2", regexp="^pq2-(.*)$") is True
    assert client.query.explain("pq2-x")["Query"]["Service"]["Service"] == "db"
    assert client.query.execute("pq2-x")["Nodes"] == []
    assert client.query.delete(made["ID"]) is True
    assert client.query.list() == []
    # Its way of saying 404.
    assert client.query.execute("pq2") is None
    client.agent.service.deregister("web-1")


def test_a_query_goes_with_its_session(client: Any) -> None:  # noqa: ANN401
    session = client.session.create(lock_delay=0)
    client.query.create("web", name="bound", session=session)
    assert len(client.query.list()) == 1
    client.session.destroy(session)
    wait_until(lambda: client.query.list() == [], what="the query has gone")
