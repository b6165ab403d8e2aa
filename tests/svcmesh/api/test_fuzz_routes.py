"""Every route there is, with odd arguments, parameters and bodies: words come back, no failure.

The router itself says which routes there are, so a new one is tried without a word here; it is
tried harder with a real body in `SEEDS`. What is refused leaves everything as it was.
"""

import asyncio
import json
import logging
from typing import NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from svcmesh.api import HttpServer, unbuilt
from svcmesh.consensus.store.queries import QUERIES
from tests.svcmesh.api import test_fuzz as seeds
from tests.svcmesh.api.fakes import Client, FakeAgent, config, serving

UUID = "40e4a748-2192-161a-0510-9bf59fe950b5"
KV_OPERATION = {
    "KV": {"Verb": "set", "Key": "k", "Value": "eA==", "Flags": 1, "Index": 0, "Session": UUID}
}
PROBES: list[dict[str, object]] = [
    {"TTL": "10m", "DeregisterCriticalServiceAfter": "2h"},
    {"HTTP": "http://127.0.0.1:1/", "Header": {"a": ["b"]}, "Method": "PUT", "Interval": "1h"},
    {"TCP": "127.0.0.1:1", "Interval": "1h", "SuccessBeforePassing": 2},
    {"UDP": "127.0.0.1:1", "Interval": "1h", "OutputMaxSize": 100},
    {"GRPC": "127.0.0.1:1/web", "GRPCUseTLS": True, "Interval": "1h", "Timeout": "1s"},
    {"AliasNode": "", "AliasService": "web"},
]
CHECK = {"Node": "fx", "CheckID": "d", "Name": "d", "Status": "passing", "ServiceID": ""}
SEEDS: dict[str, list[object]] = {
    "/v1/agent/check/register": [
        {"ID": "c", "Name": "c", "ServiceID": "s", "Notes": "n", "Status": "passing", **probe}
        for probe in PROBES
    ],
    "/v1/agent/check/update/": [{"Status": "passing", "Output": "o"}],
    "/v1/agent/service/register": [
        {**seeds.AGENT_SERVICE, "Check": {"CheckID": "c", **probe}, "Checks": [{"TTL": "5m"}]}
        for probe in PROBES
    ],
    "/v1/catalog/register": [seeds.REGISTRATION],
    "/v1/catalog/deregister": [seeds.DEREGISTRATION],
    "/v1/coordinate/update": [seeds.COORDINATE],
    "/v1/event/fire/": ["payload"],
    "/v1/kv/": ["value"],
    "/v1/operator/autopilot/configuration": [
        {
            "CleanupDeadServers": True, "LastContactThreshold": "200ms", "MaxTrailingLogs": 250,
            "MinQuorum": 0, "ServerStabilizationTime": 10_000_000_000, "RedundancyZoneTag": "",
            "DisableUpgradeMigration": False, "UpgradeVersionTag": "", "ModifyIndex": 4,
        }
    ],
    "/v1/operator/keyring": [{"Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}],
    "/v1/query": [
        {
            "Name": "q", "Session": "", "Token": "", "DNS": {"TTL": "10s"},
            "Template": {"Type": "name_prefix_match", "Regexp": "^q-(.*)$"},
            "Service": {
                "Service": "${match(1)}", "Near": "_agent", "OnlyPassing": True, "Tags": ["a"],
                "Failover": {"NearestN": 2, "Datacenters": ["dc2"]}, "NodeMeta": {"a": "b"},
                "ServiceMeta": {"a": "b"}, "IgnoreCheckIDs": ["c"], "Connect": False,
            },
        },
        {"Name": "plain", "Service": {"Service": "web"}},
    ],
    "/v1/session/create": [
        {
            "Name": "s", "Node": "n1", "LockDelay": "15s", "Behavior": "delete", "TTL": "30s",
            "NodeChecks": ["serfHealth"], "Checks": ["serfHealth"],
            "ServiceChecks": [{"ID": "ok", "Namespace": ""}],
        }
    ],
    "/v1/snapshot": ["no snapshot"],
    "/v1/txn": [
        [KV_OPERATION, {"KV": {"Verb": "get-tree", "Key": "k"}}],
        [
            {"Node": {"Verb": "set", "Node": {"Node": "fy", "Address": "10.0.0.8", "ID": UUID}}},
            {"Service": {"Verb": "set", "Node": "fx", "Service": {"Service": "v", "ID": "v"}}},
            {"Check": {"Verb": "set", "Check": {**CHECK, "Definition": {"TCP": "x:1"}}}},
        ],
    ],
}  # fmt: skip
SEEDS["/v1/query/"] = SEEDS["/v1/query"]

ENDLESS = {"/v1/agent/monitor"}
"""Answers that go on until the client hangs up; `test_pool.py` has these."""

ROUTES = sorted(set(HttpServer(FakeAgent()).routes))
TRIED = [(method, path) for method, path in ROUTES if path not in ENDLESS]
BUILT = [each for each in TRIED if each[1] not in unbuilt.UNBUILT and each[1] not in unbuilt.ACL]
"""Most of the effort goes to these: the others refuse everything."""

ARGUMENTS = st.one_of(
    st.sampled_from([
        "", "web", "n1", "fx", "w", "c", "t", "k", "q", "plain/execute", "q-web/explain", "execute",
        "any", "passing", "service/web", UUID, UUID.upper(), UUID[:-1], "nosuch", "n1/", "a/b/c",
        "%00", "%0d%0a", "%ff", "%F0%9F%98%80", "..", ".", "%2f", "x" * 300, "127.0.0.1:1", "%",
    ]),
    st.text(max_size=6).map(lambda text: quote(text, safe="")),
)  # fmt: skip
PARAMETERS = [
    *seeds.PARAMETERS, "acquire", "address", "cas", "changes", "connect", "enable", "flags",
    "global", "id", "keys", "limit", "local-only", "logjson", "loglevel", "node", "note", "prune",
    "raw", "reason", "recurse", "relay-factor", "release", "replace-existing-checks", "report",
    "revision", "separator", "sequence", "service", "status",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        "", "0", "1", "-1", "true", "false", "99999999999999999999", "1s", "-5m", "_agent", "_ip",
        "a:b", "%", "%zz", "%ff", UUID, "(", "Service+==+web", "Node+matches+%22(%22", "dc1", "x",
        "n1", "web", "1.5", "%E2%80%A8", "/",
    ]),
    st.text(max_size=5).map(lambda text: quote(text, safe="")),
)  # fmt: skip


