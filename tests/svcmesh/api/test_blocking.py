"""Blocking queries, consistency modes, and answers that are kept."""

import asyncio

import pytest

from svcmesh.api import HttpServer
from svcmesh.api.listeners import TcpAddress
from svcmesh.catalog.changes import ExternalNode, NodeHealthChanged, OwnNode, RecordChanged
from svcmesh.catalog.records import CheckRecord, Kind, NodeId, NodeRecord, ServiceRecord
from tests.svcmesh.api.fakes import NODE_ID, Answer, Client, FakeAgent, config, run

OWN = OwnNode(NodeId(NODE_ID))


def with_services() -> FakeAgent:
    agent = FakeAgent()
    agent.change(OWN, ServiceRecord(id="web", name="web"))
    agent.change(OWN, ServiceRecord(id="db", name="db"))
    return agent


async def waiting(client: Client, path: str) -> "asyncio.Task[Answer]":
    """A blocking query that has reached the server and is waiting there."""
    index = (await client.get(path)).index
    joint = "&" if "?" in path else "?"
    task = asyncio.create_task(client.get(f"{path}{joint}index={index}&wait=30s"))
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done
    return task


def test_a_query_is_woken_by_a_change_of_what_it_asked_for() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        task = await waiting(client, "/v1/health/service/web?passing")
        agent.view.apply(NodeHealthChanged(NodeId(NODE_ID), is_alive=False))
        answer = await task
        assert (answer.json, answer.index) == ([], agent.view.index)

    run(scenario, with_services())


def test_a_query_sleeps_through_changes_of_other_services() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        task = await waiting(client, "/v1/catalog/service/web")
        agent.change(OWN, ServiceRecord(id="db", name="db", port=5))
        agent.change(ExternalNode("e"), NodeRecord(name="e", address="a", datacenter="dc1"))
        agent.change(OWN, CheckRecord(id="c", name="c", status="critical"))
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done
        agent.change(OWN, ServiceRecord(id="web", name="web", port=5))
        assert (await task).json[0]["ServicePort"] == 5

    run(scenario, with_services())


@pytest.mark.parametrize(
    "path",
    [
        "catalog/nodes", "catalog/services", "catalog/node/n2", "catalog/node-services/n2",
        "catalog/service/new", "health/service/new", "health/node/n2", "health/state/any",
        "catalog/services?node-meta=a:b", "health/state/any?node-meta=a:b",
    ],
)  # fmt: skip
def test_every_read_wakes_when_a_node_with_a_service_and_a_check_appears(path: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        task = await waiting(client, f"/v1/{path}")
        owner = ExternalNode("n2")
        agent.change(owner, NodeRecord(name="n2", address="a", datacenter="dc1", meta={"a": "b"}))
        agent.change(owner, ServiceRecord(id="new", name="new"))
        agent.change(owner, CheckRecord(id="c", name="c", status="warning", service_id="new"))
        answer = await task
        assert answer.status == 200
        assert b"n2" in answer.body or b"new" in answer.body

    run(scenario)


def test_a_query_for_an_unknown_service_waits_for_it() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        task = await waiting(client, "/v1/catalog/service/later")
        agent.change(OWN, ServiceRecord(id="later", name="later"))
        assert len((await task).json) == 1

    run(scenario)


def test_a_query_returns_the_same_index_when_the_time_is_over() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        index = (await client.get("/v1/catalog/service/web")).index
        answer = await client.get(f"/v1/catalog/service/web?index={index}&wait=20ms")
        assert (answer.status, answer.index) == (200, index)

    run(scenario, with_services())


@pytest.mark.parametrize(
    ("flag", "query"), [("default-query-time", ""), ("max-query-time", "&wait=1h")]
)
def test_how_long_a_query_waits_is_a_setting(flag: str, query: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        path = "/v1/catalog/service/web"
        index = (await client.get(path)).index
        answer = await client.get(f"{path}?index={index}{query}")
        assert (answer.status, answer.index) == (200, index)

    run(scenario, FakeAgent(config=config(**{flag: "20ms"})))


def test_an_index_above_ours_returns_at_once() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.get(f"/v1/catalog/nodes?index={agent.view.index + 1}")
        assert answer.status == 200

    run(scenario, with_services())


def test_an_older_index_returns_at_once() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/catalog/service/web?index=1")).status == 200

    run(scenario, with_services())


def test_closing_the_server_answers_waiting_queries() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        server = HttpServer(agent)
        ((host, port),) = await server.start([TcpAddress("127.0.0.1", 0)])
        client.base = f"http://{host}:{port}"
        task = await waiting(client, "/v1/catalog/service/web")
        await server.close()
        assert (await task).status == 200

    run(scenario, with_services())


def test_a_client_that_hangs_up_leaves_no_watch_behind() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        task = await waiting(client, "/v1/catalog/service/web")
        task.cancel()
        await asyncio.wait([task])
        for _ in range(200):
            await asyncio.sleep(0.005)
            if not agent.view.watch_count:
                return
        raise AssertionError("the watch is still there")

    run(scenario, with_services())


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("index=abc", 400, "Invalid index"),
        ("index=-1", 400, "Invalid index"),
        ("index=18446744073709551616", 400, "Invalid index"),
        ("index=" + "9" * 5000, 400, "Invalid index"),
        ("wait=abc", 400, "Invalid wait time"),
        ("wait=1", 400, "Invalid wait time"),
        ("max_stale=abc", 400, 'Invalid max_stale value "abc"'),
        (
            "stale&consistent",
            400,
            "Cannot specify ?stale with ?consistent, conflicting semantics.",
        ),
        (
            "filter=Nope==x",
            500,
            'Failed to create boolean expression evaluator: Selector "Nope" is not valid',
        ),
        ("ns=x", 400, 'Bad request: Invalid query parameter: "ns" - there are no namespaces'),
        ("dc=elsewhere", 500, "No path to datacenter"),
    ],
)
def test_a_wrong_parameter_is_refused(query: str, status: int, text: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get(f"/v1/catalog/nodes?{query}")
        assert (answer.status, answer.text) == (status, text)

    run(scenario)


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("", "leader"),
        ("?stale", "stale"),
        ("?consistent", "consistent"),
        ("?max_stale=5s", "stale"),
    ],
)
def test_the_consistency_mode_is_echoed(query: str, mode: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        headers = (await client.get(f"/v1/catalog/nodes{query}")).headers
        assert headers["X-Consul-Effective-Consistency"] == mode
        assert headers["X-Consul-KnownLeader"] == "true"
        assert headers["X-Consul-LastContact"] == "0"
        assert "X-Cache" not in headers

    run(scenario)


def test_cached_is_always_a_hit() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        headers = (await client.get("/v1/health/service/web?cached")).headers
        assert (headers["X-Cache"], headers["Age"]) == ("HIT", "0")

    run(scenario)


def test_our_own_data_center_may_be_named_in_any_case() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.get("/v1/catalog/nodes?dc=DC1")).status == 200

    run(scenario)


