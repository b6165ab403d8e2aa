"""`/v1/agent/...`: the agent, its members and its services."""

from datetime import UTC, datetime

import pytest

from gossip.serf.events import MemberStatus
from svcmesh.catalog.records import TaggedAddress
from svcmesh.config import Change, DefinitionChanges, Reload
from svcmesh.config.settings import BY_PATH
from svcmesh.errors import ConfigError, NameReservedError, StorageError
from svcmesh.federation import DcPlace
from svcmesh.rpc import Callers
from tests.svcmesh.api.fakes import NODE_ID, Client, FakeAgent, FakePool, config, member, run


def test_self_describes_config_member_and_statistics() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = (await client.get("/v1/agent/self")).json
        assert answer["Config"] == {
            "Datacenter": "dc1",
            "NodeName": "n1",
            "NodeID": NODE_ID,
            "Revision": "",
            "Server": True,
            "Version": "1.8.7+svcmesh.9.9.9",
        }
        assert answer["Coord"] is None
        assert answer["Meta"] == {"consul-network-segment": ""}
        assert answer["Member"] == {
            "Name": "n1",
            "Addr": "127.0.0.9",
            "Port": 8301,
            "Tags": {"role": "consul", "port": "8300"},
            "Status": 1,
            "ProtocolMin": 1,
            "ProtocolMax": 5,
            "ProtocolCur": 2,
            "DelegateMin": 2,
            "DelegateMax": 5,
            "DelegateCur": 4,
        }
        stats = answer["Stats"]
        assert stats["agent"]["services"] == "1"
        assert stats["consul"] == {
            "acl": "disabled",
            "known_datacenters": "1",
            "leader": "true",
            "leader_addr": "127.0.0.9:8300",
            "server": "true",
        }
        assert stats["serf_lan"] == {
            "encrypted": "false",
            "event_queue": "0",
            "failed": "1",
            "health_score": "0",
            "left": "0",
            "members": "2",
        }
        assert stats["catalog"]["applied"] == "7"
        assert stats["dns"] == {"udp_queries": "8"}
        assert stats["gossip"] == {"dropped.checksum": "9"}
        assert stats["rpc"] == {
            "refused.expired": "1",
            "connections": "0",
            "connections_plain": "0",
        }
        assert stats["build"]["version"] == "9.9.9"

    agent = FakeAgent(
        config=config(server=True),
        leader_address="127.0.0.9:8300",
        table=[member("n1", role="consul", port="8300"), member("n2", MemberStatus.FAILED)],
    )

    async def registered(client: Client, agent: FakeAgent) -> None:
        await client.put("/v1/agent/service/register", {"Name": "web"})
        await scenario(client, agent)

    run(registered, agent)


def test_the_gossip_key_is_not_shown() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/agent/self")
        assert answer.json["DebugConfig"]["EncryptKey"] == "hidden"
        assert b"AAAAAAAA" not in answer.body

    key = "AAAAAAAAAAAAAAAAAAAAAA=="
    run(scenario, FakeAgent(config=config(encrypt=key)))


def test_durations_of_the_configuration_are_gos() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        shown = (await client.get("/v1/agent/self")).json["DebugConfig"]
        assert shown["ReconnectTimeoutLAN"] == "72h0m0s"
        assert shown["RetryJoinIntervalLAN"] == "30s"
        assert shown["DNSNodeTTL"] == "0s"
        assert (shown["DefaultQueryTime"], shown["MaxQueryTime"]) == ("5m0s", "10m0s")
        assert shown["SessionTTLMin"] == "10s"
        # Tools look for these: Consul's own for the first, Nomad for the others.
        assert (shown["EnableDebug"], shown["GRPCPort"], shown["ConnectEnabled"]) == (
            False,
            -1,
            False,
        )

    run(scenario)


def test_members_are_listed_by_name_with_their_status() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        table = (await client.get("/v1/agent/members?segment=_all")).json
        assert [(row["Name"], row["Status"]) for row in table] == [
            ("n1", 1),
            ("n2", 4),
            ("n3", 3),
            ("n4", 2),
        ]

    table = [
        member("n4", MemberStatus.LEAVING),
        member("n1"),
        member("n3", MemberStatus.LEFT),
        member("n2", MemberStatus.FAILED),
    ]
    run(scenario, FakeAgent(table=table))


def test_a_name_that_is_not_unicode_is_shown_with_replacement_marks() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        (row,) = (await client.get("/v1/agent/members")).json
        assert (row["Name"], row["Tags"]) == ("a\ufffd", {"k": "\ufffd"})

    run(scenario, FakeAgent(table=[member("a\udcff", k="\udcfe")]))


