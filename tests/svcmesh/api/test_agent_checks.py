"""Checks, maintenance and health of the agent's services, as Consul 1.8 has recorded them."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from svcmesh.checks.definition import CheckDefinition, HttpProbe, TcpProbe
from tests.svcmesh.api.fakes import Client, FakeAgent, run

REGISTER, REGISTER_CHECK = "/v1/agent/service/register", "/v1/agent/check/register"


def own_check(check_id: str, **more: object) -> dict[str, object]:
    """A check as `/v1/agent/checks` shows it."""
    return {
        "Node": "n1",
        "CheckID": check_id,
        "Name": check_id,
        "Status": "critical",
        "Notes": "",
        "Output": "",
        "ServiceID": "",
        "ServiceName": "",
        "ServiceTags": [],
        "Type": "ttl",
        "Definition": {},
        "CreateIndex": 0,
        "ModifyIndex": 0,
        **more,
    }


# -- registering --------------------------------------------------------------------------------


def test_a_ttl_check_is_registered_reported_on_and_removed() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        body = {"ID": "disk", "Name": "disk space", "TTL": "90s", "Notes": "some notes"}
        answer = await client.put(REGISTER_CHECK, body)
        assert (answer.status, answer.body) == (200, b"")
        shown = own_check("disk", Name="disk space", Notes="some notes")
        assert (await client.get("/v1/agent/checks")).json == {"disk": shown}
        for verb, status in (("pass", "passing"), ("warn", "warning"), ("fail", "critical")):
            assert (await client.put(f"/v1/agent/check/{verb}/disk?note=it%20is")).status == 200
            shown |= {"Status": status, "Output": "it is"}
            assert (await client.get("/v1/agent/checks")).json == {"disk": shown}
        await client.put("/v1/agent/check/update/disk", {"Status": "warning", "Output": "so so"})
        shown |= {"Status": "warning", "Output": "so so"}
        assert (await client.get("/v1/agent/checks")).json == {"disk": shown}
        assert (await client.put("/v1/agent/check/deregister/disk")).status == 200
        assert (await client.get("/v1/agent/checks")).json == {}
        assert (await client.put("/v1/agent/check/deregister/disk")).status == 200

    run(scenario)


def test_checks_come_with_their_service_and_are_in_the_catalog() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        body = {
            "ID": "web-1",
            "Name": "web",
            "Tags": ["v1"],
            "Check": {"TTL": "60s"},
            "Checks": [
                {"Name": "second", "TTL": "60s", "Status": "passing"},
                {"CheckID": "third", "TTL": "60s", "Status": "warning"},
            ],
        }
        assert (await client.put(REGISTER, body)).status == 200
        of_web = {"ServiceID": "web-1", "ServiceName": "web", "ServiceTags": ["v1"]}
        unnamed = "Service 'web' check"
        assert (await client.get("/v1/agent/checks")).json == {
            "service:web-1:1": own_check("service:web-1:1", Name=unnamed, **of_web),
            "service:web-1:2": own_check(
                "service:web-1:2", Name="second", Status="passing", **of_web
            ),
            "third": own_check("third", Name=unnamed, Status="warning", **of_web),
        }
        in_catalog = (await client.get("/v1/health/checks/web")).json
        assert {check["CheckID"]: check["Status"] for check in in_catalog} == {
            "service:web-1:1": "critical",
            "service:web-1:2": "passing",
            "third": "warning",
        }
        # One check alone has no number.
        await client.put(REGISTER, {"Name": "db", "Check": {"TTL": "60s"}})
        assert "service:db" in (await client.get("/v1/agent/checks")).json
        await client.put("/v1/agent/service/deregister/web-1")
        assert list((await client.get("/v1/agent/checks")).json) == ["service:db"]

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        {"Name": "k", "Check": None, "Checks": None, "Connect": None, "Proxy": None, "Kind": ""},
        {"name": "k", "check": {}, "checks": [], "CONNECT": {}, "Weights": None},
        {"Name": "k", "Check": {"TTL": "0s", "Interval": "", "HTTP": ""} | {"Interval": "0s"}},
    ],
)
def test_what_asks_for_nothing_is_as_good_as_absent(body: dict[str, object]) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.put(REGISTER, body)).status == 200
        assert (await client.get("/v1/agent/checks")).json == {}

    run(scenario)


def test_field_names_are_taken_in_any_case_and_in_snake_case() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        probe = {
            "http": "http://127.0.0.1:1/x",
            "METHOD": "HEAD",
            "Header": {"X-A": ["1", "2"]},
            "tls_skip_verify": True,
            "tls_server_name": "web",
            "interval": "10s",
            "Timeout": 3_000_000_000,
            "success_before_passing": 2,
            "failures_before_warning": 1,
            "FailuresBeforeCritical": 3,
            "deregister_critical_service_after": "10s",
            "output_max_size": 10,
        }
        assert (await client.put(REGISTER, {"Name": "web", "Check": probe})).status == 200
        definition = agent.local.table["service:web"].definition
        assert definition == CheckDefinition(
            id="service:web",
            name="Service 'web' check",
            source=HttpProbe(
                "http://127.0.0.1:1/x", "HEAD", (("X-A", ("1", "2")),), "", "web", True
            ),
            service_id="web",
            interval_s=10.0,
            timeout_s=3.0,
            success_before_passing=2,
            failures_before_warning=1,
            failures_before_critical=3,
            # As in Consul: not sooner than a minute.
            deregister_after_s=60.0,
            output_bytes_max=10,
        )
        await client.put(REGISTER_CHECK, {"Name": "t", "TCP": "127.0.0.1:1", "Interval": "10ms"})
        definition = agent.local.table["t"].definition
        assert definition.source == TcpProbe("127.0.0.1:1")
        assert (definition.interval_s, definition.timeout_s) == (1.0, 10.0)

    run(scenario)


INVALID = "Invalid check: "
NO_TTL = INVALID + "TTL must be > 0 for TTL checks"
NO_INTERVAL = INVALID + "Interval must be > 0 for Script, HTTP, or TCP checks"
SCRIPTS = (
    "Scripts are disabled on this agent from remote calls; to enable, configure "
    "'enable_script_checks' to true"
)
DECODE = "Request decode failed: "


@pytest.mark.parametrize(
    ("check", "status", "text"),
    [
        # Consul's words.
        ({"Notes": "x"}, 400, NO_TTL),
        ({"Interval": "5s"}, 400, NO_TTL),
        ({"TTL": "-5s"}, 400, NO_TTL),
        ({"HTTP": "http://x/"}, 400, NO_INTERVAL),
        ({"TTL": "5s", "HTTP": "http://x/"}, 400, NO_INTERVAL),
        ({"GRPC": "x:1"}, 400, NO_INTERVAL),
        ({"TTL": "5s", "Interval": "5s"}, 400,
         INVALID + "Interval and TTL cannot both be specified"),
        ({"TTL": "5s", "AliasService": "x"}, 400,
         INVALID + "TTL must be not be set for Alias checks"),
        ({"HTTP": "http://x/", "Interval": "1s", "AliasService": "x"}, 400,
         INVALID + "Interval cannot be set for Alias checks"),
        ({"TTL": "5s", "OutputMaxSize": -1}, 400,
         INVALID + "MaxOutputMaxSize must be positive"),
        ({"TTL": "soon"}, 400, DECODE + 'time: invalid duration "soon"'),
        ({"TTL": "1d"}, 400, DECODE + 'time: unknown unit "d" in duration "1d"'),
        ({"TTL": ""}, 400, DECODE + 'time: invalid duration ""'),
        ({"TTL": "5s", "Bogus": 1}, 400, DECODE + 'json: unknown field "Bogus"'),
        ({"Args": ["/bin/true"], "Interval": "5s"}, 500, SCRIPTS),
        ({"script_args": ["/bin/true"], "Interval": "5s"}, 500, SCRIPTS),
        ({"DockerContainerID": "x", "Args": ["y"], "Interval": "5s"}, 400,
         "DockerContainerID: Docker checks are not built yet"),
        ({"OSService": "x", "Interval": "5s"}, 400,
         "OSService: checks of operating system services are not built yet"),
    ],
)  # fmt: skip
def test_a_check_that_cannot_be_is_refused_alone_and_with_its_service(
    check: dict[str, object], status: int, text: str
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for path, body in (
            (REGISTER_CHECK, {"Name": "x", **check}),
            (REGISTER, {"Name": "x", "Check": check}),
            (REGISTER, {"Name": "x", "Checks": [{"TTL": "5s"}, check]}),
        ):
            answer = await client.put(path, body)
            assert (answer.status, answer.text) == (status, text)
        assert not agent.local.services
        assert not len(agent.local.table)

    run(scenario)


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        # Consul's words.
        (REGISTER_CHECK, {"TTL": "5s"}, 400, "Missing check name"),
        (REGISTER_CHECK, {"Name": "x", "TTL": "5s", "Status": "fine"}, 400, "Bad check status"),
        (REGISTER_CHECK, {"Name": "x", "TTL": "5s", "ServiceID": "no"}, 500,
         'ServiceID "no" does not exist'),
        (REGISTER_CHECK, {"Name": "x", "TTL": "5s", "CheckID": "y"}, 400,
         DECODE + 'json: unknown field "CheckID"'),
        (REGISTER, {"Name": "x", "Check": {"TTL": "5s", "ID": "y"}}, 400,
         DECODE + 'json: unknown field "ID"'),
        (REGISTER, {"Name": "x", "Check": {"TTL": "5s", "Status": "fine"}}, 400,
         "Status for checks must 'passing', 'warning', 'critical'"),
        ("/v1/agent/check/pass/no", None, 500, 'CheckID "no" does not have associated TTL'),
        ("/v1/agent/check/update/no", {"Status": "great"}, 400, "Invalid check status: 'great'"),
        ("/v1/agent/check/update/no", {"Status": "passing"}, 500,
         'CheckID "no" does not have associated TTL'),
        ("/v1/agent/check/deregister/", None, 500, "CheckID missing"),
        ("/v1/agent/maintenance", None, 400, "Missing value for enable"),
        ("/v1/agent/maintenance?enable=maybe", None, 400, 'Invalid value for enable: "maybe"'),
        ("/v1/agent/service/maintenance/?enable=true", None, 400, "Missing service ID"),
        ("/v1/agent/service/maintenance/no?enable=true", None, 404,
         'No service registered with ID "no"'),
    ],
)  # fmt: skip
def test_wrong_requests_are_answered_in_consuls_words(
    path: str, body: object, status: int, text: str
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put(path, body)
        assert (answer.status, answer.text) == (status, text)

    run(scenario)


def test_registering_again_keeps_states_and_replaces_checks_only_when_asked() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        checks = [{"CheckID": "a", "TTL": "60s"}, {"CheckID": "b", "TTL": "60s"}]
        await client.put(REGISTER, {"Name": "web", "Checks": checks})
        await client.put("/v1/agent/check/pass/a?note=fine")
        await client.put("/v1/agent/service/maintenance/web?enable=true")
        only_a = {"Name": "web", "Check": {"CheckID": "a", "TTL": "30s", "Status": "warning"}}

        async def seen(query: str) -> dict[str, str]:
            assert (await client.put(REGISTER + query, only_a)).status == 200
            found = (await client.get("/v1/agent/checks")).json
            return {check_id: check["Status"] for check_id, check in found.items()}

        maintenance = {"_service_maintenance:web": "critical"}
        assert await seen("") == {"a": "passing", "b": "critical"} | maintenance
        assert (
            await seen("?replace-existing-checks=false")
            == {
                "a": "passing",
                "b": "critical",
            }
            | maintenance
        )
        assert await seen("?replace-existing-checks") == {"a": "passing"} | maintenance

    run(scenario)


def test_many_checks_are_answered_whole() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for number in range(450):
            await agent.local.register_check(
                CheckDefinition(f"c{number:03}", "c", TcpProbe("127.0.0.1:1"), interval_s=3600.0)
            )
        for query in ("", "?pretty"):
            found = (await client.get(f"/v1/agent/checks{query}")).json
            assert list(found) == [f"c{number:03}" for number in range(450)]

    run(scenario)


def test_filters_select_checks() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put(REGISTER_CHECK, {"Name": "a", "TTL": "60s", "Status": "passing"})
        await client.put(REGISTER_CHECK, {"Name": "b", "TTL": "60s"})
        found = await client.get("/v1/agent/checks?filter=Status==passing")
        assert list(found.json) == ["a"]
        assert (await client.get("/v1/agent/checks?filter=Nope==x")).status == 500

    run(scenario)


# -- maintenance --------------------------------------------------------------------------------


def test_maintenance_is_a_critical_check_that_keeps_its_first_reason() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put(REGISTER, {"Name": "web"})
        for path, check_id, name in (
            ("/v1/agent/maintenance", "_node_maintenance", "Node Maintenance Mode"),
            ("/v1/agent/service/maintenance/web", "_service_maintenance:web",
             "Service Maintenance Mode"),
        ):  # fmt: skip
            await client.put(f"{path}?enable=true&reason=repairs")
            await client.put(f"{path}?enable=1&reason=another")
            found = (await client.get("/v1/agent/checks")).json[check_id]
            assert (found["Name"], found["Notes"]) == (name, "repairs")
            assert (found["Status"], found["Type"]) == ("critical", "maintenance")
            assert (await client.get("/v1/health/service/web?passing")).json == []
            await client.put(f"{path}?enable=false")
            assert check_id not in (await client.get("/v1/agent/checks")).json
        assert len((await client.get("/v1/health/service/web?passing")).json) == 1

    run(scenario)


def test_maintenance_without_a_reason_says_so() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put("/v1/agent/maintenance?enable=true")
        found = (await client.get("/v1/agent/checks")).json["_node_maintenance"]
        assert found["Notes"] == (
            "Maintenance mode is enabled for this node, but no reason was provided. "
            "This is a default message."
        )

    run(scenario)


# -- health of a service ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statuses", "code", "word"),
    [
        ([], 200, "passing"),
        (["passing"], 200, "passing"),
        (["passing", "warning"], 429, "warning"),
        (["warning", "critical", "passing"], 503, "critical"),
    ],
)
def test_the_worst_check_decides_on_the_status_code(
    statuses: list[str], code: int, word: str
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        checks = [{"TTL": "60s", "Status": status} for status in statuses]
        await client.put(REGISTER, {"Name": "web", "Checks": checks})
        for which in ("id", "name"):
            path = f"/v1/agent/health/service/{which}/web"
            for answer in (
                await client.get(f"{path}?format=text"),
                await client.get(path, Accept="text/plain, */*"),
            ):
                assert (answer.status, answer.text) == (code, word)
                assert answer.headers["Content-Type"] == "text/plain"
            answer = await client.get(path)
            assert (answer.status, answer.headers["X-Consul-Reason"]) == (code, word)
            found = answer.json if which == "id" else answer.json[0]
            assert found["AggregatedStatus"] == word
            assert sorted(check["Status"] for check in found["Checks"]) == sorted(statuses)
        # A critical check of the node is one of every service.
        await client.put(REGISTER_CHECK, {"Name": "disk", "TTL": "60s"})
        answer = await client.get("/v1/agent/health/service/id/web?format=text")
        assert (answer.status, answer.text) == (503, "critical")
        await client.put("/v1/agent/maintenance?enable=true")
        answer = await client.get("/v1/agent/health/service/name/web?format=text")
        assert (answer.status, answer.text) == (503, "maintenance")

    run(scenario)


def test_health_of_what_is_not_there_is_404_as_consul_has_it() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        nothing = {"AggregatedStatus": "critical", "Service": None, "Checks": None}
        by_id, by_name = "/v1/agent/health/service/id/no", "/v1/agent/health/service/name/no"
        answer = await client.get(by_id)
        assert (answer.status, answer.json) == (404, nothing)
        answer = await client.get(f"{by_id}?format=text")
        assert (answer.status, answer.json) == (404, "ServiceId no not found")
        answer = await client.get(by_name)
        assert (answer.status, answer.json) == (404, [])
        answer = await client.get(f"{by_name}?format=text")
        assert (answer.status, answer.text) == (404, "ServiceName no Not Found")

    run(scenario)


# -- aliases ------------------------------------------------------------------------------------


def test_an_alias_follows_its_service_and_the_node() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        async def alias() -> tuple[str, str]:
            for _ in range(3):
                await asyncio.sleep(0)
            found = (await client.get("/v1/agent/checks")).json["follow"]
            return found["Status"], found["Output"]

        await client.put(REGISTER_CHECK, {"Name": "follow", "AliasService": "web"})
        assert await alias() == ("critical", "Service web could not be found on node n1")
        check = {"CheckID": "c", "Name": "own", "TTL": "60s"}
        await client.put(REGISTER, {"Name": "web", "Check": check})
        assert await alias() == ("critical", 'Aliased check "own" failing: ')
        await client.put("/v1/agent/check/pass/c")
        assert await alias() == ("passing", "All checks passing.")
        await client.put("/v1/agent/check/warn/c?note=hm")
        assert await alias() == ("warning", 'Aliased check "own" failing: hm')
        await client.put("/v1/agent/check/pass/c")
        await client.put("/v1/agent/maintenance?enable=true")
        assert (await alias())[0] == "critical"
        await client.put("/v1/agent/maintenance?enable=false")
        assert (await alias())[0] == "passing"
        await client.put("/v1/agent/service/deregister/web")
        assert (await alias())[0] == "critical"

    run(scenario)


def test_aliases_that_follow_each_other_recover() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for name, other in (("a", "b"), ("b", "a")):
            checks = [
                {"CheckID": f"{name}-alias", "AliasService": other},
                {"CheckID": f"{name}-ttl", "TTL": "60s", "Status": "passing"},
            ]
            await client.put(REGISTER, {"Name": name, "Checks": checks})
        await client.put("/v1/agent/check/fail/b-ttl")
        await asyncio.sleep(0)
        await client.put("/v1/agent/check/pass/b-ttl")
        await asyncio.sleep(0)
        found = (await client.get("/v1/agent/checks")).json
        assert {check["Status"] for check in found.values()} == {"passing"}

    run(scenario)


def test_an_alias_follows_a_node_elsewhere() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        async def alias() -> tuple[str, str]:
            await asyncio.sleep(0)
            found = (await client.get("/v1/agent/checks")).json["follow"]
            return found["Status"], found["Output"]

        body = {"Name": "follow", "AliasNode": "far", "AliasService": "db"}
        await client.put(REGISTER_CHECK, body)
        assert await alias() == ("critical", "Node far could not be found")
        node = {"Node": "far", "Address": "10.0.0.1"}
        await client.put("/v1/catalog/register", {**node, "Service": {"Service": "db"}})
        assert await alias() == ("passing", "No checks found.")
        check = {"CheckID": "x", "Name": "x", "Status": "critical", "Output": "down"}
        await client.put("/v1/catalog/register", {**node, "Check": check})
        assert await alias() == ("critical", 'Aliased check "x" failing: down')
        await client.put("/v1/catalog/deregister", {"Node": "far", "ServiceID": "db"})
        assert await alias() == ("critical", "Service db could not be found on node far")

    run(scenario)


# -- hostile bodies -----------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["ID", "Name", "name", "Tags", "Port", "Address", "Meta", "Weights", "Check", "Checks",
     "TaggedAddresses", "CheckID", "TTL", "Interval", "HTTP", "TCP", "Header", "Args", "Status",
     "ServiceID", "AliasService", "GRPC", "Timeout", "OutputMaxSize", "Notes", "Bogus", "Proxy",
     "DeregisterCriticalServiceAfter", "SuccessBeforePassing", "EnableTagOverride", "check_id"],
) | st.text(max_size=5)  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["5s", "passing", "http://x/", "", "x:1", "web", "-1h", "99999999h"])
    | st.text(max_size=8)
)
BODIES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


def state_of(agent: FakeAgent) -> tuple[object, ...]:
    local = agent.local
    node = agent.view.node("n1")
    assert node is not None
    return (
        dict(local.services),
        {check_id: local.table[check_id].definition for check_id in local.table},
        sorted(node.services),
        sorted(node.checks),
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([REGISTER, REGISTER_CHECK]), BODIES), max_size=20))
def test_hostile_bodies_get_4xx_and_change_nothing(requests: list[tuple[str, Any]]) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for path, body in requests:
            before = state_of(agent)
            answer = await client.put(path, data=json.dumps(body).encode())
            if answer.status != 200:
                unknown_service = answer.text.endswith("does not exist")
                assert 400 <= answer.status < 500 or unknown_service or "Scripts" in answer.text
                assert state_of(agent) == before

    run(scenario)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=10))
def test_hostile_bytes_get_4xx(bodies: list[bytes]) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for body in bodies:
            for path in (REGISTER, REGISTER_CHECK, "/v1/agent/check/update/x"):
                answer = await client.put(path, data=body)
                assert 400 <= answer.status < 500

    run(scenario)


def test_of_two_checks_of_a_service_with_one_id_the_later_counts() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        first = {"CheckID": "c", "TTL": "1h", "Notes": "first"}
        later = {"CheckID": "c", "TTL": "1h", "Notes": "later", "Status": "passing"}
        body = {"Name": "web", "Checks": [first, later]}
        assert (await client.put("/v1/agent/service/register", json=body)).status == 200
        (check,) = (await client.get("/v1/agent/checks")).json.values()
        assert (check["Notes"], check["Status"]) == ("later", "passing")

    run(scenario)
