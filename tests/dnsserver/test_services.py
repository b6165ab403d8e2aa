"""Look-ups of services; expectations are the recorded answers of Consul 1.8.7."""

import pytest

from dnsserver import DnsConfig, SoaConfig
from tests.dnsserver.fakes import Client, FakeDirectory, soa


@pytest.fixture
def directory() -> FakeDirectory:
    directory = FakeDirectory()
    first = directory.add_node("confdn1", "10.20.0.1")
    second = directory.add_node("confdn2", "10.20.0.2")
    directory.add_instance(first, "confds", 8080, tags=("prod", "v1"))
    directory.add_instance(second, "confds", 8081, tags=("dev", "a.b"), address="10.20.9.2")
    return directory


@pytest.fixture
def client(directory: FakeDirectory) -> Client:
    return Client(directory)


BOTH = [
    "confds.service.svcmesh. 0 IN A 10.20.0.1",
    "confds.service.svcmesh. 0 IN A 10.20.9.2",
]


def renamed(lines: list[str], name: str) -> list[str]:
    return [line.replace("confds.service.svcmesh.", name) for line in lines]


def test_a_gives_the_nodes_address_or_the_instances_own(client: Client) -> None:
    seen = client.ask("confds.service.svcmesh")
    assert (seen.rcode, seen.flags) == ("NOERROR", "qr aa rd")
    assert (seen.answer, seen.authority, seen.additional) == (BOTH, [], [])
    assert seen.opt is None


@pytest.mark.parametrize("type_", ["ANY", "TXT"])
def test_any_and_txt_give_addresses(client: Client, type_: str) -> None:
    assert client.ask("confds.service.svcmesh", type_).answer == BOTH


@pytest.mark.parametrize(
    "name",
    [
        "confds.service.dc1.svcmesh",
        "confds.service.consul",
        "confds.service.dc1.consul",
        "_confds._tcp.service.svcmesh",
        "ConfDS.Service.SVCMESH",
    ],
)
def test_a_service_is_found_under_each_of_its_names(client: Client, name: str) -> None:
    assert client.ask(name).answer == renamed(BOTH, f"{name}.")


def test_srv_points_to_node_names_or_hex_names_with_their_addresses(client: Client) -> None:
    seen = client.ask("confds.service.svcmesh", "SRV")
    assert seen.answer == [
        "confds.service.svcmesh. 0 IN SRV 1 1 8080 confdn1.node.dc1.svcmesh.",
        "confds.service.svcmesh. 0 IN SRV 1 1 8081 0a140902.addr.dc1.svcmesh.",
    ]
    assert seen.additional == [
        "0a140902.addr.dc1.svcmesh. 0 IN A 10.20.9.2",
        "confdn1.node.dc1.svcmesh. 0 IN A 10.20.0.1",
    ]


def test_srv_targets_are_in_the_domain_that_was_asked(client: Client) -> None:
    seen = client.ask("dev.confds.service.consul", "SRV")
    assert seen.answer == ["dev.confds.service.consul. 0 IN SRV 1 1 8081 0a140902.addr.dc1.consul."]
    assert seen.additional == ["0a140902.addr.dc1.consul. 0 IN A 10.20.9.2"]


@pytest.mark.parametrize(
    "name", ["_confds._prod.service.svcmesh", "_confds._prod.svcmesh", "_confds._prod.dc1.consul"]
)
def test_rfc_2782_names_select_a_tag_and_may_leave_the_service_label_out(
    client: Client, name: str
) -> None:
    domain = name.rsplit(".", 1)[1]
    assert client.ask(name, "SRV").answer == [
        f"{name}. 0 IN SRV 1 1 8080 confdn1.node.dc1.{domain}."
    ]


def test_a_tag_with_a_dot_is_asked_with_two_labels(client: Client) -> None:
    assert client.ask("a.b.confds.service.svcmesh").answer == [
        "a.b.confds.service.svcmesh. 0 IN A 10.20.9.2"
    ]