class Case(NamedTuple):
    method: str
    path: str
    body: bytes | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    method, route = draw(st.sampled_from(BUILT if draw(st.integers(0, 9)) else TRIED))
    path = route + (draw(ARGUMENTS) if route.endswith("/") else "")
    pairs = draw(st.lists(st.tuples(st.sampled_from(PARAMETERS), VALUES), max_size=3))
    if pairs:
        path += "?" + "&".join(f"{name}={value}" for name, value in pairs)
    if method == "GET" or draw(st.integers(0, 9)) == 0:
        return Case(method, path, None)
    seed = draw(st.sampled_from(SEEDS[route])) if route in SEEDS else None
    value = draw(seeds.ODD) if seed is None else seeds.change(draw, seed)
    body = json.dumps(value).encode()
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.binary(max_size=4)) + body[cut + 1 :]
    return Case(method, path, body)


def kept(agent: FakeAgent) -> object:
    """Everything that requests can change, but for what checks find out by themselves."""
    view, state = agent.view, agent.store.state
    return (
        [(node.body, sorted(node.services), sorted(node.checks)) for node in view.nodes()],
        [row.record for row in view.queries],
        dict(agent.local.services),
        set(agent.local.table),
        repr(QUERIES["kv.list"].find(state, "").value),
        repr(QUERIES["session.list"].find(state).value),
        repr(QUERIES["autopilot.get"].find(state).value),
        len(agent.events.recent()),
        list(agent.store.snapshots.restored),
        (list(agent.joined), agent.has_left, agent.reloading.reloads),
    )


class Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))


async def try_all(requests: list[Case]) -> None:
    """Send them to one agent: starting it costs more than they do."""
    brief = config(**{"default-query-time": "1ms", "max-query-time": "1ms"})
    agent = seeds.filled(brief)
    errors = Errors()
    root = logging.getLogger()
    root.addHandler(errors)
    try:
        async with asyncio.timeout(120), serving(agent) as client:
            await _make_state(client)
            for case in requests:
                await _try(client, agent, case, errors)
    finally:
        root.removeHandler(errors)


async def _make_state(client: Client) -> None:
    """Something of each kind that requests can find."""
    await client.put("/v1/agent/service/register", json={"ID": "s", "Name": "web"})
    ok = {"ID": "ok", "Name": "ok", "ServiceID": "s", "TTL": "10m", "Status": "passing"}
    await client.put("/v1/agent/check/register", json=ok)
    await client.put("/v1/agent/check/register", json={"Name": "t", "TTL": "10m"})
    await client.put("/v1/kv/k", data=b"v")
    await client.put("/v1/session/create", json={})
    for body in SEEDS["/v1/query"]:
        await client.call("POST", "/v1/query", json=body)


async def _try(client: Client, agent: FakeAgent, case: Case, errors: Errors) -> None:
    before = kept(agent)
    answer = await client.call(case.method, case.path, data=case.body)
    # 503 is the health of a critical service, 501 what is not built.
    assert answer.status in {500, 501, 503} or answer.status < 500, case
    assert not errors.texts, (case, errors.texts)
    assert b"Internal error" not in answer.body, case
    if answer.headers.get("Content-Type") == "application/json":
        json.loads(answer.body)
    if answer.status >= 400:
        assert kept(agent) == before, case


@settings(max_examples=25)
@given(st.lists(cases(), min_size=40, max_size=40))
def test_every_route_takes_or_refuses_what_comes_and_a_refusal_changes_nothing(
    requests: list[Case],
) -> None:
    asyncio.run(try_all(requests))


def test_every_seed_is_a_body_that_its_route_takes() -> None:
    """A seed that is refused at once would try nothing."""

    async def main() -> None:
        for method, route in TRIED:
            if method not in {"PUT", "POST"}:
                continue
            for body in SEEDS.get(route, ()):
                async with asyncio.timeout(30), serving(seeds.filled()) as client:
                    if route != "/v1/query":  # which makes just these
                        await _make_state(client)
                    answer = await client.call(method, route, json=body)
                    assert b"decode" not in answer.body, (method, route, answer)
                    if not route.endswith("/"):  # the others want an argument first
                        assert answer.status == 200, (method, route, answer)

    asyncio.run(main())


def test_the_oracle_notices_a_failure_and_a_change() -> None:
    async def main() -> None:
        agent, errors = seeds.filled(), Errors()
        async with asyncio.timeout(30), serving(agent) as client:
            before = kept(agent)
            await client.put("/v1/kv/k", data=b"v")
            assert kept(agent) != before
            agent.table = []
            logging.getLogger().addHandler(errors)
            try:
                with pytest.raises(AssertionError):
                    await _try(client, agent, Case("GET", "/v1/agent/self", None), errors)
            finally:
                logging.getLogger().removeHandler(errors)

    asyncio.run(main())