def test_a_repeated_read_sees_every_change_in_between() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for port in range(5):
            agent.change(OWN, ServiceRecord(id="web", name="web", port=port))
            for _ in range(2):
                answer = await client.get("/v1/catalog/service/web")
                assert answer.json[0]["ServicePort"] == port
                assert answer.index == agent.view.index

    run(scenario)


def test_a_kept_answer_follows_whether_the_client_takes_gzip() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(50):
            agent.change(OWN, ServiceRecord(id=str(number), name="many"))
        for _ in range(2):
            plain = await client.get("/v1/catalog/service/many")
            packed = await client.get("/v1/catalog/service/many", **{"Accept-Encoding": "gzip"})
            assert "Content-Encoding" not in plain.headers
            assert packed.headers["Content-Encoding"] == "gzip"
            assert len(packed.body) < len(plain.body) / 5

    run(scenario)


def test_an_agent_service_waits_for_another_content_hash() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await client.put("/v1/agent/service/register", {"Name": "web"})
        first = await client.get("/v1/agent/service/web")
        old_hash = first.headers["X-Consul-ContentHash"]
        assert first.json["ContentHash"] == old_hash
        task = asyncio.create_task(client.get(f"/v1/agent/service/web?hash={old_hash}&wait=30s"))
        await asyncio.sleep(0.03)
        await client.put("/v1/agent/service/register", {"Name": "other"})
        await client.put("/v1/agent/service/register", {"Name": "web", "Port": 2})
        answer = await task
        assert (answer.json["Port"], answer.json["ContentHash"] != old_hash) == (2, True)

    run(scenario)


def test_queries_that_wait_for_one_change_share_one_answer() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        path = "/v1/health/service/web"
        tasks = [await waiting(client, path) for _ in range(3)]
        agent.change(OWN, ServiceRecord(id="web", name="web", port=5))
        answers = [await task for task in tasks]
        assert {answer.body for answer in answers} == {(await client.get(path)).body}
        assert {answer.index for answer in answers} == {agent.view.index}

    run(scenario, with_services())


def test_a_long_list_that_is_being_made_is_not_given_to_who_asks_after_a_change() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(3000):
            agent.change(OWN, ServiceRecord(id=f"{number:04}", name="many"))
        first = asyncio.create_task(client.get("/v1/catalog/service/many"))
        await asyncio.sleep(0.005)
        agent.change(OWN, ServiceRecord(id="last", name="many"))
        second = await client.get("/v1/catalog/service/many")
        assert len(second.json) == 3001
        assert second.index == agent.view.index
        assert (await first).index <= second.index
        assert len((await client.get("/v1/catalog/service/many")).json) == 3001

    run(scenario, with_services())


def test_a_node_that_goes_while_its_list_is_made_is_left_out() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(2000):
            owner = ExternalNode(f"e{number:04}")
            agent.change(owner, NodeRecord(name=owner.name, address="a", datacenter="dc1"))
            agent.change(owner, ServiceRecord(id="m", name="many"))
            agent.change(owner, CheckRecord(id="c", name="c", status="passing", service_id="m"))
        paths = ["health/service/many", "catalog/nodes", "health/state/any", "health/checks/many"]
        tasks = [asyncio.create_task(client.get(f"/v1/{path}")) for path in paths]
        await asyncio.sleep(0.01)
        for number in range(1000, 2000):
            gone = ExternalNode(f"e{number:04}")
            agent.view.apply(RecordChanged(gone, Kind.NODE, "", None, None))
        assert [(await task).status for task in tasks] == [200] * 4

    run(scenario)


@pytest.mark.parametrize("path", ["/v1/catalog/nodes", "/v1/status/leader", "/v1/kv/never/written"])
def test_what_a_client_says_of_caches_is_seconds(path: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        usual = (await client.get(path)).status
        for said in ("max-age=3", "max-age=+3", "max-age", "no-cache, Stale-If-Error=-1", "x=y"):
            answer = await client.get(path, **{"Cache-Control": said})
            assert answer.status == usual, said
        for said in ("max-age=", "Max-Age=1.5", "x, stale-if-error=1m", "max-age=" + "9" * 20):
            answer = await client.get(path, **{"Cache-Control": said})
            assert (answer.status, answer.text) == (400, "Invalid Cache-Control header."), said

    run(scenario)
