"""Whatever is sent, the API answers with words: no failure of ours, and a refusal changes nothing.

The seeds are real bodies; hypothesis changes values, kinds and names in them. A status of 500 is
Consul's for many mistakes of clients; ours are told apart by their text.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.catalog.changes import ExternalNode, OwnNode
from svcmesh.catalog.records import CheckRecord, NodeId, NodeRecord, ServiceRecord
from svcmesh.config import AgentConfig
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, serving

OUR_FAULT = "Internal error"

REGISTRATION = {
    "ID": "40e4a748-2192-161a-0510-9bf59fe950b5",
    "Node": "fuzz",
    "Address": "10.0.0.1",
    "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "10.0.0.1"},
    "NodeMeta": {"a": "b"},
    "SkipNodeUpdate": False,
    "Service": {
        "ID": "s", "Service": "web", "Tags": ["a"], "Port": 80, "Address": "10.0.0.2",
        "Meta": {"k": "v"}, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False,
        "TaggedAddresses": {"lan": {"Address": "10.0.0.3", "Port": 1}},
    },
    "Check": {
        "Node": "fuzz", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "s",
        "Definition": {"HTTP": "http://x", "Interval": "10s", "Header": {"a": ["b"]}, "TTL": 5},
    },
    "Checks": [{"CheckID": "d"}],
}  # fmt: skip
DEREGISTRATION = {"Node": "fuzz", "ServiceID": "s", "CheckID": "c", "Datacenter": "dc1"}
AGENT_SERVICE = {
    "ID": "s", "Name": "web", "Tags": ["a"], "Port": 80, "Address": "10.0.0.2", "Meta": {"k": "v"},
    "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False,
    "TaggedAddresses": {"lan": {"Address": "10.0.0.3", "Port": 1}},
}  # fmt: skip
CHECK = {
    "ID": "c", "Name": "c", "ServiceID": "web", "Notes": "n", "Status": "passing", "TTL": "10s",
    "HTTP": "http://127.0.0.1:1/", "Header": {"a": ["b"]}, "Method": "GET", "Body": "b",
    "Interval": "10s", "Timeout": "1s", "TLSSkipVerify": False, "TCP": "127.0.0.1:1",
    "SuccessBeforePassing": 1, "FailuresBeforeCritical": 1, "OutputMaxSize": 4096,
    "DeregisterCriticalServiceAfter": "1h", "AliasService": "web", "ScriptArgs": ["true"],
}  # fmt: skip
COORDINATE = {
    "Node": "fx", "Segment": "",
    "Coord": {"Vec": [0.0] * 8, "Error": 1.5, "Adjustment": 0.0, "Height": 0.1},
}  # fmt: skip

BODIES: list[tuple[str, object]] = [
    ("/v1/catalog/register", REGISTRATION),
    ("/v1/catalog/deregister", DEREGISTRATION),
    ("/v1/agent/service/register", AGENT_SERVICE),
    ("/v1/coordinate/update", COORDINATE),
    ("/v1/event/fire/x", {"any": "thing"}),
]

WITH_CHECKS: list[tuple[str, object]] = [
    ("/v1/agent/service/register", {**AGENT_SERVICE, "Check": CHECK, "Checks": [{"TTL": "5s"}]}),
    ("/v1/agent/check/register", CHECK),
    ("/v1/agent/check/register", {"Name": "t", "TTL": "10s"}),
    ("/v1/agent/check/update/t", {"Status": "passing", "Output": "o"}),
]

READS = [
    "/v1/catalog/nodes", "/v1/catalog/services", "/v1/catalog/service/web", "/v1/catalog/node/fx",
    "/v1/catalog/node-services/fx", "/v1/catalog/datacenters", "/v1/catalog/connect/web",
    "/v1/health/service/web", "/v1/health/node/fx", "/v1/health/checks/web", "/v1/health/state/any",
    "/v1/health/connect/web", "/v1/agent/services", "/v1/agent/members", "/v1/agent/self",
    "/v1/agent/metrics", "/v1/status/leader", "/v1/internal/ui/services", "/v1/internal/ui/nodes",
    "/v1/coordinate/nodes", "/v1/event/list",
]  # fmt: skip
PARAMETERS = [
    "index", "wait", "filter", "near", "tag", "node-meta", "dc", "ns", "passing", "pretty", "stale",
    "consistent", "cached", "max_stale", "token", "wan", "segment", "format", "name", "hash",
]  # fmt: skip

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=6),
    st.sampled_from(["", "0.0.0.0", "::", "dc2", "a" * 600, "\x00", "é\u2028", "-5s", "1h"]),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just({"": {"": None}}),
)


def change(draw: st.DrawFn, value: object) -> object:
    """`value`, or something else at some place in it."""
    if draw(st.integers(0, 9)) == 0:
        return draw(ODD)
    match value:
        case dict():
            changed = {key: change(draw, inner) for key, inner in value.items()}
            if changed and draw(st.integers(0, 9)) == 0:
                del changed[draw(st.sampled_from(sorted(changed)))]
            if draw(st.integers(0, 9)) == 0:
                changed[draw(st.text(max_size=4))] = draw(ODD)
            return changed
        case list():
            return [change(draw, inner) for inner in value]
        case _:
            return value


@st.composite
def changed_bodies(draw: st.DrawFn, seeds: list[tuple[str, object]]) -> tuple[str, bytes]:
    path, seed = draw(st.sampled_from(seeds))
    body = json.dumps(change(draw, seed)).encode()
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.binary(max_size=4)) + body[cut + 1 :]
    return path, body


@st.composite
def odd_queries(draw: st.DrawFn) -> str:
    values = st.one_of(
        st.text(max_size=8).map(lambda text: quote(text, safe="")),
        st.sampled_from(["0", "1", "-1", "99999999999999999999", "1s", "5", "_agent", "a:b", "%",
                         "%zz", "Service+==+web", "Nope", "Node+matches+%22(%22", "(" * 70]),
    )  # fmt: skip
    pairs = draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), values), max_size=4))
    # A query that waits is cut short by its wait.
    return (
        draw(st.sampled_from(READS))
        + "?"
        + "&".join([f"{name}={value}" for name, value in pairs if name != "wait"] + ["wait=1ms"])
    )


@st.composite
def odd_requests(draw: st.DrawFn) -> tuple[str, str]:
    method = draw(st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH"]))
    parts = draw(st.lists(
        st.one_of(
            st.sampled_from(["v1", "catalog", "health", "agent", "service", "node", "..", ".", "",
                             "%2f", "%00", "%0d%0a", "state", "any", "kv", "internal", "ui"]),
            st.text(max_size=4).map(lambda text: quote(text, safe="")),
        ),
        max_size=6,
    ))  # fmt: skip
    return method, "/" + "/".join(parts)


def filled(settings: AgentConfig | None = None) -> FakeAgent:
    agent = FakeAgent() if settings is None else FakeAgent(config=settings)
    agent.change(OwnNode(NodeId(NODE_ID)), ServiceRecord(id="web", name="web"))
    owner = ExternalNode("fx")
    agent.change(owner, NodeRecord(name="fx", address="10.0.0.9", datacenter="dc1"))
    agent.change(owner, ServiceRecord(id="w", name="web", tags=("t\udcff",)))
    agent.change(owner, CheckRecord(id="c", name="c", status="odd", service_id="w"))
    return agent


def all_at_once(cases: list[Any], send: Callable[[Client, FakeAgent, Any], Any]) -> None:
    """One server for many cases: starting it costs more than they do."""

    async def main() -> None:
        agent = filled()
        async with asyncio.timeout(60), serving(agent) as client:
            for case in cases:
                await send(client, agent, case)

    asyncio.run(main())


CASES = 40


@settings(max_examples=25, deadline=None)
@given(st.lists(changed_bodies(BODIES), min_size=CASES, max_size=CASES))
def test_a_body_is_taken_or_refused_and_a_refusal_changes_nothing(
    bodies: list[tuple[str, bytes]],
) -> None:
    async def send(client: Client, agent: FakeAgent, case: tuple[str, bytes]) -> None:
        path, body = case
        before = agent.view.index
        answer = await client.put(path, data=body)
        assert answer.status in (200, 400, 404, 500), case
        assert OUR_FAULT not in answer.text, case
        if answer.status != 200:
            assert agent.view.index == before, case

    all_at_once(bodies, send)


@settings(max_examples=25, deadline=None)
@given(st.lists(changed_bodies(WITH_CHECKS), min_size=CASES, max_size=CASES))
def test_a_check_is_taken_or_refused_and_a_refusal_changes_nothing(
    bodies: list[tuple[str, bytes]],
) -> None:
    async def send(client: Client, agent: FakeAgent, case: tuple[str, bytes]) -> None:
        path, body = case
        # Not the catalog's index: checks that were taken run, and change it when they like.
        before = (dict(agent.local.services), set(agent.local.table))
        answer = await client.put(path, data=body)
        assert answer.status in (200, 400, 404, 500), case
        assert OUR_FAULT not in answer.text, case
        if answer.status != 200:
            assert (dict(agent.local.services), set(agent.local.table)) == before, case

    all_at_once(bodies, send)


@settings(max_examples=25, deadline=None)
@given(st.lists(odd_queries(), min_size=CASES, max_size=CASES))
def test_a_query_is_answered_or_refused(queries: list[str]) -> None:
    async def send(client: Client, agent: FakeAgent, query: str) -> None:
        before = agent.view.index
        answer = await client.get(query)
        assert answer.status in (200, 400, 404, 500), query
        assert OUR_FAULT not in answer.body.decode("utf-8", "replace"), query
        if answer.headers.get("Content-Type") == "application/json":
            json.loads(answer.body)
        assert agent.view.index == before

    all_at_once(queries, send)


@settings(max_examples=25, deadline=None)
@given(st.lists(odd_requests(), min_size=CASES, max_size=CASES))
def test_a_path_is_answered_or_refused(requests: list[tuple[str, str]]) -> None:
    async def send(client: Client, agent: FakeAgent, case: tuple[str, str]) -> None:
        before = agent.view.index
        answer = await client.call(*case)
        assert answer.status < 500 or answer.status in (500, 501), case
        assert OUR_FAULT not in answer.body.decode("utf-8", "replace"), case
        assert agent.view.index == before

    all_at_once(requests, send)


def test_the_oracle_of_these_tests_notices_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def send(client: Client, agent: FakeAgent, _: None) -> None:
        agent.table = []
        assert OUR_FAULT in (await client.get("/v1/agent/self")).text

    with caplog.at_level(logging.CRITICAL):
        all_at_once([None], send)