def test_the_wan_pool_is_listed_by_name() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert (await client.get("/v1/agent/members?wan=1")).json == []
        agent.wan.table = [member("n2.dc2"), member("n1.dc1")]
        listed = (await client.get("/v1/agent/members?wan=1")).json
        assert [each["Name"] for each in listed] == ["n1.dc1", "n2.dc2"]

    run(scenario)


def test_the_wan_pool_has_statistics_of_its_own() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        assert "serf_wan" not in (await client.get("/v1/agent/self")).json["Stats"]
        agent.wan.pool = FakePool()
        agent.wan.table = [member("n1.dc1"), member("n2.dc2", MemberStatus.FAILED)]
        agent.wan.found = [DcPlace("dc1", ()), DcPlace("dc2", ())]
        stats = (await client.get("/v1/agent/self")).json["Stats"]
        assert stats["consul"]["known_datacenters"] == "2"
        assert stats["serf_wan"] == {
            "encrypted": "false",
            "failed": "1",
            "health_score": "0",
            "left": "0",
            "members": "2",
        }

    run(scenario)


def test_joining_over_the_wan_needs_a_server() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put("/v1/agent/join/10.2.0.1?wan=1")
        assert (answer.status, answer.text) == (500, "Must be a server to join WAN cluster")
        agent.wan.pool = FakePool()
        assert (await client.put("/v1/agent/join/10.2.0.1?wan=1")).status == 200
        assert (agent.wan.joined, agent.joined) == (["10.2.0.1"], [])

    run(scenario)


def test_segments_are_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/agent/members?segment=x")
        assert (answer.status, answer.text) == (500, "Network segments are not supported")

    run(scenario)


def test_a_registered_service_is_echoed_with_its_defaults() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/agent/service/register", {"Name": "web"})
        assert (answer.status, answer.body) == (200, b"")
        assert (await client.get("/v1/agent/services")).json == {
            "web": {
                "ID": "web",
                "Service": "web",
                "Tags": [],
                "Meta": {},
                "Port": 0,
                "Address": "",
                "Weights": {"Passing": 1, "Warning": 1},
                "EnableTagOverride": False,
            }
        }

    run(scenario)


def test_the_list_of_services_follows_every_change() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for port in range(3):
            await client.put("/v1/agent/service/register", {"Name": "web", "Port": port})
            for path in ("/v1/agent/services", "/v1/agent/services?pretty"):
                assert (await client.get(path)).json["web"]["Port"] == port
        await client.put("/v1/agent/service/deregister/web")
        assert (await client.get("/v1/agent/services")).json == {}

    run(scenario)


def test_a_full_definition_is_echoed_with_addresses_by_family() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        body = {
            "id": "web-1",
            "name": "web",
            "tags": ["a"],
            "address": "10.0.0.9",
            "port": 80,
            "meta": {"v": "1"},
            "weights": {"passing": 10, "warning": 2},
            "enable_tag_override": True,
            "tagged_addresses": {"wan": {"address": "198.51.100.7", "port": 81}},
        }
        await client.put("/v1/agent/service/register", body)
        own = {"Address": "10.0.0.9", "Port": 80}
        answer = await client.get("/v1/agent/service/web-1")
        assert answer.json == {
            "ID": "web-1",
            "Service": "web",
            "Tags": ["a"],
            "Meta": {"v": "1"},
            "Port": 80,
            "Address": "10.0.0.9",
            "TaggedAddresses": {
                "wan": {"Address": "198.51.100.7", "Port": 81},
                "lan_ipv4": own,
                "wan_ipv4": own,
            },
            "Weights": {"Passing": 10, "Warning": 2},
            "EnableTagOverride": True,
            "ContentHash": answer.headers["X-Consul-ContentHash"],
        }
        tagged = agent.local.services["web-1"].tagged_addresses
        assert tagged == {"wan": TaggedAddress("198.51.100.7", 81)}

    run(scenario)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "Request decode failed: EOF"),
        (b'{"Port":1}', "Missing service name"),
        (b'{"Name":"x","Foo":1}', 'Request decode failed: json: unknown field "Foo"'),
        (
            b'{"Name":"x","Weights":{"Passing":-1,"Warning":1}}',
            "Invalid Weights: Passing must be greater than 0",
        ),
        (b'{"Name":"x","Check":{"Name":"y"}}', "Invalid check: TTL must be > 0 for TTL checks"),
    ],
)
def test_a_wrong_definition_is_refused(body: bytes, text: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put("/v1/agent/service/register", data=body)
        assert (answer.status, answer.text) == (400, text)
        assert agent.local.services == {}

    run(scenario)


def test_a_body_that_is_no_json_is_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/agent/service/register", data=b"nope")
        assert answer.status == 400
        assert answer.text.startswith("Request decode failed: ")

    run(scenario)


def test_a_large_body_is_refused() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/agent/service/register", data=b" " * (512 * 1024 + 1))
        assert (answer.status, answer.text) == (
            413,
            "Request body(524289 bytes) too large, max size: 524288 bytes",
        )

    run(scenario)


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (NameReservedError("n1", "other"), 'node name "n1" is reserved by node other'),
        (StorageError("disk full"), "disk full"),
    ],
)
def test_a_registration_that_cannot_be_kept_is_a_server_error(
    failure: Exception, text: str
) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.failure = failure
        answer = await client.put("/v1/agent/service/register", {"Name": "web"})
        assert (answer.status, answer.text) == (500, text)

    run(scenario)