@pytest.mark.parametrize("type_", ["AAAA", "MX"])
def test_a_type_without_records_is_no_data_with_soa(client: Client, type_: str) -> None:
    seen = client.ask("confds.service.svcmesh", type_)
    assert (seen.rcode, seen.answer) == ("NOERROR", [])
    assert seen.authority == [soa("svcmesh")]


@pytest.mark.parametrize(
    "name",
    [
        "conf-nope.service",
        "nope.confds.service",
        "prod.v1.confds.service",
        "confds.service.nowhere",
        "confds.service.a.b",
        "_confds._udp.service",
        "service",
        "dc1",
        "foo",
        "name.query",
        "name.query.dc1",
        "confds.connect",
        "confds.ingress",
    ],
)
@pytest.mark.parametrize("domain", ["svcmesh", "consul"])
def test_unknown_names_do_not_exist_and_say_so_with_the_soa_of_the_asked_domain(
    client: Client, name: str, domain: str
) -> None:
    seen = client.ask(f"{name}.{domain}")
    assert (seen.rcode, seen.flags, seen.answer) == ("NXDOMAIN", "qr aa rd", [])
    assert seen.authority == [soa(domain)]


def test_a_service_of_which_nothing_may_be_answered_does_not_exist(
    directory: FakeDirectory, client: Client
) -> None:
    directory.unhealthy_services.add("confds")
    seen = client.ask("confds.service.svcmesh", "SRV")
    assert (seen.rcode, seen.authority) == ("NXDOMAIN", [soa("svcmesh")])


@pytest.mark.parametrize("name", ["nope.service", "x.node", "confds.service.dc9", "q.query"])
def test_an_unknown_name_is_servfail_without_soa_until_the_directory_is_ready(
    directory: FakeDirectory, client: Client, name: str
) -> None:
    directory.is_ready = False
    seen = client.ask(f"{name}.svcmesh")
    assert (seen.rcode, seen.answer, seen.authority) == ("SERVFAIL", [], [])


def test_a_known_name_is_answered_before_the_directory_is_ready(
    directory: FakeDirectory, client: Client
) -> None:
    directory.is_ready = False
    assert client.ask("confds.service.svcmesh").answer == BOTH


def test_weights_are_those_of_the_instances() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("h1", "10.0.0.1"), "web", 81, weight=65535)
    directory.add_instance(directory.add_node("h2", "10.0.0.2"), "web", 82, weight=0)
    assert Client(directory).ask("web.service.svcmesh", "SRV").answer == [
        "web.service.svcmesh. 0 IN SRV 1 0 82 h2.node.dc1.svcmesh.",
        "web.service.svcmesh. 0 IN SRV 1 65535 81 h1.node.dc1.svcmesh.",
    ]


def test_two_instances_on_one_node_are_one_address_and_two_targets() -> None:
    directory = FakeDirectory()
    node = directory.add_node("n1", "10.0.0.1", {"k": "v"})
    directory.add_instance(node, "web", 80)
    directory.add_instance(node, "web", 81)
    client = Client(directory)
    assert client.ask("web.service.svcmesh").answer == ["web.service.svcmesh. 0 IN A 10.0.0.1"]
    seen = client.ask("web.service.svcmesh", "SRV")
    assert seen.answer == [
        "web.service.svcmesh. 0 IN SRV 1 1 80 n1.node.dc1.svcmesh.",
        "web.service.svcmesh. 0 IN SRV 1 1 81 n1.node.dc1.svcmesh.",
    ]
    assert seen.additional == [
        "n1.node.dc1.svcmesh. 0 IN A 10.0.0.1",
        "n1.node.dc1.svcmesh. 0 IN A 10.0.0.1",
        'n1.node.dc1.svcmesh. 0 IN TXT "k=v"',
        'n1.node.dc1.svcmesh. 0 IN TXT "k=v"',
    ]


