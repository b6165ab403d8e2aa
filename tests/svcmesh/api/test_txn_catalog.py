"""`/v1/txn` on the catalog: verbs, conditions, and what it has to do with the keys."""

import base64
from typing import Any

import pytest

from svcmesh.consensus.service import NoLeaderError
from tests.svcmesh.api.fakes import Client, FakeAgent, run

Operation = dict[str, Any]


def node(verb: str, name: str = "out", **more: object) -> Operation:
    return {"Node": {"Verb": verb, "Node": {"Node": name, **more}}}


def service(verb: str, name: str = "out", **more: object) -> Operation:
    return {"Service": {"Verb": verb, "Node": name, "Service": more}}


def check(verb: str, name: str = "out", **more: object) -> Operation:
    return {"Check": {"Verb": verb, "Check": {"Node": name, **more}}}


def key(verb: str, name: str, **more: object) -> Operation:
    value = base64.b64encode(b"v").decode()
    return {"KV": {"Verb": verb, "Key": name, "Value": value, **more}}


WHOLE = [
    node("set", Address="10.0.0.1"),
    service("set", ID="w-1", Service="w", Tags=["a"], Port=5),
    check("set", CheckID="c", Name="c", Status="passing", ServiceID="w-1"),
]


async def done(client: Client, *operations: Operation) -> list[dict[str, Any]]:
    answer = await client.put("/v1/txn", json=list(operations))
    assert answer.status == 200, answer.body
    results: list[dict[str, Any]] = answer.json["Results"]
    return results


async def refused(client: Client, *operations: Operation) -> list[int]:
    answer = await client.put("/v1/txn", json=list(operations))
    assert answer.status == 409, answer.body
    assert answer.json["Results"] is None
    return [error["OpIndex"] for error in answer.json["Errors"]]


def test_a_node_its_service_and_check_are_made_and_read_in_the_order_asked() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        made = await done(client, *WHOLE)
        assert [next(iter(each)) for each in made] == ["Node", "Service", "Check"]
        (entry,) = (await client.get("/v1/health/service/w?passing")).json
        assert entry["Checks"][0]["ServiceTags"] == ["a"]
        read = await client.put(
            "/v1/txn", json=[check("get", CheckID="c"), node("get"), service("get", ID="w-1")]
        )
        assert read.json["Results"] == [made[2], made[0], made[1]]
        assert read.headers["X-Consul-KnownLeader"] == "true"

    run(scenario)


def test_a_check_is_of_the_type_that_was_given_or_of_none() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        definition = {"HTTP": "http://a", "Interval": "5s"}
        put = check("set", CheckID="d", Name="d", Definition=definition)
        *_, made = await done(client, *WHOLE, put)
        assert made["Check"]["Type"] == ""
        put["Check"]["Check"]["Type"] = "http"
        (made,) = await done(client, put)
        assert made["Check"]["Type"] == "http"

    run(scenario)


def test_operations_see_what_those_before_them_leave() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await done(client, *WHOLE)
        assert await refused(client, node("delete"), service("set", Service="x")) == [1]
        assert await refused(client, service("delete", Service="w", ID="w-1"), WHOLE[2]) == [1]
        assert len((await client.get("/v1/health/service/w")).json) == 1

    run(scenario)