@pytest.mark.parametrize(("service_id", "path"), [("web", "web"), ("a/b c", "a%2Fb%20c")])
def test_a_service_is_deregistered_by_id(service_id: str, path: str) -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        await client.put("/v1/agent/service/register", {"Name": "web", "ID": service_id})
        assert (await client.get(f"/v1/agent/service/{path}")).json["ID"] == service_id
        for _ in range(2):
            answer = await client.put(f"/v1/agent/service/deregister/{path}")
            assert (answer.status, answer.body) == (200, b"")
        assert agent.local.services == {}

    run(scenario)


def test_deregistering_without_an_id_is_a_server_error() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/agent/service/deregister/")
        assert (answer.status, answer.text) == (500, "ServiceID missing")

    run(scenario)


def test_an_unknown_service_is_not_found() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.get("/v1/agent/service/nope")
        assert (answer.status, answer.text) == (404, "unknown service ID: nope")

    run(scenario)


def test_services_can_be_filtered() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        for name in ("web", "db"):
            await client.put("/v1/agent/service/register", {"Name": name, "Tags": [name]})
        assert list((await client.get("/v1/agent/services?filter=web+in+Tags")).json) == ["web"]
        assert (await client.get("/v1/agent/services?filter=Nope==1")).status == 500

    run(scenario)


def test_joining_takes_an_address_with_or_without_port() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        for address in ("10.0.0.1", "10.0.0.1:8301", "[::1]:8301"):
            assert (await client.put(f"/v1/agent/join/{address}")).status == 200
        assert agent.joined == ["10.0.0.1", "10.0.0.1:8301", "[::1]:8301"]

    run(scenario)


def test_a_join_that_reaches_nobody_says_why() -> None:
    async def scenario(client: Client, _: FakeAgent) -> None:
        answer = await client.put("/v1/agent/join/down")
        assert (answer.status, answer.text) == (
            500,
            "1 error occurred:\n\t* Failed to join down: refused\n\n",
        )
        assert (await client.put("/v1/agent/join/")).status == 500

    run(scenario)


def test_leaving_is_answered_when_it_is_done() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put("/v1/agent/leave")
        assert (answer.status, answer.body, agent.has_left) == (200, b"", True)

    run(scenario)


def test_reloading_reports_a_broken_configuration() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        answer = await client.put("/v1/agent/reload")
        assert (answer.status, answer.body) == (200, b""), "as in Consul"
        agent.reloading.failure = ConfigError("broken")
        answer = await client.put("/v1/agent/reload")
        assert (answer.status, answer.text, agent.reloading.reloads) == (500, "broken", 1)

    run(scenario)


def test_a_reload_says_what_it_did_when_asked() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        level, port = BY_PATH["log_level"], BY_PATH["ports.http"]
        agent.reloading.found = Reload(
            config(),
            applied=(Change(level, "INFO", "DEBUG"),),
            needs_restart=(Change(port, "8500", "8501"),),
            services=DefinitionChanges(added=("web",), removed=("db",)),
        )
        answer = await client.put("/v1/agent/reload?report=1")
        assert answer.json == {
            "Applied": ["log_level: INFO -> DEBUG", "service web: added", "service db: removed"],
            "NeedsRestart": ["ports.http: 8500 -> 8501"],
            "Warnings": [],
        }

    run(scenario)


def test_info_says_who_still_calls_without_tls_and_until_when_the_certificate_is_good() -> None:
    async def scenario(client: Client, agent: FakeAgent) -> None:
        agent.calls.found = Callers(5, ("10.0.0.2", "10.0.0.3", "10.0.0.3"))
        agent.calls.certificate_expires_utc = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
        stats = (await client.get("/v1/agent/self")).json["Stats"]["rpc"]
        assert (stats["connections"], stats["connections_plain"]) == ("5", "3")
        assert stats["plain_from"] == "10.0.0.3, 10.0.0.2"
        assert stats["certificate_expires"] == "2027-01-02T03:04:05Z"

    run(scenario)
