"""Requests for another data center: passed on whole, and answered by that one's router."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from svcmesh.api import HttpServer, elsewhere
from svcmesh.catalog.records import NodeRecord
from svcmesh.consensus.service import NoLeaderError, OutcomeUnknownError
from svcmesh.datacenters import UnreachableError
from svcmesh.rpc import RpcError
from tests.svcmesh.api.fakes import Client, FakeAgent, config, run

Scenario = Callable[[Client, FakeAgent, FakeAgent], Coroutine[None, None, None]]


def run_two(scenario: Scenario, *, is_server: bool = True) -> None:
    """A scenario with the API of an agent of dc1, that agent, and a server of dc2."""

    async def main(client: Client, asked: FakeAgent) -> None:
        there = FakeAgent(config(datacenter="dc2", node="m1"))
        http = HttpServer(there)
        asked.remote.others["dc2"] = http.serve_datacenter
        try:
            await scenario(client, asked, there)
        finally:
            await http.close()
            await there.close()

    run(main, FakeAgent(config(node="asked", server=is_server)))


@pytest.mark.parametrize("name", ["dc2", "DC2"])
def test_a_read_is_answered_by_the_other_data_center(name: str) -> None:
    async def scenario(client: Client, _: FakeAgent, there: FakeAgent) -> None:
        answer = await client.get(f"/v1/catalog/nodes?dc={name}&pretty")
        assert (answer.status, answer.json[0]["Datacenter"]) == (200, "dc2")
        assert answer.index == there.view.index
        assert answer.headers["X-Consul-KnownLeader"] == "true"
        assert answer.headers["X-Consul-LastContact"] == "0"
        assert answer.headers["X-Consul-Effective-Consistency"] == "leader"
        assert answer.body.startswith(b"[\n    {")

    run_two(scenario)


def test_our_own_data_center_is_answered_here() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        assert (await client.get("/v1/catalog/nodes?dc=DC1")).status == 200
        assert asked.remote.asked == []

    run_two(scenario)


def test_keys_are_written_and_read_there_and_nowhere_else() -> None:
    async def scenario(client: Client, asked: FakeAgent, there: FakeAgent) -> None:
        assert (await client.put("/v1/kv/a/b?dc=dc2", data=b"\x00x")).json is True
        raw = await client.get("/v1/kv/a/b?dc=dc2&raw")
        assert (raw.body, raw.headers["Content-Type"]) == (b"\x00x", "text/plain")
        assert (await client.get("/v1/kv/a/b")).status == 404
        assert (await client.call("DELETE", "/v1/kv/a/b?dc=dc2")).json is True
        gone = await client.get("/v1/kv/a/b?dc=dc2")
        assert (gone.status, gone.body, "Content-Type" in gone.headers) == (404, b"", False)
        assert [is_write for _, is_write, _, _ in asked.remote.asked] == [True, False, True, False]

    run_two(scenario)


def test_consistency_travels() -> None:
    async def scenario(client: Client, _: FakeAgent, there: FakeAgent) -> None:
        for mode in ("stale", "consistent"):
            answer = await client.get(f"/v1/kv/a?dc=dc2&{mode}")
            assert answer.headers["X-Consul-Effective-Consistency"] == mode
        assert [str(mode) for mode in there.store.modes] == ["stale", "consistent"]

    run_two(scenario)


def test_a_blocking_query_waits_there_and_is_given_the_time() -> None:
    async def scenario(client: Client, asked: FakeAgent, there: FakeAgent) -> None:
        index = (await client.get("/v1/catalog/nodes?dc=dc2")).index
        waiting = asyncio.create_task(
            client.get(f"/v1/catalog/nodes?dc=dc2&index={index}&wait=160s")
        )
        await asyncio.sleep(0.05)
        assert not waiting.done()
        there.register_external("new", [_node("new")])
        assert (await waiting).index > index
        _, _, timeout_s, waits_s = asked.remote.asked[-1]
        assert (waits_s, timeout_s) == (170.0, 180.0)

    run_two(scenario)


def _node(name: str) -> NodeRecord:
    return NodeRecord(name=name, address="10.9.9.9", datacenter="dc2")


def test_a_session_without_a_node_is_for_the_agent_that_was_asked() -> None:
    async def scenario(client: Client, _: FakeAgent, __: FakeAgent) -> None:
        answer = await client.put("/v1/session/create?dc=dc2", json={"Name": "mine"})
        # There is no such node there, as in Consul.
        assert (answer.status, answer.text) == (500, "Missing node registration")

    run_two(scenario)


@pytest.mark.parametrize("path", ["register", "deregister"])
@pytest.mark.parametrize("by", ["body", "parameter"])
def test_registrations_go_where_their_body_says_or_else_the_parameter(path: str, by: str) -> None:
    async def scenario(client: Client, asked: FakeAgent, there: FakeAgent) -> None:
        there.register_external("ext", [_node("ext")])
        body, target = {"Node": "ext", "Address": "1.2.3.4"}, f"/v1/catalog/{path}"
        if by == "body":
            body["Datacenter"] = "dc2"
        else:
            target += "?dc=dc2"
        assert (await client.put(target, json=body)).json is True
        row = there.view.node("ext")
        assert (None if row is None else row.body.address) == (
            "1.2.3.4" if path == "register" else None
        )
        assert asked.view.node("ext") is None

    run_two(scenario)


def test_events_are_fired_there() -> None:
    async def scenario(client: Client, asked: FakeAgent, there: FakeAgent) -> None:
        fired = await client.put("/v1/event/fire/deploy?dc=dc2", data=b"1")
        assert fired.json["Name"] == "deploy"
        assert ([e.name for e in there.events.recent()], asked.events.recent()) == (["deploy"], [])

    run_two(scenario)


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/catalog/nodes"),
        ("GET", "/v1/health/service/web"),
        ("GET", "/v1/kv/a"),
        ("PUT", "/v1/kv/a"),
        ("GET", "/v1/session/list"),
        ("PUT", "/v1/txn"),
        ("PUT", "/v1/event/fire/x"),
        ("GET", "/v1/status/leader"),
        ("GET", "/v1/coordinate/nodes"),
        ("GET", "/v1/operator/raft/configuration"),
    ],
)
def test_an_unknown_data_center_is_refused_in_consuls_words(
    method: str, path: str, is_server: bool
) -> None:
    async def scenario(client: Client, _: FakeAgent, __: FakeAgent) -> None:
        content = b"[]" if method == "PUT" else None
        answer = await client.call(method, f"{path}?dc=dc9", data=content)
        prefix = "" if is_server else "rpc error making call: "
        assert (answer.status, answer.text) == (500, f"{prefix}No path to datacenter")
        has_index = path.startswith(("/v1/catalog", "/v1/health", "/v1/session", "/v1/coordinate"))
        assert answer.headers.get("X-Consul-KnownLeader") == ("false" if has_index else None)

    run_two(scenario, is_server=is_server)


def test_an_unreachable_one_and_an_unknown_outcome_are_said() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        asked.remote.failure = UnreachableError()
        answer = await client.get("/v1/catalog/nodes?dc=dc2")
        assert (answer.status, answer.text) == (
            500,
            "Remote DC has no server currently reachable",
        )
        asked.remote.failure = OutcomeUnknownError("it may have happened")
        answer = await client.put("/v1/kv/a?dc=dc2", data=b"1")
        assert (answer.status, answer.text) == (500, "rpc error making call: it may have happened")

    run_two(scenario)


def test_what_is_an_agents_own_takes_no_data_center() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        for path in ("/v1/agent/self", "/v1/agent/services", "/v1/agent/members", "/v1/event/list"):
            assert (await client.get(f"{path}?dc=dc2")).status == 200
        assert asked.remote.asked == []

    run_two(scenario)


def request(method: str, target: str, content: bytes = b"") -> list[object]:
    return [method, target, {}, content, "n1", ""]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/agent/self",
        "/v1/agent/leave",
        "/v1/agent/service/register",
        "/v1/agent/metrics",
        "/v1/operator/keyring",
        "/v1/snapshot",
        "/v1/catalog/datacenters",
    ],
)
def test_nothing_of_an_agents_own_is_reached_from_another_data_center(target: str) -> None:
    async def scenario(_: Client, asked: FakeAgent, there: FakeAgent) -> None:
        for method in ("GET", "PUT"):
            try:
                answer = await asked.remote.others["dc2"](request(method, target), 1.0)
            except RpcError as error:
                assert error.code == "refused"  # noqa: PT017 -- or an answer, below
            else:
                assert isinstance(answer, list)
                assert answer[0] == 405
        assert not there.has_left

    run_two(scenario)


def test_a_request_from_another_data_center_goes_to_no_third_one() -> None:
    async def scenario(_: Client, asked: FakeAgent, there: FakeAgent) -> None:
        there.remote.others["dc3"] = asked.remote.others["dc2"]
        body = b'{"Node": "x", "Address": "1.1.1.1", "Datacenter": "dc3"}'
        for asks in (
            request("GET", "/v1/catalog/nodes?dc=dc3"),
            request("PUT", "/v1/catalog/register", body),
        ):
            answer = await asked.remote.others["dc2"](asks, 5.0)
            assert isinstance(answer, list)
            assert (answer[0], answer[2]) == (500, b"No path to datacenter")
        assert there.remote.asked == []

    run_two(scenario)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        request("GET", "/v1/kv/" + "a" * 70_000),
        request("PUT", "/v1/kv/a", b"x" * (512 * 1024 + 1)),
        ["GET", "/v1/kv/a", {"Accept-Encoding": "gzip\r\nX: y"}, b"", "n1", ""],
        ["GET", "/v1/kv/a", {}, "text", "n1", ""],
    ],
)
def test_what_is_no_request_or_too_large_is_refused(body: object) -> None:
    async def scenario(_: Client, asked: FakeAgent, __: FakeAgent) -> None:
        with pytest.raises(RpcError) as refused:
            await asked.remote.others["dc2"](body, 1.0)
        assert refused.value.code == "refused"

    run_two(scenario)


@pytest.mark.parametrize(
    "answer",
    [None, [200], [200, {}, "text", ""], [99, {}, b"", ""], [200, {"A\r\nB": "c"}, b"", ""]],
)
def test_an_answer_of_no_form_is_an_error(answer: object) -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        async def say(_: object, __: float) -> object:
            return answer

        asked.remote.others["dc2"] = say
        assert (await client.get("/v1/catalog/nodes?dc=dc2")).status == 500

    run_two(scenario)


def test_an_answer_that_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "ANSWER_BYTES_MAX", 10)

    async def scenario(client: Client, _: FakeAgent, __: FakeAgent) -> None:
        answer = await client.get("/v1/catalog/nodes?dc=dc2")
        assert answer.status == 500
        assert "other data centers get at most 10" in answer.text

    run_two(scenario)


def test_an_election_there_is_waited_for() -> None:
    async def scenario(client: Client, _: FakeAgent, there: FakeAgent) -> None:
        there.store.failure = NoLeaderError()
        writing = asyncio.create_task(client.put("/v1/kv/a?dc=dc2", data=b"1"))
        await asyncio.sleep(0.15)
        assert not writing.done()
        there.store.failure = None
        assert (await writing).json is True

    run_two(scenario)


def test_answers_come_compressed_if_the_client_takes_that() -> None:
    async def scenario(client: Client, _: FakeAgent, there: FakeAgent) -> None:
        for number in range(40):
            there.register_external(f"ext{number}", [_node(f"ext{number}")])
        answer = await client.get("/v1/catalog/nodes?dc=dc2", **{"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert (await client.get("/v1/catalog/nodes?dc=dc2")).json

    run_two(scenario)


def test_an_index_of_another_server_of_the_data_center_does_not_wait() -> None:
    async def scenario(client: Client, asked: FakeAgent, there: FakeAgent) -> None:
        index = (await client.get("/v1/catalog/nodes?dc=dc2")).index
        other = HttpServer(there)
        asked.remote.others["dc2"] = other.serve_datacenter
        answer = await client.get(f"/v1/catalog/nodes?dc=dc2&index={index}&wait=5m")
        assert (answer.status, answer.index) == (200, index)
        waiting = asyncio.create_task(client.get(f"/v1/catalog/nodes?dc=dc2&index={index}&wait=5m"))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "now it is known to be that server's"
        waiting.cancel()
        await other.close()

    run_two(scenario)


def test_a_cached_answer_is_taken_while_it_is_fresh_and_says_its_age() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        first = await client.get("/v1/catalog/nodes?dc=dc2&cached")
        assert (first.headers["X-Cache"], "Age" in first.headers) == ("MISS", False)
        again = await client.get("/v1/catalog/nodes?dc=dc2&cached")
        assert (again.headers["X-Cache"], again.headers["Age"]) == ("HIT", "0")
        assert (again.json, len(asked.remote.asked)) == (first.json, 1)
        for headers in ({"Cache-Control": "max-age=0"}, {"Cache-Control": "must-revalidate"}):
            anew = await client.get("/v1/catalog/nodes?dc=dc2&cached", **headers)
            assert anew.headers["X-Cache"] == "MISS"
        assert "X-Cache" not in (await client.get("/v1/catalog/nodes?dc=dc2")).headers
        assert len(asked.remote.asked) == 4

    run_two(scenario)


def test_a_cached_answer_is_not_taken_when_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("svcmesh.api.remote_answers.monotonic", lambda: now[0])

    async def scenario(client: Client, _: FakeAgent, __: FakeAgent) -> None:
        path = "/v1/catalog/nodes?dc=dc2&cached"
        await client.get(path)
        now[0] += 7.0
        old = await client.get(path, **{"Cache-Control": "max-age=30"})
        assert (old.headers["X-Cache"], old.headers["Age"]) == ("HIT", "7")
        assert (await client.get(path)).headers["X-Cache"] == "MISS"

    run_two(scenario)


def test_keys_are_never_answered_from_what_was_kept() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        for _ in range(2):
            answer = await client.get("/v1/kv/a?dc=dc2&cached")
            assert "X-Cache" not in answer.headers
        asked.remote.failure = UnreachableError()
        assert (await client.get("/v1/kv/a?dc=dc2&cached")).status == 500

    run_two(scenario)


@pytest.mark.parametrize("by", ["setting", "header"])
def test_an_unreachable_data_center_is_answered_as_it_was_if_that_is_allowed(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("svcmesh.api.remote_answers.monotonic", lambda: now[0])

    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        path = "/v1/catalog/nodes?dc=dc2"
        headers = {}
        if by == "setting":
            asked.config = replace(asked.config, discovery_max_stale_s=60.0)
        else:
            path += "&cached"
            headers["Cache-Control"] = "stale-if-error=60"
        good = await client.get(path, **headers)
        asked.remote.failure = UnreachableError()
        now[0] += 50.0
        stale = await client.get(path, **headers)
        assert (stale.status, stale.json) == (200, good.json)
        assert stale.headers["Age"] == "50"
        assert stale.headers["Warning"].startswith("111 ")
        assert stale.headers["X-Consul-KnownLeader"] == "false"
        assert stale.headers["X-Consul-LastContact"] == "50000"
        assert stale.headers["X-Consul-Effective-Consistency"] == "stale"
        assert (await client.get(path + "&consistent", **headers)).status in (400, 500)
        now[0] += 11.0
        assert (await client.get(path, **headers)).status == 500

    run_two(scenario)


def test_without_permission_nothing_stale_is_given() -> None:
    async def scenario(client: Client, asked: FakeAgent, _: FakeAgent) -> None:
        await client.get("/v1/catalog/nodes?dc=dc2")
        asked.remote.failure = UnreachableError()
        assert (await client.get("/v1/catalog/nodes?dc=dc2")).status == 500

    run_two(scenario)


def test_what_a_server_does_not_know_before_its_first_sync_is_left_to_others() -> None:
    async def scenario(client: Client, _: FakeAgent, there: FakeAgent) -> None:
        there.is_ready = False
        for path in ("/v1/health/service/none", "/v1/query/none/execute"):
            answer = await client.get(f"{path}?dc=dc2")
            assert (answer.status, answer.text) == (500, str(UnreachableError()))
        assert (await client.get("/v1/catalog/nodes?dc=dc2")).status == 200

    run_two(scenario)


def test_every_endpoint_that_takes_a_data_center_is_there() -> None:
    async def scenario(client: Client, _: FakeAgent, __: FakeAgent) -> None:
        for path in sorted(elsewhere.OF_DATACENTER):
            answer = await client.call("PATCH", path)
            assert answer.status == 405, path

    run_two(scenario)