def test_node_metadata_can_be_kept_out_of_srv_answers() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("n1", "10.0.0.1", {"k": "v"}), "web", 80)
    client = Client(directory, DnsConfig(enable_additional_node_meta_txt=False))
    assert client.ask("web.service.svcmesh", "SRV").additional == [
        "n1.node.dc1.svcmesh. 0 IN A 10.0.0.1"
    ]


def test_a_node_name_that_fits_no_label_is_replaced_by_the_hex_name() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("L" * 64, "10.0.0.44"), "web", 89)
    assert Client(directory).ask("web.service.svcmesh", "SRV").answer == [
        "web.service.svcmesh. 0 IN SRV 1 1 89 0a00002c.addr.dc1.svcmesh."
    ]


def test_tagged_addresses_are_preferred_in_their_family() -> None:
    directory = FakeDirectory()
    node = directory.add_node("t", "10.0.0.20", lan_ipv4="10.0.0.21", lan_ipv6="2001:db8::21")
    directory.add_instance(node, "tg", 84)
    directory.add_instance(
        directory.add_node("u", "10.0.0.30"),
        "tg2",
        85,
        address="10.0.1.30",
        lan_ipv4="10.0.1.31",
        lan_ipv6="2001:db8::31",
    )
    client = Client(directory)
    assert client.ask("tg.service.svcmesh").answer == ["tg.service.svcmesh. 0 IN A 10.0.0.21"]
    for type_ in ("AAAA", "ANY"):
        assert client.ask("tg2.service.svcmesh", type_).answer == [
            "tg2.service.svcmesh. 0 IN AAAA 2001:db8::31"
        ]
    assert client.ask("tg.service.svcmesh", "SRV").answer == [
        "tg.service.svcmesh. 0 IN SRV 1 1 84 20010db8000000000000000000000021.addr.dc1.svcmesh."
    ]


def test_an_ipv4_mapped_address_is_ipv4() -> None:
    directory = FakeDirectory()
    directory.add_instance(directory.add_node("m", "::ffff:10.0.0.63"), "v46", 1)
    client = Client(directory)
    assert client.ask("v46.service.svcmesh").answer == ["v46.service.svcmesh. 0 IN A 10.0.0.63"]
    assert client.ask("v46.service.svcmesh", "AAAA").authority == [soa("svcmesh")]


def test_ttls_are_the_configured_ones() -> None:
    directory = FakeDirectory()
    node = directory.add_node("n1", "10.0.0.1", {"k": "v"})
    for service in ("web", "web2", "other"):
        directory.add_instance(node, service, 80)
    config = DnsConfig(
        node_ttl_s=7,
        service_ttl_s={"*": 11, "WE*": 12, "web": 13},
        soa=SoaConfig(refresh_s=1, retry_s=2, expire_s=3, min_ttl_s=9),
    )
    client = Client(directory, config)
    assert client.ask("other.service.svcmesh").answer == ["other.service.svcmesh. 11 IN A 10.0.0.1"]
    assert client.ask("web2.service.svcmesh").answer == ["web2.service.svcmesh. 12 IN A 10.0.0.1"]
    seen = client.ask("web.service.svcmesh", "SRV")
    assert seen.answer == ["web.service.svcmesh. 13 IN SRV 1 1 80 n1.node.dc1.svcmesh."]
    assert seen.additional == [
        "n1.node.dc1.svcmesh. 13 IN A 10.0.0.1",
        'n1.node.dc1.svcmesh. 13 IN TXT "k=v"',
    ]
    assert client.ask("n1.node.svcmesh", "TXT").answer == ['n1.node.svcmesh. 7 IN TXT "k=v"']
    assert client.ask("x.service.svcmesh").authority == [
        "svcmesh. 9 IN SOA ns.svcmesh. hostmaster.svcmesh. 1795231444 1 2 3 9"
    ]
