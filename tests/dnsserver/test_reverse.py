"""From addresses to names; expectations are recorded answers of Consul 1.8.7."""

import pytest

from dnsserver import DnsConfig
from tests.dnsserver.fakes import Client, FakeDirectory, soa

IPV6 = "d.c.b.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


@pytest.fixture
def client() -> Client:
    directory = FakeDirectory()
    node = directory.add_node("confdp1", "10.20.2.1")
    directory.add_node("confep6", "2001:db8::abcd")
    directory.add_instance(node, "confdp", 1, address="10.20.2.99")
    return Client(directory, DnsConfig(node_ttl_s=7))


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("1.2.20.10.in-addr.arpa", "confdp1.node.dc1.svcmesh."),
        ("99.2.20.10.in-addr.arpa", "confdp.service.dc1.svcmesh."),
        ("1.2.20.10.IN-ADDR.ARPA", "confdp1.node.dc1.svcmesh."),
        (IPV6, "confep6.node.dc1.svcmesh."),
    ],
)
@pytest.mark.parametrize("type_", ["PTR", "ANY", "A"])
def test_a_known_address_has_a_name_in_the_primary_domain(
    client: Client, name: str, target: str, type_: str
) -> None:
    seen = client.ask(name, type_)
    assert (seen.rcode, seen.flags) == ("NOERROR", "qr aa rd")
    assert seen.answer == [f"{name}. 0 IN PTR {target}"]
    assert (seen.authority, seen.additional) == ([], [])


def test_soa_of_a_known_address_comes_with_the_soa_of_the_domain(client: Client) -> None:
    seen = client.ask("1.2.20.10.in-addr.arpa", "SOA")
    assert seen.answer == ["1.2.20.10.in-addr.arpa. 0 IN PTR confdp1.node.dc1.svcmesh."]
    assert seen.authority == [soa("svcmesh")]


@pytest.mark.parametrize(
    "name",
    [
        "77.2.20.10.in-addr.arpa",
        "20.10.in-addr.arpa",
        "01.2.20.10.in-addr.arpa",
        "x.1.2.20.10.in-addr.arpa",
        "999.2.20.10.in-addr.arpa",
        "4.3.2.::1.in-addr.arpa",
        IPV6.replace("d.c", "e.c"),
        IPV6.replace("d.c.b", "dc..b"),
        "in-addr.arpa",
        "arpa",
    ],
)
def test_any_other_reverse_name_is_servfail_with_recursion_available(
    client: Client, name: str
) -> None:
    seen = client.ask(name, "PTR")
    assert (seen.rcode, seen.flags) == ("SERVFAIL", "qr rd ra")
    assert (seen.answer, seen.authority) == ([], [])


def test_edns_is_answered_in_both_cases(client: Client) -> None:
    for name in ("1.2.20.10.in-addr.arpa", "77.2.20.10.in-addr.arpa"):
        assert client.ask(name, "PTR", edns=1232).opt == (1232, 0, b"")
