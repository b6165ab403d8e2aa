"""Look-ups of nodes, hex names and the zone; expectations are recorded answers of Consul 1.8.7."""

import pytest

from dnsserver import DnsConfig, ServerAnswer
from tests.dnsserver.fakes import Client, FakeDirectory, decode, query, soa


@pytest.fixture
def directory() -> FakeDirectory:
    directory = FakeDirectory(server_list=[ServerAnswer("N1", "127.0.0.70")])
    directory.add_node("confdnode", "10.20.1.1", {"key": "value", "rfc1035-raw": "just text"})
    directory.add_node("confdnode6", "2001:db8::6")
    directory.add_node("dot.ted", "10.0.0.40")
    return directory


@pytest.fixture
def client(directory: FakeDirectory) -> Client:
    return Client(directory)


META = [
    'confdnode.node.svcmesh. 0 IN TXT "just text"',
    'confdnode.node.svcmesh. 0 IN TXT "key=value"',
]


def test_a_gives_the_address_and_the_metadata_in_additional(client: Client) -> None:
    seen = client.ask("confdnode.node.svcmesh")
    assert (seen.rcode, seen.flags) == ("NOERROR", "qr aa rd")
    assert seen.answer == ["confdnode.node.svcmesh. 0 IN A 10.20.1.1"]
    assert (seen.authority, seen.additional) == ([], META)


def test_txt_gives_the_metadata_and_any_gives_both(client: Client) -> None:
    assert client.ask("confdnode.node.svcmesh", "TXT").answer == META
    assert client.ask("confdnode.node.svcmesh", "ANY").answer == [
        "confdnode.node.svcmesh. 0 IN A 10.20.1.1",
        *META,
    ]


def test_the_other_family_is_no_data_without_soa(client: Client) -> None:
    seen = client.ask("confdnode.node.svcmesh", "AAAA")
    assert (seen.rcode, seen.answer, seen.authority) == ("NOERROR", [], [])
    assert seen.additional == META
    assert client.ask("confdnode6.node.svcmesh").answer == []
    assert client.ask("confdnode6.node.svcmesh", "AAAA").answer == [
        "confdnode6.node.svcmesh. 0 IN AAAA 2001:db8::6"
    ]


@pytest.mark.parametrize("name", ["confdnode.node", "nope.node", "confdnode.node.nowhere"])
def test_types_that_no_node_has_are_no_data_even_of_unknown_nodes(
    client: Client, name: str
) -> None:
    seen = client.ask(f"{name}.svcmesh", "SRV")
    assert (seen.rcode, seen.answer, seen.authority) == ("NOERROR", [], [])


@pytest.mark.parametrize(
    "name", ["nope.node", "x.confdnode.node", "confdnode.node.nowhere", "node", "a.node.b.c"]
)
def test_an_unknown_node_does_not_exist(client: Client, name: str) -> None:
    seen = client.ask(f"{name}.svcmesh")
    assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa("svcmesh")])


@pytest.mark.parametrize("name", ["CONFDNODE.NODE.svcmesh", "confdnode.node.dc1.consul"])
def test_a_node_is_found_in_any_case_data_center_and_domain(client: Client, name: str) -> None:
    assert client.ask(name).answer == [f"{name}. 0 IN A 10.20.1.1"]


def test_a_node_name_may_contain_dots(client: Client) -> None:
    assert client.ask("dot.ted.node.svcmesh").answer == ["dot.ted.node.svcmesh. 0 IN A 10.0.0.40"]


def test_additional_metadata_can_be_turned_off(directory: FakeDirectory) -> None:
    client = Client(directory, DnsConfig(enable_additional_node_meta_txt=False))
    assert client.ask("confdnode.node.svcmesh").additional == []
    assert client.ask("confdnode.node.svcmesh", "TXT").answer == META


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("eq=x", "q", "eq`=x=q"),
        ("b", "`", "b=``"),
        ("trail ", "t", "trail` =t"),
        ("  lead", "l", "` ` lead=l"),
        ("in er", "a=b", "in er=a=b"),
        ("empty", "", "empty="),
        ("RFC1035-up", "u`", "u`"),
        ("rfc1035-", "bare", "bare"),
    ],
)
def test_metadata_is_written_as_rfc_1464_says(key: str, value: str, text: str) -> None:
    directory = FakeDirectory()
    directory.add_node("n", "10.0.0.1", {key: value})
    response = Client(directory).raw(query("n.node.svcmesh", "TXT"))
    assert response is not None
    assert response.endswith(bytes((len(text),)) + text.encode())


def test_metadata_over_255_bytes_becomes_several_strings() -> None:
    directory = FakeDirectory()
    directory.add_node("n", "10.0.0.1", {"long": "x" * 300})
    response = Client(directory).raw(query("n.node.svcmesh", "TXT"))
    assert response is not None
    assert response.endswith(b"\xfflong=" + b"x" * 250 + b"\x32" + b"x" * 50)