def test_deleting_a_node_takes_services_and_checks_along() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await done(client, *WHOLE)
        assert await done(client, node("delete")) == []
        assert (await client.get("/v1/catalog/service/w")).json == []
        assert (await client.get("/v1/catalog/node/out")).json is None
        assert await done(client, node("delete"), check("delete", CheckID="c")) == []

    run(scenario)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (node("cas", Address="10.0.0.2"), "Node"),
        (service("cas", ID="w-1", Service="w"), "Service"),
        (check("cas", CheckID="c", Status="critical"), "Check"),
        (node("delete-cas"), "Node"),
        (service("delete-cas", ID="w-1", Service="w"), "Service"),
        (check("delete-cas", CheckID="c"), "Check"),
    ],
)
def test_a_compared_write_needs_the_index_that_is_there(operation: Operation, kind: str) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        made = {next(iter(each)): each for each in await done(client, *WHOLE)}
        right = made[kind][kind]["ModifyIndex"]
        body = operation[kind][kind]
        for wrong in (0, right - 1, right + 1):
            stale = {kind: {**operation[kind], kind: {**body, "ModifyIndex": wrong}}}
            assert await refused(client, stale) == [0]
        fresh = {kind: {**operation[kind], kind: {**body, "ModifyIndex": right}}}
        await done(client, fresh)
        # Once only: it is another one by now, or none.
        assert await refused(client, fresh) == [0]

    run(scenario)


def test_index_zero_means_not_there_yet() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        new = node("cas", Address="10.0.0.1", ModifyIndex=0)
        await done(client, new)
        assert await refused(client, new) == [0]

    run(scenario)


@pytest.mark.parametrize(
    "operation",
    [
        node("set", ""),
        node("bogus"),
        node("get", "nobody"),
        node("set", "n1", Address="10.0.0.1"),
        service("set", "nobody", Service="w"),
        service("set", ID="w-1"),
        service("get", ID="none"),
        service("delete", ID="w-1"),
        check("set", CheckID="c", ServiceID="none"),
        check("set"),
        check("set", "nobody", CheckID="c"),
        check("get", CheckID="none"),
    ],
)
def test_one_that_fails_is_named_and_neither_keys_nor_catalog_change(operation: Operation) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await done(client, node("set", Address="10.0.0.1"))
        before = (await client.get("/v1/catalog/nodes")).json
        assert await refused(client, key("set", "a"), node("set", "more"), operation) == [2]
        assert len(agent.store.state.keys) == 0
        assert (await client.get("/v1/catalog/nodes")).json == before

    run(scenario)


def test_keys_that_are_refused_leave_the_catalog_alone() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        stale = key("cas", "a", Index=99)
        assert await refused(client, WHOLE[0], key("set", "b"), stale) == [2]
        assert (await client.get("/v1/catalog/node/out")).json is None

    run(scenario)


def test_keys_and_catalog_show_their_results_in_the_order_asked() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await done(client, key("set", "t/1"), key("set", "t/2"))
        results = await done(
            client, key("set", "a"), WHOLE[0], key("get-tree", "t/"), WHOLE[1], key("delete", "a")
        )
        names = [(kind, each.get("Key")) for one in results for kind, each in one.items()]
        assert names == [
            ("KV", "a"), ("Node", None), ("KV", "t/1"), ("KV", "t/2"), ("Service", None),
        ]  # fmt: skip
        two = [key("get-tree", "t/"), key("get-tree", "a"), WHOLE[0]]
        assert (await client.put("/v1/txn", json=two)).status == 400

    run(scenario)


def test_the_catalog_alone_needs_no_leader() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.store.failure = NoLeaderError()
        await done(client, *WHOLE)
        assert (await client.put("/v1/txn", json=[*WHOLE, key("set", "a")])).status == 500

    run(scenario)


@pytest.mark.parametrize(
    "operation",
    [
        node("set", Address="10.0.0.1", Foo=1),
        node("set", Address=5),
        service("set", Service="w", Kind="connect-proxy"),
        check("get", CheckID=7),
        {"Node": "out"},
        {"Session": {"Verb": "delete"}},
    ],
)
def test_what_cannot_be_decoded_is_the_callers_fault(operation: Operation) -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        assert (await client.put("/v1/txn", json=[operation])).status == 400

    run(scenario)


def test_a_check_may_be_deleted_by_its_name_but_not_read() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        await done(client, *WHOLE)
        assert await refused(client, check("get", Name="c")) == [0]
        await done(client, check("delete", Name="c"))
        assert (await client.get("/v1/health/node/out")).json == []

    run(scenario)