@pytest.mark.parametrize("type_", ["A", "AAAA", "SRV", "TXT", "ANY", "MX"])
def test_a_hex_name_gives_its_address_to_every_type(client: Client, type_: str) -> None:
    for name in ("0a140263.addr.svcmesh", "0A140263.ADDR.dc1.consul", "0a140263.addr.x.y.svcmesh"):
        assert client.ask(name, type_).answer == [f"{name}. 0 IN A 10.20.2.99"]
    name = "20010db8000000000000000000000001.addr.svcmesh"
    assert client.ask(name, type_).answer == [f"{name}. 0 IN AAAA 2001:db8::1"]


@pytest.mark.parametrize("label", ["0a14", "0a14026", "20010db800000000000000000000001"])
def test_a_hex_name_of_another_length_is_no_data_without_soa(client: Client, label: str) -> None:
    seen = client.ask(f"{label}.addr.svcmesh")
    assert (seen.rcode, seen.answer, seen.authority) == ("NOERROR", [], [])


@pytest.mark.parametrize(
    "label", ["zz140263", "0a1402633", "x.0a140263", "0a 40263", "2001:db8::0000000000000000000001"]
)
def test_what_is_not_hex_does_not_exist(client: Client, label: str) -> None:
    assert client.ask(f"{label}.addr.svcmesh").rcode == "NXDOMAIN"


@pytest.mark.parametrize("name", ["", "consul.service.", "foo."])
@pytest.mark.parametrize("domain", ["svcmesh", "consul"])
def test_soa_and_ns_of_any_name_are_those_of_its_domain(
    client: Client, name: str, domain: str
) -> None:
    nameserver = f"{domain}. 0 IN NS n1.node.dc1.{domain}."
    glue = f"n1.node.dc1.{domain}. 0 IN A 127.0.0.70"
    seen = client.ask(f"{name}{domain}", "SOA")
    assert (seen.rcode, seen.flags) == ("NOERROR", "qr aa rd")
    assert (seen.answer, seen.authority, seen.additional) == ([soa(domain)], [nameserver], [glue])
    seen = client.ask(f"{name}{domain}", "NS")
    assert (seen.answer, seen.authority, seen.additional) == ([nameserver], [], [glue])


def test_at_most_three_servers_with_host_names_are_name_servers() -> None:
    directory = FakeDirectory()
    directory.server_list = [ServerAnswer(f"s{n}", f"2001:db8::{n}") for n in range(5)]
    assert len(Client(directory).ask("svcmesh", "NS").answer) == 3
    directory.server_list = [ServerAnswer(name, "10.0.0.1") for name in ("a.b", "c_d", "ok")]
    assert Client(directory).ask("svcmesh", "NS").answer == [
        "svcmesh. 0 IN NS ok.node.dc1.svcmesh."
    ]


def test_the_apex_has_no_other_records(client: Client) -> None:
    for type_ in ("A", "ANY"):
        seen = client.ask("svcmesh", type_)
        assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa("svcmesh")])


@pytest.mark.parametrize(
    "name", ["www.example.com", "", "svcmeshx", "foo.xsvcmesh", "consul.com", "web.service"]
)
def test_a_foreign_name_is_refused_without_authority(client: Client, name: str) -> None:
    seen = client.ask(name, "A", edns=1232)
    assert (seen.rcode, seen.flags, seen.opt) == ("REFUSED", "qr rd", None)
    assert len(seen.question) == 1


def test_a_zone_transfer_is_not_implemented(client: Client) -> None:
    seen = client.ask("svcmesh", "AXFR", is_tcp=True)
    assert (seen.rcode, seen.flags, seen.answer) == ("NOTIMP", "qr aa rd", [])


def test_one_domain_may_be_inside_the_other() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("n1", "10.0.0.1"), "web", 80)
    client = Client(directory, DnsConfig(domain="example.com", alt_domain="mesh.Example.COM."))
    for domain in ("mesh.example.com", "example.com"):
        assert client.ask(f"web.service.{domain}", "SRV").answer == [
            f"web.service.{domain}. 0 IN SRV 1 1 80 n1.node.dc1.{domain}."
        ]


def test_without_alternative_domain_only_the_primary_one_is_answered(
    directory: FakeDirectory,
) -> None:
    client = Client(directory, DnsConfig(alt_domain=""))
    assert client.ask("confdnode.node.consul").rcode == "REFUSED"
    assert client.ask("confdnode.node.svcmesh").rcode == "NOERROR"


def test_the_class_is_ignored_and_echoed(client: Client) -> None:
    for class_ in (0, 3, 255):
        seen = decode(client.raw(query("confdnode.node.svcmesh", class_=class_)))
        assert seen.answer == ["confdnode.node.svcmesh. 0 IN A 10.20.1.1"]
        assert seen.question == [f"confdnode.node.svcmesh. {class_} 1"]
